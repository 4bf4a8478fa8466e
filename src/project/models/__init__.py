"""Nets, norms and initializers: plain torch modules and functions.

Everything is passed as an argument. Training, logging and configuration files are unknown here.
"""

from project.models.blocks import BasicBlock
from project.models.convnet import ConvNet

__all__ = ["BasicBlock", "ConvNet"]
