"""Nets, losses and optimizers that strangers would bring: the label is the outcome."""
