"""The page's file: what is packed is what the record holds, and what users wrote stays text."""

from __future__ import annotations

import base64
import io
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from matplotlib.figure import Figure
from page_study import LAYERS, STEPS, TENSORS, a_page_run, a_record, a_study
from PIL import Image

from gradflow.comparison.own_figures import OwnFigure, load_figures
from gradflow.comparison.page import build_page
from gradflow.comparison.page.blob import Arrays, read, unpack
from gradflow.comparison.page.build import SCRIPTS
from gradflow.comparison.page.curves import POINTS, read_curves
from gradflow.comparison.page.histograms import LEVELS, SPECIALS
from gradflow.comparison.page.overlays import Line, Overlay, load_overlays
from gradflow.errors import ConfigError
from gradflow.runs.read import Run, read_runs

BINS = pl.Array(pl.Int64(), 254)
TRICKY = "</script><script>alert(1)</script><b>\"quoted\" & 'so' </title> {{data}}"


def build(study: Path, **options: Any) -> Path:
    return build_page(read_runs([study]), study / "page.html", "a study")


def packed(page: Path) -> tuple[Any, bytes]:
    """The document and the arrays of a page, found as a browser finds them."""
    found = re.search(
        r'<script type="application/octet-stream" id="data">([^<]*)<', page.read_text()
    )
    assert found is not None
    return unpack(base64.b64decode(found[1], validate=True))


def rows(folder: Path, kind: str) -> pl.DataFrame:
    """A run's rows as a notebook reads them."""
    return pl.read_parquet(folder / "gradients.parquet" / "*.parquet").filter(kind=kind)


def test_levels_are_square_roots_within_a_level_and_special_counts_are_exact(
    tmp_path: Path,
) -> None:
    study = a_study(tmp_path)
    document, arrays = packed(build(study))
    assert len(document["runs"]) == 6
    for run in document["runs"]:
        packed_bins = run["histograms"]["gradient"]
        names = document["names"][packed_bins["names"]]
        assert names == list(TENSORS)
        shape = (len(names), len(STEPS))
        levels = read(packed_bins["levels"], arrays).reshape(*shape, packed_bins["bins"])
        peaks = read(packed_bins["peaks"], arrays).reshape(shape)
        assert read(run["records"], arrays).tolist() == list(STEPS)
        for row in rows(study / run["name"], "gradient").iter_rows(named=True):
            at = names.index(row["name"]), STEPS.index(row["step"])
            counts = np.array(row["bins"])
            first = packed_bins["first"] + 126
            within = counts[first : first + packed_bins["bins"]]
            assert within.sum() == counts.sum()
            assert peaks[at] == counts.max()
            assert ((levels[at] > 0) == (within > 0)).all()
            off = levels[at] / LEVELS - np.sqrt(within / max(counts.max(), 1))
            assert np.abs(off).max() < 1 / LEVELS
            assert np.abs(off[levels[at] > 1]).max(initial=0) <= 0.5 / LEVELS + 1e-12
            for special in SPECIALS:
                assert read(packed_bins[special], arrays).reshape(shape)[at] == row[special]
            assert read(packed_bins["elements"], arrays)[at[0]] == row["elements"]


def test_a_bin_that_holds_one_of_a_million_is_not_empty() -> None:
    from gradflow.comparison.page.histograms import histograms

    bins = [0] * 254
    bins[100], bins[120] = 1, 999_999
    row = {"name": "w", "index": 0, "step": 0, "elements": 1_000_000, "dimensions": 2}
    row |= dict.fromkeys(SPECIALS, 0) | {"bins": bins}
    rows = pl.DataFrame([row], schema_overrides={"bins": BINS})
    result = histograms(rows, np.array([0]))
    assert result is not None
    assert (result.first, result.levels[0, 0, 0], result.levels[0, 0, -1]) == (-26, 1, LEVELS)


def test_profiles_are_the_records_to_a_hundredth_of_a_decade(tmp_path: Path) -> None:
    study = a_study(tmp_path)
    document, arrays = packed(build(study))
    code = document["decades"]
    for run in document["runs"]:
        for kind in ("pre_activation_gradient", "pre_activation"):
            packed_profile = run["profiles"][kind]
            assert document["names"][packed_profile["names"]] == list(LAYERS)
            values = read(packed_profile["values"], arrays).reshape(len(STEPS), len(LAYERS))
            for row in rows(study / run["name"], kind).iter_rows(named=True):
                value = values[STEPS.index(row["step"]), LAYERS.index(row["name"])]
                if row["rms"] is None:
                    assert value == code["notFinite"]
                elif row["rms"] == 0:
                    assert value == code["zero"]
                else:
                    assert value / code["per"] == pytest.approx(math.log10(row["rms"]), abs=0.0051)


