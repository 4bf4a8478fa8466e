"""Training: checkpoints, resume, clipping, progress, seeding, signals and DDP."""
