"""Make a report of a study on Weights & Biases: differing settings, curves, profiles, histograms.

A report belongs to one study and explains its panels. A workspace belongs to the whole project, and
anybody may rearrange it. The panels draw what the runs of the study's group have logged to the
server, so that a run that is synced later appears by itself. From the run folders, only names are
read here.
"""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gradflow.comparison.columns import headlines
from gradflow.comparison.wandb_server import one_line_errors, runs_on_server
from gradflow.errors import ConfigError
from gradflow.runs.read import Run, read_runs
from gradflow.runs.settings import differing

try:
    import wandb_workspaces.reports.v2 as wr
except ModuleNotFoundError as error:
    raise ConfigError(
        "a report needs the package wandb-workspaces: uv pip install -e '.[report]'"
    ) from error

FIGURES = (
    "gradient_flow/first_over_last",
    "gradient_flow/decades_per_layer",
    "gradient_flow/update_to_weight",
    "gradient_flow/dead_units",
    "gradient_flow/saturated_units",
    "gradient_flow/zeros",
)
_WIDTH = 24  # columns of W&B's grid of panels
_MOST_RUNS = 100  # lines in one panel; W&B itself stops at 10


@dataclass(frozen=True)
class Study:
    """The runs of one W&B group, as read from their folders."""

    name: str  # also the group's
    project: str
    entity: str | None  # None: the account's own
    runs: list[Run]
    ids: list[str]  # of the runs logged to W&B

    @property
    def curves(self) -> list[str]:
        """The metrics drawn over the steps: losses, headline metrics, gradient norm and lr."""
        names = ("loss", *(name for name, _ in headlines(self.runs)))
        metrics = [f"{split}/{name}" for split in ("train", "validation") for name in names]
        return [*metrics, "gradient_norm/total_before_clipping", "lr"]

    @property
    def summary(self) -> list[str]:
        """The figures shown beside a run's name."""
        compared = [f"validation/{name}" for name, _ in headlines(self.runs)]
        return ["verdict", "gradient_flow/first_over_last", *compared]

    @property
    def sync(self) -> str:
        """The command line that sends offline runs to the server."""
        parents = sorted({shlex.quote(str(run.folder.parent)) for run in self.runs})
        return " ".join(["wandb sync", *(f"{parent}/*/wandb/offline-run-*" for parent in parents)])


def read_study(folder: Path) -> Study:
    """Read a study's folder. ConfigError if it holds no study that was logged to W&B."""
    if not folder.is_dir():
        raise ConfigError(f"{folder}: is not the folder of a study")
    # Another version's configuration may have other types; such runs are skipped.
    parts = ("study", "logger")
    runs = [
        run
        for run in read_runs([folder])
        if run.config and all(isinstance(run.config.get(part), dict | None) for part in parts)
    ]
    ids = [run.wandb_id for run in runs if run.wandb_id]
    if not runs:
        raise ConfigError(f"{folder}: contains no run (no status.json)")
    if not ids:
        raise ConfigError(f"{folder}: none of its runs was logged to W&B (logger=none)")
    groups = {(run.config.get("study") or {}).get("name") for run in runs}
    loggers = [run.config.get("logger") or {} for run in runs]
    places = {(x["project"], x["entity"]) for x in loggers if x.get("mode", "none") != "none"}
    name = groups.pop()
    if groups or len(places) != 1 or name is None:
        raise ConfigError(f"{folder}: a report takes the runs of one study, in one W&B project")
    ((project, entity),) = places
    return Study(name, project, entity, runs, ids)


def make_report(study: Study, entity: str | None = None) -> wr.Report:
    """Build the study's report without sending it; the study's own entity precedes `entity`."""
    words = differing(study.runs)
    keys = [f"settings.{word}" if "." in word else word for word in words]  # in W&B's config
    several = len({run.config.get("seed") for run in study.runs}) > 1
    seeds = wr.Config(keys[0]) if several and len(keys) == 1 else None
    named = [*words, *(["seed"] if several else [])]
    return wr.Report(
        project=study.project,
        entity=study.entity or entity or "",
        title=f"Study {study.name}",
        description=f"{len(study.runs)} runs, which differ in {', '.join(named) or 'nothing'}.",
        width="fluid",
        blocks=[
            wr.MarkdownBlock(_HOW_TO_READ),
            wr.H2("What the runs are, and where they differ"),
            _grid(study, keys, [wr.RunComparer(diff_only=True)], across=1, height=12, table=True),
            wr.H2("Curves"),
            _grid(study, keys, [_curve(key, seeds) for key in (*study.curves, *FIGURES)], across=3),
            wr.H2("Profiles: every layer, input to output"),
            _grid(
                study,
                keys,
                [
                    _lines("gradient_profile", "layer", "log10_gradient", "log10 RMS of dL/dz"),
                    _lines("gradient_profile", "layer", "log10_pre_activation", "log10 RMS of z"),
                ],
                across=2,
                height=12,
            ),
            wr.H2("Gradient flow: every layer over the steps"),
            _grid(
                study,
                keys,
                [
                    wr.MediaBrowser(
                        title="layers down, steps across, colour log10 RMS of dL/dz",
                        media_keys=["gradient_flow_map"],
                        num_columns=3,
                        gallery_axis="run",
                    )
                ],
                across=1,
                height=20,
            ),
            wr.H2("Histograms of dL/dw, side by side"),
            _grid(
                study,
                keys,
                [
                    _lines(
                        "gradient_histogram",
                        "exponent",
                        place,
                        f"{place} weight: share of dL/dw by log2 abs(dL/dw)",
                    )
                    for place in ("first", "middle", "last")
                ],
                across=3,
                height=12,
            ),
        ],
    )


