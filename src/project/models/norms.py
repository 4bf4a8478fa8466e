"""Norms whose torch constructor does not take the number of channels first.

A norm is a callable that takes a number of channels and returns a module. The other norms are
torch's classes (`torch.nn.BatchNorm2d`, `torch.nn.InstanceNorm2d`).
"""

from torch import nn


def group_norm(channels: int, *, num_groups: int, eps: float = 1e-5) -> nn.GroupNorm:
    """Build the group norm of Wu & He 2018 for (B, channels, H, W), with weight and bias.

    With one group, it is a layer norm: mean and variance of an image over channels and pixels.

    Raises:
        ValueError: if `num_groups` does not divide `channels`.
    """
    if num_groups < 1 or channels % num_groups:
        raise ValueError(
            f"num_groups must divide every layer's channels, got {num_groups} groups for "
            f"{channels} channels"
        )
    return nn.GroupNorm(num_groups, channels, eps=eps)