def test_a_layer_that_a_step_did_not_measure_is_missing_and_not_zero(tmp_path: Path) -> None:
    from gradflow.gradients.record import Entry, RecordWriter

    folder = a_page_run(tmp_path / "run", "none", 0)
    writer = RecordWriter(folder, 25)
    writer.append(25, "pre_activation_gradient", [Entry(LAYERS[0], 0, 1)], {"rms": [0.1]})
    writer.flush()
    document, arrays = packed(build(tmp_path))
    values = read(document["runs"][0]["profiles"]["pre_activation_gradient"]["values"], arrays)
    assert values.reshape(-1, 3)[-1].tolist() == [-100, *[document["decades"]["missing"]] * 2]


def test_the_smallest_and_the_largest_float64_keep_their_decades(tmp_path: Path) -> None:
    from gradflow.comparison.page.profiles import hundredths

    assert hundredths([5e-324, 1.7e308]).tolist() == [-32331, 30823]


def test_seeds_of_one_configuration_are_grouped_under_the_keys_that_differ(
    tmp_path: Path,
) -> None:
    document, _ = packed(build(a_study(tmp_path)))
    assert document["keys"] == ["remedy"]
    assert [row["values"] for row in document["configurations"]] == [["none"], ["relu"], ["clip"]]
    assert [(run["configuration"], run["seed"]) for run in document["runs"]] == [
        (place, seed) for place in range(3) for seed in (0, 1)
    ]


def test_counts_beyond_four_bytes_are_kept_exactly() -> None:
    arrays = Arrays()
    for largest in (0, 255, 256, 65535, 65536, 2**32 - 1, 2**32, 2**53 - 1):
        reference = arrays.add_counts(np.array([0, largest]))
        document, raw = unpack(arrays.compress({"it": reference}))
        assert read(document["it"], raw).tolist() == [0, largest]


def test_nan_and_infinity_reach_the_browser_as_texts_that_it_parses() -> None:
    document, _ = unpack(Arrays().compress({"values": [math.nan, math.inf, -math.inf, 1.5]}))
    assert document["values"] == ["NaN", "Infinity", "-Infinity", 1.5]


def test_whatever_users_wrote_cannot_leave_the_data(tmp_path: Path) -> None:
    folder = a_page_run(tmp_path / "a<b>&'c\"", TRICKY, 0, state="failed", error=TRICKY)
    page = build_page(read_runs([folder]), tmp_path / "page.html", TRICKY)
    text = page.read_text()
    assert "alert(1)</script>" not in text
    assert text.count("<script") == text.count("</script>") == 2
    assert "&lt;/script&gt;&lt;script&gt;alert(1)" in text  # the title
    document, _ = packed(page)
    assert document["title"] == document["runs"][0]["error"] == TRICKY
    assert document["runs"][0]["settings"]["remedy"] == TRICKY


def test_links_lead_from_the_page_to_the_run(tmp_path: Path) -> None:
    folder = a_page_run(tmp_path / "runs" / "remedy=[relu,clip] 50%", "none", 0)
    (tmp_path / "pages").mkdir()
    page = build_page(read_runs([folder]), tmp_path / "pages" / "page.html", "links")
    (run,) = packed(page)[0]["runs"]
    assert run["link"] == "../runs/remedy%3D%5Brelu%2Cclip%5D%2050%25"
    assert run["wandb"] == {"id": "abc123"}


@pytest.mark.parametrize(
    ("file", "text", "says"),
    [
        ("status.json", '{"state": "fin', None),
        ("status.json", "[1]", None),
        ("config.yaml", "axes: {a: [", None),
        ("config.yaml", "seed: 2026-01-01\naxes: {remedy: 2026-01-01}\n", None),
        ("verdict.json", '{"kind": "fro', None),
        ("metrics.csv", "\xff\xfe", "metrics.csv cannot be read"),
        ("metrics.csv", "step,epoch,train/loss\n0,0,abc\n10,0,2.0\n20,0,1.", None),
        ("metrics.csv", "", None),
        ("gradients.parquet/part-0000000000.parquet", "PAR1 no more", "gradients.parquet cannot"),
    ],
)
def test_a_damaged_file_is_reported_and_breaks_no_other_run(
    tmp_path: Path, file: str, text: str, says: str | None
) -> None:
    study = a_study(tmp_path, ("none",))
    bad = a_page_run(tmp_path / "bad", "relu", 7)
    (bad / file).write_text(text, encoding="latin-1")
    document, _ = packed(build(study))
    by_name = {run["name"]: run for run in document["runs"]}
    assert len(by_name) == 3
    problems = by_name.pop("bad")["problems"]
    assert [problem[: len(says or "")] for problem in problems] == ([says] if says else [])
    for run in by_name.values():
        assert run["problems"] == []
        assert run["histograms"]["gradient"]["bins"] > 0


