"""Give the page the colour scale of gradient-flow pictures, that of `gradients/picture.py`."""

from __future__ import annotations

from typing import Any

from gradflow.gradients.picture import NOT_A_NUMBER, ZERO
from gradflow.gradients.strip import HIGHEST, LOWEST

_STOPS = 65  # colours, between which the page interpolates


def colour_scale() -> dict[str, Any]:
    """Return the scale's ends in decades, its colours, and those for exactly 0 and non-finite."""
    import numpy as np
    from matplotlib import colormaps
    from matplotlib.colors import to_hex

    return {
        "lowest": LOWEST,
        "highest": HIGHEST,
        "stops": [to_hex(colour) for colour in colormaps["viridis"](np.linspace(0, 1, _STOPS))],
        "zero": ZERO,
        "notFinite": NOT_A_NUMBER,
    }
