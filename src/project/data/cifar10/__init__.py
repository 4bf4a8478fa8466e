"""CIFAR-10, its download and its verification. Nothing else needs this folder."""

from project.data.cifar10.dataset import CIFAR10

__all__ = ["CIFAR10"]