def test_a_run_without_any_file_but_its_status_is_on_the_page(tmp_path: Path) -> None:
    folder = a_page_run(tmp_path / "run", "none", 0)
    for name in ("metrics.csv", "config.yaml", "verdict.json"):
        (folder / name).unlink()
    for part in (folder / "gradients.parquet").iterdir():
        part.unlink()
    (run,) = packed(build(tmp_path))[0]["runs"]
    assert (run["verdict"], run["curves"], run["histograms"], run["settings"]) == (None, {}, {}, {})


def test_records_from_before_a_column_was_added_are_read(tmp_path: Path) -> None:
    folder = a_page_run(tmp_path / "run", "none", 0)
    for part in (folder / "gradients.parquet").iterdir():
        pl.read_parquet(part).drop("saturated", "units").write_parquet(part)
    (run,) = packed(build(tmp_path))[0]["runs"]
    assert run["problems"] == []
    assert run["histograms"]["gradient"]["bins"] > 0


def test_a_long_curve_keeps_its_spikes_its_ends_and_its_interval_of_nan(tmp_path: Path) -> None:
    n = 10_000
    values = np.sin(np.arange(n) / 500)
    values[1234], values[7654] = 50.0, -50.0
    values[9000:] = math.nan
    rows = [f"{step},0,{value}" for step, value in enumerate(values)]
    (tmp_path / "metrics.csv").write_text("\n".join(["step,epoch,m", *rows]) + "\n")
    curve = read_curves(tmp_path)["m"]
    assert len(curve.steps) <= POINTS + 2
    assert curve.logged == n
    assert {1234, 7654, 0, n - 1} <= set(curve.steps.tolist())
    np.testing.assert_array_equal(curve.values, values[curve.steps])
    assert (curve.steps >= 9000).sum() > 10


def test_more_records_than_a_page_holds_are_thinned_evenly_with_a_note(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gradflow.comparison.page.pack._CELLS", 1)
    monkeypatch.setattr("gradflow.comparison.page.pack._FEWEST_RECORDS", 3)
    study = a_study(tmp_path, ("none",))
    document, arrays = packed(build(study))
    for run in document["runs"]:
        assert read(run["records"], arrays).tolist() == [0, 20, 25]
        assert run["recorded"] == 4
        zeros = read(run["histograms"]["gradient"]["zeros"], arrays).reshape(3, 3)
        assert zeros.tolist() == [[0, 20, 25], [1, 21, 26], [2, 22, 27]]


def test_a_page_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    runs = read_runs([a_study(tmp_path / "study", ("none",))])
    (tmp_path / "folder.html").mkdir()
    for path, says in (
        (tmp_path / "page.txt", "must end in .html"),
        (tmp_path / "missing" / "page.html", "is not a folder"),
        (tmp_path / "folder.html", "Is a directory"),
    ):
        with pytest.raises(ConfigError, match=says) as caught:
            build_page(runs, path, "title")
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)
    with pytest.raises(ConfigError, match="no run"):
        build_page([], tmp_path / "page.html", "title")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder.html", "study"]


def test_a_folder_that_may_not_be_written_to_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = read_runs([a_study(tmp_path / "study", ("none",))])

    def refuse(*_: Any, **__: Any) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "write_text", refuse)
    with pytest.raises(ConfigError, match=r"page\.html: Permission denied"):
        build_page(runs, tmp_path / "page.html", "title")


def test_the_page_names_no_address_but_that_of_an_online_run(tmp_path: Path) -> None:
    text = build(a_study(tmp_path, ("none",))).read_text()
    assert set(re.findall(r"https?://[^\"'` )]+", text)) == {"http://www.w3.org/2000/svg"}
    assert "default-src 'none'" in text


def test_every_script_is_put_in_once() -> None:
    assets = Path(__file__).parents[3] / "src/gradflow/comparison/page/assets"
    assert sorted(path.name for path in assets.glob("*.js")) == sorted(SCRIPTS)
    for name in SCRIPTS:
        assert "</" not in (assets / name).read_text()


