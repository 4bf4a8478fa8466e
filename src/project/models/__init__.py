"""Networks, their norms and their initial weights: plain torch modules and functions.

Knows nothing of training, logging or configuration files; everything comes in as an argument.
"""

from project.models.blocks import BasicBlock
from project.models.convnet import ConvNet

__all__ = ["BasicBlock", "ConvNet"]
