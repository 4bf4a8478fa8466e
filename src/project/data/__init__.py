"""Images in memory: where they come from, how they are verified, and the batches made of them.

Knows nothing of Lightning, Weights & Biases or Hydra; everything comes in as an argument.
"""

from project.data.batches import Batches, EvaluationBatches, TrainingBatches
from project.data.cifar10 import CIFAR10
from project.data.images import ImageData, Images, Splits
from project.data.synthetic import Synthetic

__all__ = [
    "CIFAR10",
    "Batches",
    "EvaluationBatches",
    "ImageData",
    "Images",
    "Splits",
    "Synthetic",
    "TrainingBatches",
]
