"""Data sets: LightningDataModules with their number of classes and channels as attributes.

Images are in memory with the batches of `batches.py`, or in files read by a DataLoader.
"""

from project.data.cifar10 import CIFAR10
from project.data.cifar100 import CIFAR100
from project.data.folder import ImageFolders
from project.data.images import Batching, ImageData, Images
from project.data.synthetic import Synthetic

__all__ = [
    "CIFAR10",
    "CIFAR100",
    "Batching",
    "ImageData",
    "ImageFolders",
    "Images",
    "Synthetic",
]