def test_a_hundred_runs_of_sixty_tensors_and_forty_records_fit_in_five_megabytes(
    tmp_path: Path,
) -> None:
    from gradflow.comparison.page.histograms import Histograms

    # Log-normal sizes of gradients, as nets have them, in tensors of 2304 elements.
    generator = np.random.default_rng(0)
    arrays = Arrays()
    runs = []
    for _ in range(100):
        exponent = generator.normal(-20, 6, (60, 1)) + generator.normal(0, 0.3, (60, 40))
        bins = np.arange(-52, 12)
        density = np.exp(-0.5 * ((bins - exponent[..., None]) / 2.2) ** 2)
        counts = generator.multinomial(2304, density / density.sum(axis=2, keepdims=True))
        peaks = counts.max(axis=2)
        levels = np.rint(LEVELS * np.sqrt(counts / peaks[..., None])).astype(np.uint8)
        levels = np.maximum(levels, counts > 0)
        zeros = np.zeros((60, 40), np.int64)
        specials = dict.fromkeys(SPECIALS, zeros)
        elements = np.full(60, 2304)
        names = tuple(map(str, range(60)))
        histogram = Histograms(names, -52, elements, (True,) * 60, levels, peaks, specials)
        runs.append(histogram.pack(arrays, 0))
    size = len(base64.b64encode(arrays.compress(runs)))
    assert size < 5_000_000, size


def test_an_overlay_has_a_line_or_a_reason_for_each_configuration(tmp_path: Path) -> None:
    study = a_study(tmp_path)

    def lines(runs: Sequence[Run | None]) -> list[Line]:
        assert [run is not None for run in runs] == [True] * 3
        drawn = Line(
            np.array([1.0, -np.inf, 0.5]),
            np.array([-1.25, -2.0, np.nan]),
            gradient_band=np.array([[-1.5, -2.5, -3.0], [-1.0, -1.5, -2.0]]),
        )
        return [drawn, Line(reason="none here"), drawn]

    overlay = Overlay("guess", "Dotted: a guess.", lines)
    page = build_page(read_runs([study]), study / "page.html", "a study", overlays=[overlay])
    document, arrays = packed(page)
    assert document["overlays"] == [{"name": "guess", "note": "Dotted: a guess."}]
    first, second, _ = (row["overlays"] for row in document["configurations"])
    assert second == [{"reason": "none here"}]
    special = document["decades"]
    found = read(first[0]["pre_activation_gradient"], arrays).tolist()
    assert found == [-125, -200, special["notFinite"]]
    assert read(first[0]["pre_activation"], arrays).tolist() == [100, special["zero"], 50]
    band = first[0]["pre_activation_gradient_band"]
    assert read(band["low"], arrays).tolist() == [-150, -250, -300]
    assert read(band["high"], arrays).tolist() == [-100, -150, -200]
    assert "pre_activation_band" not in first[0]


@pytest.mark.parametrize("path", ["no.such.module", "json.loads"])
def test_what_is_no_overlay_is_refused_in_one_line(path: str) -> None:
    with pytest.raises(ConfigError, match=rf"^comparison\.overlays={re.escape(path)}: [^\n]*$"):
        load_overlays([path])


def test_a_figure_of_ones_own_stands_above_the_plots_and_its_words_stay_text(
    tmp_path: Path,
) -> None:
    study = a_study(tmp_path)

    def draw(runs: Sequence[Run]) -> Figure:
        assert len(runs) == 6
        figure = Figure(figsize=(4, 2))
        figure.subplots().plot([0, 1], [0, 1])
        return figure

    def nothing(runs: Sequence[Run]) -> Figure:
        raise ValueError("nothing to show")

    figures = [OwnFigure("a_line", f"Rising. {TRICKY}", draw), OwnFigure("empty", "-", nothing)]
    page = build_page(read_runs([study]), study / "page.html", "a study", figures=figures)
    text = page.read_text()
    assert "<h2>a line</h2>" in text
    assert 'aria-label="empty"' not in text
    assert "alert(1)</script>" not in text
    (found,) = re.findall(r'<img alt="[^"]*" src="data:image/png;base64,([^"]*)">', text)
    with Image.open(io.BytesIO(base64.b64decode(found, validate=True))) as image:
        assert image.size == (440, 220)
    assert text.index("a line") < text.index('id="curve-a"')


@pytest.mark.parametrize("path", ["no.such.module", "json.loads"])
def test_what_is_no_figure_is_refused_in_one_line(path: str) -> None:
    with pytest.raises(ConfigError, match=rf"^comparison\.figures={re.escape(path)}: [^\n]*$"):
        load_figures([path])


def test_histograms_of_weights_are_packed_if_recorded(tmp_path: Path) -> None:
    import torch

    from gradflow.gradients.histogram import measure
    from gradflow.gradients.record import Entry, RecordWriter

    folder = a_page_run(tmp_path / "run", "none", 0)
    a_record(folder, 1.0, 0)
    writer = RecordWriter(folder, 30)
    writer.append(30, "weight", [Entry("w", 0, 8)], vars(measure([torch.full((8,), 0.75)])))
    writer.flush()
    (run,) = packed(build(tmp_path))[0]["runs"]
    assert list(run["histograms"]) == ["gradient", "weight"]
    assert (run["histograms"]["weight"]["first"], run["histograms"]["weight"]["bins"]) == (-1, 1)
