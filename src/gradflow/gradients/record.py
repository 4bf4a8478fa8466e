"""The gradient record of a run: a folder `gradients.parquet/` that any notebook opens in one line.

    pl.read_parquet("run/gradients.parquet")      # polars
    pd.read_parquet("run/gradients.parquet")      # pandas, with pyarrow

One row per step, kind and name:

| column | type | |
| --- | --- | --- |
| step | Int64 | optimizer steps done before this one |
| kind | String | what was measured, see below |
| name | String | the parameter's or the layer's name |
| index | Int64 | its position, from input to output, among all parameters or all layers |
| elements | Int64 | number of elements |
| dimensions | Int64 | of a parameter; null in records from before it was written |
| zeros, subnormals, nans, infs | Int64 | elements outside the bins; see `Histograms` |
| norm, rms, max | Float64 | of the finite elements; null where there is none |
| units | Int64 | channels or features of a layer |
| dead, saturated | Float64 | share of these units, 0 to 1; see `units.py` |
| bins | Array(Int64, 254) | bin i counts 2^(i-126) <= abs(x) < 2^(i-125) |

| kind | of | what | columns that are null |
| --- | --- | --- | --- |
| gradient | parameter | dL/dw, accumulated, unscaled, before clipping | dead, saturated |
| clipped_gradient | parameter | dL/dw after clipping, where it changed any | counts, bins |
| weight | parameter | w before the step | counts, bins, but on request |
| update | parameter | the change of w in this step | counts, bins |
| pre_activation | layer | z, what enters a nonlinearity, or the logits | as for weight |
| pre_activation_gradient | layer | dL/dz, L as training_step returns it | counts, bins |
| activation | layer | what leaves a nonlinearity, on request | dead, saturated |
| loss | | L, its absolute value in `max` | all others |
| mean_loss | | its mean over the `elements` batches since the last record, in `max` | all others |
| non_finite | layer | where z was first NaN or Inf, in the step in which the loss was first | all |

Where there are bins, they and the four counts add up to `elements`. Where there are none, norm, rms
and max are null if a single element is not finite. A `gradient` row with null in all of them says
that the parameter had no gradient in that step.

The folder holds parts, each written beside it and renamed, so that whenever the process is killed
every part is whole and nothing else is in the folder. This file knows nothing of torch or training.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from gradflow.gradients.whole import sweep, written_whole

FOLDER = "gradients.parquet"
SCHEMA = pl.Schema(
    {
        "step": pl.Int64(),
        "kind": pl.String(),
        "name": pl.String(),
        "index": pl.Int64(),
        "elements": pl.Int64(),
        "dimensions": pl.Int64(),
        "zeros": pl.Int64(),
        "subnormals": pl.Int64(),
        "nans": pl.Int64(),
        "infs": pl.Int64(),
        "norm": pl.Float64(),
        "rms": pl.Float64(),
        "max": pl.Float64(),
        "units": pl.Int64(),
        "dead": pl.Float64(),
        "saturated": pl.Float64(),
        "bins": pl.Array(pl.Int64(), 254),
    }
)


# Level 1 takes half the time of the default, for files of the same size. A reader has no use for
# statistics: a part is a single group of rows, or is read as a whole.
_WRITTEN: Any = {"compression": "zstd", "compression_level": 1, "statistics": False}

# Measured values by the name of their column, one for each entry: arrays or lists.
Columns = Mapping[str, Any]


@dataclass(frozen=True)
class Entry:
    """Whose row it is: a tensor's name, position from input to output, elements and dimensions."""

    name: str
    index: int
    elements: int
    dimensions: int | None = None  # of a parameter


Buffered = tuple[int, str, Sequence[Entry], Columns]  # step, kind, and what `append` is given


class RecordWriter:
    """Appends to the record of one run. One writer per run folder at a time.

    Opening it drops the rows of `first_step` and later, which the run is about to write again (a
    resumed run repeats the steps after its checkpoint; a new run repeats all), and removes what a
    killed writer left behind. `flush` writes what is buffered; after every `steps_per_part` steps
    it is called by itself.
    """

    def __init__(self, run_folder: Path, first_step: int, steps_per_part: int = 20) -> None:
        self._folder = run_folder / FOLDER
        self._steps_per_part = steps_per_part
        self._buffer: list[Buffered] = []
        sweep(run_folder)
        self._drop_from(first_step)

    def append(self, step: int, kind: str, entries: Sequence[Entry], columns: Columns) -> None:
        """Add one row per entry; `columns` are in the same order, and null where left out."""
        steps = {buffered[0] for buffered in self._buffer}
        if step not in steps and len(steps) >= self._steps_per_part:
            self.flush()
        self._buffer.append((step, kind, entries, columns))

    def flush(self) -> None:
        """Write the buffered rows as one whole part."""
        if not self._buffer:
            return
        rows = _rows(self._buffer)
        part = self._folder / _part_name(min(buffered[0] for buffered in self._buffer))
        if part.exists():  # the last flush came between two kinds of this step
            rows = pl.concat([_read([part]), rows])
        self._write(part, rows)
        self._buffer.clear()

    def _write(self, part: Path, rows: pl.DataFrame) -> None:
        with self._written(part) as file:
            rows.sort("step", "kind", "index").write_parquet(file, **_WRITTEN)

    @contextmanager
    def _written(self, part: Path) -> Iterator[Path]:
        """Give the file to write; it becomes the part when it is whole."""
        self._folder.mkdir(parents=True, exist_ok=True)
        # Outside of the folder: readers refuse one that holds files of another kind.
        with written_whole(part, beside=self._folder) as aside:
            yield aside

    def _drop_from(self, first_step: int) -> None:
        kept = []
        for part in _parts(self._folder):
            if part.name >= _part_name(first_step):
                part.unlink()
            else:
                kept.append(part)
        if kept:  # parts are in order: only the last one can reach beyond
            rows = _read(kept[-1:])
            earlier = rows.filter(pl.col("step") < first_step)
            if len(earlier) < len(rows):
                self._write(kept[-1], earlier)


