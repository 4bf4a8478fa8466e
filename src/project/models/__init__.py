"""Nets, norms and initializers: plain torch modules and functions."""

from project.models.blocks import BasicBlock
from project.models.convnet import ConvNet

__all__ = ["BasicBlock", "ConvNet"]
