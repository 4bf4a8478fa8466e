"""Pack all data of the page's scripts into one block, in the layout of `blob.py`.

`assets/study.js` reads the document's keys. This file knows runs, but nothing of HTML.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np

from gradflow.comparison.columns import headlines
from gradflow.comparison.configurations import configurations, short_values
from gradflow.comparison.page.blob import Arrays, Reference
from gradflow.comparison.page.colours import colour_scale
from gradflow.comparison.page.headline import pack_baselines, pack_objective
from gradflow.comparison.page.histograms import LEVELS
from gradflow.comparison.page.overlays import Line, Overlay
from gradflow.comparison.page.profiles import (
    MISSING,
    NOT_FINITE,
    PER_DECADE,
    ZERO,
    Profile,
    pack_decades,
)
from gradflow.comparison.page.record import RunData, read_run_data
from gradflow.runs.files import CONFIG, STATUS
from gradflow.runs.read import Run
from gradflow.runs.settings import text

# 100 runs of 60 tensors, 40 records and 64 bins: 4.5 MB on the page.
_CELLS = 100 * 60 * 40 * 64
_FEWEST_RECORDS = 20
_PROVENANCE = ("start", "end", "resumed", "threads", "host", "git", "versions")  # of status.json


def pack(runs: Sequence[Run], *, beside: Path, title: str, overlays: Sequence[Overlay]) -> bytes:
    """Read the folders of `runs`, and pack their data for a page in the folder `beside`."""
    keys, groups = configurations(runs)
    place = {run.folder: index for index, group in enumerate(groups) for run in group.runs}
    ordered = [run for group in groups for run in group.runs]
    with ThreadPoolExecutor() as pool:  # polars, which does most of it, holds no lock of Python's
        contents = _within_budget(list(pool.map(lambda run: read_run_data(run.folder), ordered)))
    by_folder = {run.folder: content for run, content in zip(ordered, contents, strict=True)}
    shown = short_values(groups)
    first = [_first_recorded(group.runs, by_folder) for group in groups]
    drawn = [overlay.lines(first) for overlay in overlays]  # by overlay and configuration
    packer = _Packer(beside)
    return packer.arrays.compress(
        {
            "title": title,
            "made": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
            "levels": LEVELS,
            "decades": {
                "per": PER_DECADE,
                "zero": ZERO,
                "notFinite": NOT_FINITE,
                "missing": MISSING,
            },
            "colours": colour_scale(),
            "keys": keys,
            "headlines": [
                {"metric": name, "percent": percent} for name, percent in headlines(ordered)
            ],
            "objective": pack_objective(groups),
            "baselines": pack_baselines(keys, groups),
            "overlays": [{"name": overlay.name, "note": overlay.note} for overlay in overlays],
            "configurations": [
                {
                    "values": list(shown[place]),
                    "overlays": [packer.line(lines[place]) for lines in drawn],
                }
                for place in range(len(groups))
            ],
            "runs": [
                {"configuration": place[run.folder], **packer.run(run, by_folder[run.folder])}
                for run in ordered
            ],
            "names": packer.names,
        }
    )


def _within_budget(contents: Sequence[RunData]) -> list[RunData]:
    """Thin the records of all runs by one factor if a page cannot hold them all."""
    factor = sum(run.cells for run in contents) / _CELLS
    if factor <= 1:
        return list(contents)
    return [run.thinned(max(_FEWEST_RECORDS, int(len(run.steps) / factor))) for run in contents]


def _first_recorded(runs: Sequence[Run], contents: dict[Path, RunData]) -> Run | None:
    """Return the first run that has a profile at step 0, which overlays can be compared with."""
    for run in runs:
        content = contents[run.folder]
        if run.config and content.profiles and len(content.steps) and content.steps[0] == 0:
            return run
    return None


class _Packer:
    """Collect arrays, and each list of names only once, even if many runs share it."""

    def __init__(self, beside: Path) -> None:
        self.arrays = Arrays()
        self.names: list[list[str]] = []
        self._places: dict[tuple[str, ...], int] = {}
        self._beside = beside

    def run(self, run: Run, content: RunData) -> dict[str, Any]:
        return {
            "name": run.folder.name,
            "link": quote(os.path.relpath(run.folder, self._beside)),
            "wandb": _wandb(run),
            "state": run.state,
            "error": run.error,
            "problems": content.problems,
            "seed": run.config.get("seed"),
            "start": run.start,
            "seconds": run.seconds,
            "steps": run.steps,
            "divergedAt": run.diverged_at,
            "metrics": run.metrics,
            "verdict": None if run.verdict is None else asdict(run.verdict),
            "settings": _settings(run),
            "config": _config(run.folder),
            "made": _provenance(run.folder),
            "records": self.arrays.add_counts(content.steps),
            "recorded": content.recorded,
            "curves": {
                name: {
                    "steps": self.arrays.add_counts(curve.steps),
                    "values": self.arrays.add(curve.values, "f4"),
                    "logged": curve.logged,
                }
                for name, curve in content.curves.items()
            },
            "profiles": {kind: self._profile(p) for kind, p in content.profiles.items()},
            "histograms": {
                kind: histograms.pack(self.arrays, self._names(histograms.names))
                for kind, histograms in content.histograms.items()
            },
        }

    def line(self, line: Line) -> dict[str, Any]:
        if line.gradient is None or line.pre_activation is None:
            return {"reason": line.reason}
        packed: dict[str, Any] = {
            "pre_activation_gradient": self._decades(line.gradient),
            "pre_activation": self._decades(line.pre_activation),
        }
        for name, band in (
            ("pre_activation_gradient", line.gradient_band),
            ("pre_activation", line.pre_activation_band),
        ):
            if band is not None:
                low, high = map(self._decades, band)
                packed[f"{name}_band"] = {"low": low, "high": high}
        return packed

    def _decades(self, values: np.ndarray[Any, np.dtype[np.float64]]) -> Reference:
        return self.arrays.add(pack_decades(values), "i2")

    def _profile(self, profile: Profile) -> dict[str, Any]:
        values = self.arrays.add(profile.values, "i2")
        return {"names": self._names(profile.layers), "values": values}

    def _names(self, names: tuple[str, ...]) -> int:
        if names not in self._places:
            self._places[names] = len(self.names)
            self.names.append(list(names))
        return self._places[names]


def _settings(run: Run) -> dict[str, str]:
    """Return a run's settings as text; empty if its configuration is unknown."""
    return {key: text(value) for key, value in run.settings.items()} if run.config else {}


