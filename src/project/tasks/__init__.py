"""LightningModules: what is lost, and what is measured."""
