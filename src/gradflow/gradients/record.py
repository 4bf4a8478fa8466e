"""The gradient record of a run: a folder `gradients.parquet/` that any notebook opens in one line.

    pl.read_parquet("run/gradients.parquet")      # polars
    pd.read_parquet("run/gradients.parquet")      # pandas, with pyarrow

One row per step, kind and name:

| column | type | |
| --- | --- | --- |
| step | Int64 | optimizer steps done before this one |
| kind | String | what was measured: `gradient` is dL/dw before clipping |
| name | String | the parameter's name |
| index | Int64 | its position among all parameters, from input to output |
| elements | Int64 | number of elements |
| zeros, subnormals, nans, infs | Int64 | elements outside the bins; see `Histograms` |
| norm, rms, max | Float64 | of the finite elements; null where none is finite |
| bins | Array(Int64, 254) | bin i counts 2^(i-126) <= abs(x) < 2^(i-125) |

`bins` and the four counts add up to `elements`. A row that has null in all of them says that there
was nothing to measure: the parameter had no gradient in that step. Other kinds of tensor (weights,
pre-activations …) fit into the same columns.

The folder holds parts, each written beside it and renamed, so that whenever the process is killed
every part is whole and nothing else is in the folder. This file knows nothing of torch or training.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

if TYPE_CHECKING:  # importing torch takes seconds, and reading a record does not need it
    from gradflow.gradients.histogram import Histograms

FOLDER = "gradients.parquet"
SCHEMA = pl.Schema(
    {
        "step": pl.Int64(),
        "kind": pl.String(),
        "name": pl.String(),
        "index": pl.Int64(),
        "elements": pl.Int64(),
        "zeros": pl.Int64(),
        "subnormals": pl.Int64(),
        "nans": pl.Int64(),
        "infs": pl.Int64(),
        "norm": pl.Float64(),
        "rms": pl.Float64(),
        "max": pl.Float64(),
        "bins": pl.Array(pl.Int64(), 254),
    }
)


@dataclass(frozen=True)
class Entry:
    """Whose row it is: a tensor's name, position from input to output, and number of elements."""

    name: str
    index: int
    elements: int


class RecordWriter:
    """Appends to the record of one run. One writer per run folder at a time.

    Opening it drops the rows of `first_step` and later, which the run is about to write again (a
    resumed run repeats the steps after its checkpoint; a new run repeats all), and removes what a
    killed writer left behind. `flush` writes what is buffered; after every `steps_per_part` steps
    it is called by itself.
    """

    def __init__(self, run_folder: Path, first_step: int, steps_per_part: int = 20) -> None:
        self._folder = run_folder / FOLDER
        # Not inside the folder: readers refuse a folder that holds files of another kind.
        self._unfinished = run_folder / f".{FOLDER}.unfinished"
        self._steps_per_part = steps_per_part
        self._buffer: list[tuple[int, str, Sequence[Entry], Histograms | None]] = []
        self._unfinished.unlink(missing_ok=True)
        self._drop_from(first_step)

    def append(
        self, step: int, kind: str, entries: Sequence[Entry], histograms: Histograms | None
    ) -> None:
        """Add one row per entry; `histograms` in the same order, or None for nothing to measure."""
        steps = {buffered[0] for buffered in self._buffer}
        if step not in steps and len(steps) >= self._steps_per_part:
            self.flush()
        self._buffer.append((step, kind, entries, histograms))

    def flush(self) -> None:
        """Write the buffered rows as one whole part."""
        if not self._buffer:
            return
        rows = pl.concat([_rows(*buffered) for buffered in self._buffer])
        rows = rows.with_columns(pl.col("norm", "rms", "max").fill_nan(None))
        part = self._folder / _part_name(min(buffered[0] for buffered in self._buffer))
        if part.exists():  # the last flush came between two kinds of this step
            rows = pl.concat([pl.read_parquet(part), rows])
        self._write(part, rows)
        self._buffer.clear()

    def _write(self, part: Path, rows: pl.DataFrame) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        rows.sort("step", "kind", "index").write_parquet(self._unfinished, compression="zstd")
        self._unfinished.replace(part)  # atomic

    def _drop_from(self, first_step: int) -> None:
        kept = []
        for part in _parts(self._folder):
            if part.name >= _part_name(first_step):
                part.unlink()
            else:
                kept.append(part)
        if kept:  # parts are in order: only the last one can reach beyond
            rows = pl.read_parquet(kept[-1])
            earlier = rows.filter(pl.col("step") < first_step)
            if len(earlier) < len(rows):
                self._write(kept[-1], earlier)


def read_gradients(run_folder: Path) -> pl.DataFrame:
    """All rows of a run's record, by step, kind and index; none if the run was not watched.

    Raises:
        FileNotFoundError: if there is no such folder.
    """
    if not run_folder.is_dir():
        raise FileNotFoundError(f"{run_folder}: no such run folder")
    parts = _parts(run_folder / FOLDER)
    if not parts:
        return SCHEMA.to_frame()
    return pl.read_parquet(parts).sort("step", "kind", "index")


def _rows(
    step: int, kind: str, entries: Sequence[Entry], histograms: Histograms | None
) -> pl.DataFrame:
    columns: dict[str, object] = {
        "step": [step] * len(entries),
        "kind": [kind] * len(entries),
        "name": [entry.name for entry in entries],
        "index": [entry.index for entry in entries],
        "elements": [entry.elements for entry in entries],
    }
    nothing = [None] * len(entries)
    for column in list(SCHEMA)[len(columns) :]:
        columns[column] = nothing if histograms is None else getattr(histograms, column)
    return pl.DataFrame(columns, schema=SCHEMA)


def _part_name(first_step: int) -> str:
    return f"part-{first_step:010d}.parquet"


def _parts(folder: Path) -> list[Path]:
    return sorted(folder.glob("part-*.parquet"))
