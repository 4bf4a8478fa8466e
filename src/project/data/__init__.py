"""Data sets: LightningDataModules with their number of classes and channels as attributes.

Images are in memory with the batches of `batches.py`, or in files read by a DataLoader.
"""

from project.data.batches import Batches, EvaluationBatches, TrainingBatches
from project.data.cifar10 import CIFAR10
from project.data.cifar100 import CIFAR100
from project.data.folder import ImageFolders
from project.data.images import Batching, ImageData, Images, Splits
from project.data.synthetic import Synthetic

__all__ = [
    "CIFAR10",
    "CIFAR100",
    "Batches",
    "Batching",
    "EvaluationBatches",
    "ImageData",
    "ImageFolders",
    "Images",
    "Splits",
    "Synthetic",
    "TrainingBatches",
]
