"""Training: the module, clipping, checkpoints, and the one function that runs a job."""
