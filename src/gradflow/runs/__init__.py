"""A run's folder: its files, its state, its W&B run, and reading runs in whatever state."""
