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
| dimensions | Int64 | of a parameter; null in older records |
| zeros, subnormals, nans, infs | Int64 | elements outside the bins; see `Histograms` |
| norm, rms, max | Float64 | of the finite elements; null if no element is finite |
| units | Int64 | channels or features of a layer |
| positions | Int64 | pixels or tokens of a layer's unit, in one image |
| normalized | Int64 | 1 if a normalization layer was called since the layer before |
| before, behind | Int64 | layers on the longest path to it, and from it to the output |
| bypassed | Int64 | 1 if there is a path around it from the input to the output |
| dead, saturated | Float64 | share of these units, 0 to 1; see `units.py` |
| bins | Array(Int64, 254) | bin i counts 2^(i-126) <= abs(x) < 2^(i-125) |

| kind | row for each | what | null columns |
| --- | --- | --- | --- |
| gradient | parameter | dL/dw, accumulated, unscaled, before clipping | dead, saturated |
| clipped_gradient | parameter | dL/dw after clipping, if clipping changed any | counts, bins |
| weight | parameter | w before the step | counts, bins, unless requested |
| update | parameter | the change of w in this step | counts, bins |
| pre_activation | layer | z, the input of a nonlinearity, or the logits | as for weight |
| pre_activation_gradient | layer | dL/dz, L as training_step returns it | counts, bins |
| activation | layer | the output of a nonlinearity, on request | dead, saturated |
| loss | | L, in `max` | all others |
| mean_loss | | of the `elements` batches since the last record: mean L in `max`; `rms` | others |
| metric | | of the training, as it was logged last, in `max`; larger is better | all others |
| term | | the plain loss function within L, as a mean, in `max` | all others |
| hits | | share of the step's batch that is classified right, in `max` | all others |
| largest_class | | share of the most frequent class in all recorded batches, in `max` | others |
| chance_loss | | of `term`, or of L as the module says it; NaN: it says "unknown" | all others |
| optimizers | | how many act, in `elements`, if there are several | all others |
| final | | the step is the last one, and not scheduled: not recorded if the run goes on | all |
| non_finite | layer | the first with NaN or Inf in z, when the loss first was non-finite | all |

Bins and the four counts add up to `elements`. In a row without bins, norm, rms and max are null if
any element is non-finite. A `gradient` row with null in all of these columns means that the
parameter had no gradient in that step.

The folder holds parts. Each is written outside and then moved in, so that a killed process leaves
only whole parts in the folder. This file knows nothing of torch or training.
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

from gradflow.gradients.atomic import atomic_write, remove_unfinished

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
        "positions": pl.Int64(),
        "normalized": pl.Int64(),
        "before": pl.Int64(),
        "behind": pl.Int64(),
        "bypassed": pl.Int64(),
        "dead": pl.Float64(),
        "saturated": pl.Float64(),
        "bins": pl.Array(pl.Int64(), 254),
    }
)


# Level 1 takes half the time of the default, for files of the same size. Statistics would not help
# readers: a part is a single row group, or is read as a whole.
_PARQUET_OPTIONS: Any = {"compression": "zstd", "compression_level": 1, "statistics": False}

# From a column's name to its measured values, one for each entry: arrays or lists.
Columns = Mapping[str, Any]


@dataclass(frozen=True)
class Entry:
    """The tensor of a row: name, position from input to output, elements and dimensions."""

    name: str
    index: int
    elements: int
    dimensions: int | None = None  # of a parameter


Buffered = tuple[int, str, Sequence[Entry], Columns]  # the arguments of `append`


class RecordWriter:
    """Append to the record of one run. Only one writer per run folder at a time.

    Opening it drops the rows of `first_step` and later, since the run will write them again: a
    resumed run repeats the steps after its checkpoint, a new run all steps. It drops a `final` step
    too, since the run goes on. It also removes the
    unfinished files of killed writers. `flush` writes the buffer; it is called automatically after
    every `steps_per_part` steps.
    """

    def __init__(self, run_folder: Path, first_step: int, steps_per_part: int = 20) -> None:
        self._folder = run_folder / FOLDER
        self._steps_per_part = steps_per_part
        self._buffer: list[Buffered] = []
        remove_unfinished(run_folder)
        self._drop_from(first_step)

    def append(self, step: int, kind: str, entries: Sequence[Entry], columns: Columns) -> None:
        """Add one row per entry. `columns` have the order of `entries`; a missing one is null."""
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
            rows.sort("step", "kind", "index").write_parquet(file, **_PARQUET_OPTIONS)

    @contextmanager
    def _written(self, part: Path) -> Iterator[Path]:
        """Yield the file to write; it becomes the part when it is complete."""
        self._folder.mkdir(parents=True, exist_ok=True)
        # Outside the folder, since readers refuse a folder with files of another kind.
        with atomic_write(part, beside=self._folder) as temporary:
            yield temporary

    def _drop_from(self, first_step: int) -> None:
        kept = []
        for part in _parts(self._folder):
            if part.name >= _part_name(first_step):
                part.unlink()
            else:
                kept.append(part)
        if kept:  # parts are in order: only the last one can hold later steps
            rows = _read(kept[-1:])
            final = rows.filter(kind="final")["step"].implode()
            earlier = rows.filter(pl.col("step") < first_step, ~pl.col("step").is_in(final))
            if len(earlier) < len(rows):
                self._write(kept[-1], earlier)


