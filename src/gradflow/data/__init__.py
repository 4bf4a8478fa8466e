"""Images in memory: where they come from, how they are verified, and the batches made of them.

Knows nothing of Lightning, Weights & Biases or Hydra; everything comes in as an argument.
"""

from gradflow.data.batches import Batches, EvaluationBatches, TrainingBatches
from gradflow.data.cifar10 import CIFAR10
from gradflow.data.errors import DataError
from gradflow.data.images import ImageData, Images, Splits
from gradflow.data.synthetic import Synthetic

__all__ = [
    "CIFAR10",
    "Batches",
    "DataError",
    "EvaluationBatches",
    "ImageData",
    "Images",
    "Splits",
    "Synthetic",
    "TrainingBatches",
]
