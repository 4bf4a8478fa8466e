"""A gradient profile as one line of text: a block for each layer, on one scale for all runs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

# Ends of the scale, log10 of RMS dL/dz; values beyond an end look like the end.
LOWEST, HIGHEST = -16.0, 0.0
_BLOCKS = "▁▂▃▄▅▆▇█"
_ZERO, _NOT_A_NUMBER = "·", "!"


def strip(profile: Sequence[float], width: int = 60) -> str:
    """Draw log10 RMS of dL/dz, input to output: two decades per block height, from -16 to 0.

    A dot is a layer whose gradient is exactly 0, a `!` one whose gradient is missing or non-finite.
    More layers than `width` share `width` blocks; each block shows its worst layer.
    """
    columns = min(len(profile), width)
    edges = [round(i * len(profile) / max(columns, 1)) for i in range(columns + 1)]
    return "".join(_block(profile[a:b]) for a, b in pairwise(edges))


def _block(profile: Sequence[float]) -> str:
    if any(math.isnan(value) or value == math.inf for value in profile):
        return _NOT_A_NUMBER
    worst = min(profile)
    if worst == -math.inf:
        return _ZERO
    height = (worst - LOWEST) / (HIGHEST - LOWEST) * len(_BLOCKS)
    return _BLOCKS[min(max(int(height), 0), len(_BLOCKS) - 1)]
