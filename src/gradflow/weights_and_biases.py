"""What this project asks of Weights & Biases beyond Lightning's WandbLogger.

No other file touches W&B's own API.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:  # half a second that only runs with W&B should pay
    import wandb

# The exponents that W&B shows one by one. All of float32's range downward, where gradients vanish,
# and up to 2^24, by when a run has exploded: the client writes each record twice (history and
# summary), and this window keeps 42 parameters below 100 kB. The run's own record has every bin.
_FIRST_EXPONENT, _LAST_EXPONENT = -126, 23
_EDGES = np.arange(_FIRST_EXPONENT - 1, _LAST_EXPONENT + 3)  # integers: short in JSON


def histogram(
    bins: NDArray[np.int64], zeros_and_subnormals: int, infs_and_nans: int
) -> wandb.Histogram:
    """A log2 histogram with one fixed axis: the exponent e of 2^e <= |x| < 2^(e+1).

    `bins` counts the exponents -126 … 127, shape (254,). The first bin of the result, e = -127,
    holds zeros and subnormal numbers; the last, e = 24, holds everything from 2^24 on, Inf and NaN
    included. So nothing is dropped, and the counts add up to the number of elements.
    """
    import wandb

    shown = _LAST_EXPONENT - _FIRST_EXPONENT + 1
    above = bins[shown:].sum() + infs_and_nans
    counts = np.concatenate(([zeros_and_subnormals], bins[:shown], [above]))
    return wandb.Histogram(np_histogram=(counts, _EDGES))


def start_run(
    *,
    mode: Literal["online", "offline"],
    folder: Path,
    project: str,
    entity: str | None,
    group: str | None,
    name: str,
    tags: list[str],
    config: Mapping[str, Any],
    run_id: str | None,
) -> wandb.Run:
    """Open a run whose files lie in `folder`; `run_id` is given when that run is resumed."""
    import wandb

    return wandb.init(
        mode=mode,
        dir=folder,
        project=project,
        entity=entity,
        group=group,
        name=name,
        tags=tags,
        config=dict(config) | {"folder": str(folder)},
        id=run_id,
        resume="allow" if run_id and mode == "online" else None,
        # Several runs in one process stay several; git state is in the run's own record.
        reinit="create_new",
        settings=wandb.Settings(silent=True, console="off"),
    )


def finish_run(run: wandb.Run, *, failed: bool) -> None:
    """Close a run; a failed one shows as failed."""
    run.finish(exit_code=1 if failed else 0)
