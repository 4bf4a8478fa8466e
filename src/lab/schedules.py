"""The learning-rate schedule of ResNet-110 in He et al. 2015, for which torch has no class."""

from __future__ import annotations

from collections.abc import Sequence

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR


def warmup_multistep(
    optimizer: Optimizer,
    *,
    warmup_steps: int,
    warmup_factor: float,
    milestones: Sequence[int],
    gamma: float,
) -> LambdaLR:
    """Return a schedule: a small rate at first, then the full one, times gamma at each milestone.

    He et al. 2015 (arXiv:1512.03385), section 4.2: ResNet-110 starts with a tenth of the rate, for
    about 400 steps.

    Raises:
        ValueError: if the first milestone lies within the warm-up.
    """
    if warmup_steps >= min(milestones):
        raise ValueError(
            f"the first milestone, {min(milestones)}, must come after warmup_steps={warmup_steps}"
        )

    def factor(step: int) -> float:
        if step < warmup_steps:
            return warmup_factor
        return float(gamma ** sum(step >= milestone for milestone in milestones))

    return LambdaLR(optimizer, factor)