def read_gradients(run_folder: Path) -> pl.DataFrame:
    """All rows of a run's record, by step, kind and index; none if the run was not watched.

    Raises:
        FileNotFoundError: if there is no such folder.
    """
    return scan_gradients(run_folder).collect()


def scan_gradients(run_folder: Path) -> pl.LazyFrame:
    """Return `read_gradients`' rows before any is read: the rows and columns asked for are.

    Raises:
        FileNotFoundError: if there is no such folder.
    """
    if not run_folder.is_dir():
        raise FileNotFoundError(f"{run_folder}: no such run folder")
    parts = _parts(run_folder / FOLDER)
    # Each part is in order, and so are the parts.
    return _scan(parts) if parts else SCHEMA.to_frame().lazy()


def copy_as_one_part(run_folder: Path, other: Path) -> None:
    """Write a run's whole record into another run folder, in one part; nothing if it has none."""
    rows = scan_gradients(run_folder)
    if _parts(run_folder / FOLDER):
        with RecordWriter(other, 0)._written(other / FOLDER / _part_name(0)) as file:
            rows.sink_parquet(file, **_WRITTEN)


def is_weight(name: str, dimensions: int | None) -> bool:
    """Say whether a parameter is a weight: of two dimensions or more, as no bias or norm's is.

    Of a record that does not know the dimensions the name must tell.
    """
    if dimensions is None:
        return name.endswith("weight") and "norm" not in name
    return dimensions > 1


def first_non_finite(record: pl.DataFrame | pl.LazyFrame) -> tuple[int, str] | None:
    """Return the step and the layer at which a run's loss first was NaN or Inf, if it was."""
    noted = record.lazy().filter(pl.col("kind") == "non_finite")
    rows = noted.select("step", "name").collect().rows()
    return (int(rows[0][0]), str(rows[0][1])) if rows else None


def _rows(buffer: Sequence[Buffered]) -> pl.DataFrame:
    """Make one table, column by column: a table for each kind would cost ten times as much."""
    counts = [len(entries) for _, _, entries, _ in buffer]
    all_entries = [entry for _, _, entries, _ in buffer for entry in entries]
    columns: dict[str, object] = {
        "step": np.repeat([step for step, _, _, _ in buffer], counts),
        "kind": np.repeat([kind for _, kind, _, _ in buffer], counts).tolist(),
        "name": [entry.name for entry in all_entries],
        "index": [entry.index for entry in all_entries],
        "elements": [entry.elements for entry in all_entries],
        "dimensions": [entry.dimensions for entry in all_entries],
    }
    ends = np.cumsum(counts).tolist()
    for column in list(SCHEMA)[len(columns) : -1]:
        # NaN stands for null on the way; float64 holds every count below 2^53 exactly.
        values = np.full(ends[-1], np.nan)
        for (_, _, _, measured), count, end in zip(buffer, counts, ends, strict=True):
            if column in measured:
                values[end - count : end] = measured[column]
        columns[column] = pl.Series(values).fill_nan(None).cast(SCHEMA[column])
    columns["bins"] = _bins([measured.get("bins") for _, _, _, measured in buffer], counts)
    return pl.DataFrame(columns, schema=SCHEMA)


def _bins(parts: Sequence[NDArray[np.int64] | None], counts: Sequence[int]) -> pl.Series:
    """The column of bins: null for all `counts` rows of a part that is None."""
    have = np.repeat([part is not None for part in parts], counts)
    known = [part for part in parts if part is not None]
    if not known:
        return pl.Series([None] * len(have), dtype=SCHEMA["bins"])
    place = pl.Series(np.where(have, np.cumsum(have) - 1, -1))
    return pl.Series(np.concatenate(known), dtype=SCHEMA["bins"]).gather(place.set(place < 0, None))


def _read(parts: list[Path]) -> pl.DataFrame:
    return _scan(parts).collect()


def _scan(parts: list[Path]) -> pl.LazyFrame:
    """Read whole parts; one from before a column was added has null in it.

    Without globbing, to which the brackets of a folder such as `remedy=[relu,clip]` would mean
    something else.
    """
    return pl.scan_parquet(
        parts, schema=SCHEMA, missing_columns="insert", extra_columns="ignore", glob=False
    )


def _part_name(first_step: int) -> str:
    return f"part-{first_step:010d}.parquet"


def _parts(folder: Path) -> list[Path]:
    return sorted(folder.glob("part-*.parquet"))
