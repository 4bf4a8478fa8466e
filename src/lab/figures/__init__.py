"""Figures over a whole study, which conf/lab/lab.yaml lists under `comparison.figures`."""