def read_gradients(run_folder: Path) -> pl.DataFrame:
    """Return a run's record, sorted by step, kind and index; without rows if it has no record.

    Raises:
        FileNotFoundError: if there is no such folder.
    """
    return scan_gradients(run_folder).collect()


def scan_gradients(run_folder: Path) -> pl.LazyFrame:
    """Return the rows of `read_gradients` as a lazy frame, which reads only what a query needs.

    Raises:
        FileNotFoundError: if there is no such folder.
    """
    if not run_folder.is_dir():
        raise FileNotFoundError(f"{run_folder}: no such run folder")
    parts = _parts(run_folder / FOLDER)
    # The rows of each part are in order, and so are the parts.
    return _scan(parts) if parts else SCHEMA.to_frame().lazy()


def keep_earlier_record(run_folder: Path) -> Path | None:
    """Rename the record in a run folder, so that a new run there gets a record of its own.

    Returns the new path, or None if the folder has no record.
    """
    folder = run_folder / FOLDER
    if not _parts(folder):
        return None
    stem, _, suffix = FOLDER.partition(".")
    number = 1
    while (kept := run_folder / f"{stem}-{number}.{suffix}").exists():
        number += 1
    return folder.rename(kept)


def copy_as_one_part(run_folder: Path, other: Path) -> None:
    """Copy a run's record into another run folder, as one part; do nothing if it has none."""
    rows = scan_gradients(run_folder)
    if _parts(run_folder / FOLDER):
        with RecordWriter(other, 0)._written(other / FOLDER / _part_name(0)) as file:
            rows.sink_parquet(file, **_PARQUET_OPTIONS)


def is_weight(name: str, dimensions: int | None) -> bool:
    """Return whether a parameter is a weight: two dimensions or more, unlike biases and norms.

    Older records do not have the dimensions; then the name decides.
    """
    if dimensions is None:
        return name.endswith("weight") and "norm" not in name
    return dimensions > 1


def first_non_finite(record: pl.DataFrame | pl.LazyFrame) -> tuple[int, str] | None:
    """Return the step and the layer at which a run's loss first was NaN or Inf, or None."""
    noted = record.lazy().filter(pl.col("kind") == "non_finite")
    rows = noted.select("step", "name").collect().rows()
    return (int(rows[0][0]), str(rows[0][1])) if rows else None


def _rows(buffer: Sequence[Buffered]) -> pl.DataFrame:
    """Build one table, column by column: a table for each kind would take ten times as long."""
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
        # NaN stands for null until the cast; float64 holds every count below 2^53 exactly.
        values = np.full(ends[-1], np.nan)
        for (_, _, _, measured), count, end in zip(buffer, counts, ends, strict=True):
            if column in measured:
                values[end - count : end] = measured[column]
        columns[column] = pl.Series(values).fill_nan(None).cast(SCHEMA[column])
    columns["bins"] = _bins([measured.get("bins") for _, _, _, measured in buffer], counts)
    return pl.DataFrame(columns, schema=SCHEMA)


def _bins(parts: Sequence[NDArray[np.int64] | None], counts: Sequence[int]) -> pl.Series:
    """Build the column of bins; a part that is None gets as many nulls as `counts` says."""
    have = np.repeat([part is not None for part in parts], counts)
    known = [part for part in parts if part is not None]
    if not known:
        return pl.Series([None] * len(have), dtype=SCHEMA["bins"])
    place = pl.Series(np.where(have, np.cumsum(have) - 1, -1))
    return pl.Series(np.concatenate(known), dtype=SCHEMA["bins"]).gather(place.set(place < 0, None))


def _read(parts: list[Path]) -> pl.DataFrame:
    return _scan(parts).collect()


def _scan(parts: list[Path]) -> pl.LazyFrame:
    """Scan whole parts; a column that an older part lacks is null.

    Globbing is off, since it would interpret the brackets of a folder like `remedy=[relu,clip]`.
    """
    return pl.scan_parquet(
        parts, schema=SCHEMA, missing_columns="insert", extra_columns="ignore", glob=False
    )


def _part_name(first_step: int) -> str:
    return f"part-{first_step:010d}.parquet"


def _parts(folder: Path) -> list[Path]:
    return sorted(folder.glob("part-*.parquet"))