def _config(folder: Path) -> str:
    """Return the text of config.yaml, even if damaged; empty if it cannot be read."""
    try:
        return (folder / CONFIG).read_text(errors="replace")
    except OSError:
        return ""


def _wandb(run: Run) -> dict[str, str] | None:
    """Return the run's id in W&B, and its address if it was online and its entity is known."""
    if run.wandb_id is None:
        return None
    found = {"id": run.wandb_id}
    logger = run.config.get("logger")
    logger = logger if isinstance(logger, dict) else {}
    if logger.get("mode") == "online" and logger.get("entity") and logger.get("project"):
        parts = (logger["entity"], logger["project"], "runs", run.wandb_id)
        found["link"] = "https://wandb.ai/" + "/".join(quote(str(p), safe="") for p in parts)
    return found


def _provenance(folder: Path) -> dict[str, str]:
    """Return a run's times, host and versions; empty if status.json cannot be read."""
    try:
        status = json.loads((folder / STATUS).read_bytes())
    except (OSError, ValueError):
        return {}
    found: dict[str, str] = {}
    for key in _PROVENANCE:
        value = status.get(key) if isinstance(status, dict) else None
        parts = value if isinstance(value, dict) else {"": value}
        found |= {f"{key} {part}".strip(): text(item) for part, item in parts.items()}
    return found
