"""LightningModules: what is lost, and what is measured."""

from project.tasks.classifier import Classifier

__all__ = ["Classifier"]
