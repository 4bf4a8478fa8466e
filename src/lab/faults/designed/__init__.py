"""Healthy nets, and the same nets with one fault each: the label is the fault."""
