"""Runs whose cause of failure is known, and how often the verdict finds it."""
