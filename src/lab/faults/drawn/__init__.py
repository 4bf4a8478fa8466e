"""Nets drawn at random from a search space: the label is the outcome, the cause is a cure."""
