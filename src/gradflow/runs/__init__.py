"""A run's folder: its files, its state, its W&B run, and readers for runs in any state."""
