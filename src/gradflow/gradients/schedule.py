"""Which steps are recorded: all at first, where most happens, and ever fewer later.

The schedule does not depend on a run's length, so that runs of any length have the same steps in
common. 2,000 steps have 57 records, 64,000 steps 87.
"""

from __future__ import annotations

import math

DENSE = 10  # up to this step, every step is recorded
PER_FACTOR_OF_TEN = 20  # afterwards


def is_scheduled(step: int, every_n_steps: int | None = None) -> bool:
    """Return whether `step`, from 0, is recorded. `every_n_steps` replaces the schedule."""
    if every_n_steps is not None:
        return step % every_n_steps == 0
    if step <= DENSE:
        return True
    nearest = round(PER_FACTOR_OF_TEN * math.log10(step / DENSE))
    return step == round(DENSE * 10 ** (nearest / PER_FACTOR_OF_TEN))
