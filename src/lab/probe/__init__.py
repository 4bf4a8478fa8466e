"""The probe: gradients at initialization, measured and drawn beside the theory."""
