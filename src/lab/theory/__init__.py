"""Mean-field theory: what the gradients of a new net will be, before any is measured."""
