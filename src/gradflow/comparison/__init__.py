"""Comparison: reading the folders of runs, whatever state they are in, and tables over them."""
