"""LightningModules: what is lost, and what is measured."""

from project.tasks.classifier import Classifier
from project.tasks.supervised import Given, Supervised

__all__ = ["Classifier", "Given", "Supervised"]
