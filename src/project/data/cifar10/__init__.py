"""CIFAR-10 and what fetches and verifies it. Nothing else needs this folder."""

from project.data.cifar10.dataset import CIFAR10

__all__ = ["CIFAR10"]