def send(study: Study) -> str:
    """Save a new report of the study on the server and return its address.

    The number of runs missing on the server is printed to standard error. ConfigError if all are
    missing, or without an account or a server.
    """
    with one_line_errors(hint=_HINT):
        entity, found = runs_on_server(study.project, study.entity, study.ids)
    missing = len(set(study.ids) - found)
    if missing:
        message = f"{missing} of {len(study.ids)} runs of study {study.name} are not on the server"
        if not found:
            raise ConfigError(f"{message}: {study.sync}")
        print(f"{message}; they will show after: {study.sync}", file=sys.stderr)
    report = make_report(study, entity)
    with one_line_errors(hint=_HINT):
        return str(report.save().url)


_HINT = "; --definition FILE needs no server"
_HOW_TO_READ = """\
In profiles and histograms, each run has a colour; the dash shows whether a line is the run's \
first record (`start`) or its last (`end`). Layers are numbered from 1 at the input; a layer whose \
gradient is exactly 0 is a gap. Histogram bins are exponents of two, the same in every run. The \
first bin, -127, holds zeros and subnormal numbers; the last, 24, holds all from 2^24 on, Inf and \
NaN. Each run's own workspace has the histograms of all parameters and records, as `gradients/…`."""


def definition(report: wr.Report) -> dict[str, Any]:
    """Return what `report.save()` sends: the variables of its mutation `upsertView`.

    Two differ: the random `name` is left out, and `spec`, sent as a JSON string, is an object here.
    """
    model: Any = report._to_model()  # type: ignore[no-untyped-call]  # nothing public returns it
    return {
        "id": model.id or None,
        "entityName": model.project.entity_name or None,
        "projectName": model.project.name,
        "description": model.description,
        "displayName": model.display_name,
        "type": "runs",
        "spec": json.loads(model.spec.model_dump_json(by_alias=True, exclude_none=True)),
    }


def _grid(
    study: Study,
    keys: Sequence[str],
    panels: list[Any],
    *,
    across: int,
    height: int = 8,
    table: bool = False,
) -> wr.PanelGrid:
    """Lay out panels, `across` in a row; with `table`, the table of the runs is below them."""
    width = _WIDTH // across
    for i, panel in enumerate(panels):
        panel.layout = wr.Layout(i % across * width, i // across * height, width, height)
    parts = [key.partition(".") for key in keys]
    columns = [f"config:{first}.value{dot}{rest}" for first, dot, rest in parts]
    columns += [f"summary:{key}" for key in study.summary]
    # The library reads = as ==, even within quotes.
    name = repr(study.name).replace("=", r"\x3d")
    runs = wr.Runset(  # without a project: the report's own
        name=study.name,
        filters=f"Metric('Group') == {name}",
        order=[wr.OrderBy("CreatedTimestamp", ascending=True)],
        visible_columns=["run:displayName", "run:state", *columns],
    )
    return wr.PanelGrid(runsets=[runs], panels=panels, hide_run_sets=not table)


def _curve(key: str, seeds: wr.Config | None) -> wr.LinePlot:
    """Plot a metric over the steps, a line per run, or with `seeds` mean and standard deviation."""
    spread: dict[str, Any] = {}
    if seeds is not None:
        spread = {"groupby": seeds, "groupby_aggfunc": "mean", "groupby_rangefunc": "stddev"}
    return wr.LinePlot(
        title=key, x="trainer/global_step", y=[key], max_runs_to_show=_MOST_RUNS, **spread
    )


def _lines(key: str, x: str, y: str, title: str) -> wr.CustomChart:
    """Plot one column of a table over another, all runs in one chart: W&B has no such panel.

    The query is that of the chart that the run has logged under `key`, by `wandb.plot.line`.
    """
    table = {"tableKey": f"{key}_table"}
    return wr.CustomChart(
        query={"id": {}, "name": {}, "_defaultColorIndex": {}, "summaryTable": table},
        chart_name="wandb/line/v0",
        chart_fields={"x": x, "y": y, "stroke": "record"},
        chart_strings={"title": title},
    )
