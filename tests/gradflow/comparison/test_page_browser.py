"""The page in a real browser, from the disk and without a network: what it shows is the record.

What is displayed is read from the elements themselves, and compared with the Parquet files.
"""

from __future__ import annotations

import base64
import io
import math
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import polars as pl
import pytest
from opened_page import Opened, attribute, move
from page_study import LAYERS, STEPS, TENSORS, a_page_run, a_study
from playwright.sync_api import Browser, Page, expect

from gradflow.comparison.page import build_page
from gradflow.comparison.page.histograms import LEVELS
from gradflow.runs.read import read_runs

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return a_study(tmp_path_factory.mktemp("study"))


@pytest.fixture
def page(browser: Browser, path: Path) -> Iterator[Page]:
    opened = Opened(browser, path, viewport={"width": 1280, "height": 900})
    yield opened.page
    opened.close()


def rows(study: Path, remedy: str, seed: int, kind: str, step: int) -> list[dict[str, Any]]:
    folder = study / f"remedy={remedy},seed={seed}" / "gradients.parquet"
    return (
        pl.read_parquet(folder / "*.parquet").filter(kind=kind, step=step).sort("index").to_dicts()
    )


def label_of(page: Page, index: str | None) -> str:
    return page.locator(f"#runs tr.configuration[data-configuration='{index}'] .text").inner_text()


@pytest.mark.parametrize("place", [0, 1, 3])
def test_the_slider_moves_profiles_to_the_records_of_its_step(
    page: Page, study: Path, place: int
) -> None:
    page.select_option("#seeds", "each")
    move(page, place)
    step = STEPS[place]
    assert page.locator("#step").inner_text() == f"step {step} of 25"
    shown = page.locator("#profile-gradient g.series")
    assert shown.count() == 6
    seen = set()
    for i in range(6):
        series = shown.nth(i)
        remedy = label_of(page, series.get_attribute("data-configuration"))
        run = page.evaluate("i => gradflow.runs[i].name", int(series.get_attribute("data-runs")))
        seed = int(run.rpartition("=")[2])
        seen.add((remedy, seed))
        values = [float(word) for word in (series.get_attribute("data-values") or "").split()]
        recorded = rows(study, remedy, seed, "pre_activation_gradient", step)
        expected = [math.log10(row["rms"]) if row["rms"] else math.nan for row in recorded]
        assert values == pytest.approx(expected, abs=0.0051, nan_ok=True)
        assert series.locator(".zero").count() == (1 if step == 25 else 0)
    assert seen == {(remedy, seed) for remedy in ("none", "relu", "clip") for seed in (0, 1)}


def test_a_layer_that_is_not_finite_is_marked_and_not_drawn(page: Page) -> None:
    page.select_option("#seeds", "each")
    move(page, 2)
    assert page.locator("#profile-gradient g.series .bad").count() == 6
    line = page.locator("#profile-gradient g.series path.line").first.get_attribute("d") or ""
    assert (line.count("M"), line.count("L")) == (2, 0)  # a gap, and a point on either side


@pytest.mark.parametrize("place", [0, 2])
def test_ridgelines_across_runs_are_the_records_histograms(
    page: Page, study: Path, place: int
) -> None:
    move(page, place)
    tensor = TENSORS[1]
    page.select_option("#ridges-runs select", tensor)
    hills = page.locator("#ridges-runs path.hill")
    assert hills.count() == 6
    for i in range(6):
        name = page.evaluate("i => gradflow.runs[i].name", int(attribute(hills.nth(i), "run")))
        remedy, _, seed = name.removeprefix("remedy=").partition(",seed=")
        (row,) = [
            row
            for row in rows(study, remedy, int(seed), "gradient", STEPS[place])
            if row["name"] == tensor
        ]
        compare(hills.nth(i), row)


def test_heights_of_ridgelines_are_square_roots_of_shares_on_one_scale(page: Page) -> None:
    hills = page.locator("#ridges-runs path.hill").evaluate_all(
        "all => all.map((e) => [e.getBBox().height, +e.dataset.peak, +e.dataset.elements])"
    )
    height, peak, elements = np.array(hills).T
    share = np.sqrt(peak / elements)
    assert height / height.max() == pytest.approx(share / share.max(), abs=0.01)
    assert height.max() == pytest.approx(1.5 * 30 - 2, abs=0.2)  # a row and a half


def test_overlaid_histograms_are_the_same_ones_on_one_base_line(page: Page) -> None:
    ridges = page.locator("#ridges-runs")
    read = "all => all.map((e) => [e.dataset.levels, e.dataset.run, e.getBBox().height])"
    apart = ridges.locator("path.hill").evaluate_all(read)
    ridges.get_by_label("overlaid").check()
    try:
        together = ridges.locator("path.hill").evaluate_all(read)
        assert [one[:2] for one in together] == [one[:2] for one in apart]
        heights = np.array([[one[2], other[2]] for one, other in zip(together, apart, strict=True)])
        growth = heights[:, 0] / heights[:, 1]
        assert growth == pytest.approx(growth[0], abs=0.02)
        assert growth[0] > 1.5
        feet = "all => all.map((e) => { const b = e.getBBox(); return b.y + b.height; })"
        assert len({round(y, 1) for y in ridges.locator("path.hill").evaluate_all(feet)}) == 1
        page.select_option("#ridges-runs select", TENSORS[1])
        assert ridges.get_by_label("overlaid").is_checked()  # also with another tensor
    finally:
        ridges.get_by_label("overlaid").uncheck()


def test_ridgelines_across_layers_are_those_of_the_chosen_run(page: Page, study: Path) -> None:
    page.select_option("#ridges-layers select", label="relu, seed 1")
    move(page, 1)
    hills = page.locator("#ridges-layers path.hill")
    recorded = rows(study, "relu", 1, "gradient", 10)
    assert hills.count() == len(recorded) == 3
    for i, row in enumerate(recorded):
        compare(hills.nth(i), row)


def test_ridgelines_of_weights_are_those_of_two_dimensions_or_more(
    browser: Browser, tmp_path: Path
) -> None:
    (part,) = (a_page_run(tmp_path / "run", "none", 0) / "gradients.parquet").iterdir()
    place = pl.col("name").replace_strict(TENSORS, [4, 1, 2], default=None)
    record = pl.read_parquet(part).with_columns(dimensions=place)
    names = pl.col("name").replace({TENSORS[2]: "head.kernel"})
    record.with_columns(name=names).write_parquet(part)
    path = build_page(read_runs([tmp_path]), tmp_path / "page.html", "a run")
    opened = Opened(browser, path)
    ridges = opened.page.locator("#ridges-layers")
    assert ridges.locator("path.hill").count() == 2
    assert "head.kernel" in ridges.inner_text()
    assert TENSORS[1] not in ridges.inner_text()
    ridges.get_by_label("weights only").uncheck()
    assert ridges.locator("path.hill").count() == 3
    opened.close()


def compare(hill: Any, row: dict[str, Any]) -> None:
    """A drawn histogram with its row of the record: heights to a level, the rest exactly."""
    assert int(attribute(hill, "record-step")) == row["step"]
    for special in ("zeros", "subnormals", "nans", "infs", "elements"):
        assert int(attribute(hill, special)) == row[special]
    counts = np.array(row["bins"])
    assert int(attribute(hill, "peak")) == counts.max()
    levels = np.array([int(word) for word in attribute(hill, "levels").split()])
    first = int(attribute(hill, "first")) + 126
    shown = np.zeros(254)
    shown[first : first + len(levels)] = levels / LEVELS
    assert np.abs(shown - np.sqrt(counts / counts.max())).max() < 1 / LEVELS
    # The outline itself: its height at each bin is that share of the tallest.
    drawn = hill.evaluate(
        "path => { const b = path.getBBox(); return [b.height, path.getAttribute('d')] }"
    )
    tops = [float(word) for word in re.findall(r"V([\d.]+)", drawn[1])]
    assert max(tops) - min(tops) == pytest.approx(drawn[0], abs=0.2)


def test_cells_of_the_heat_maps_have_the_colour_of_their_value(page: Page, study: Path) -> None:
    from matplotlib import colormaps

    box = page.locator("#heat-maps .map").first
    (run,) = page.evaluate("e => [+e.dataset.run]", box.element_handle())
    assert page.evaluate("i => gradflow.runs[i].name", run) == "remedy=none,seed=0"

    address = box.locator("canvas").evaluate("canvas => canvas.toDataURL()")
    image = PIL.Image.open(io.BytesIO(base64.b64decode(address.partition(",")[2])))

    def pixel(step: int, layer: int) -> Any:
        x, y = (step + 1) / 30, (layer + 0.5) / 3  # the last record's column is 5 steps wide
        return image.getpixel((int(x * image.width), int(y * image.height)))

    for step in (0, 10):
        recorded = rows(study, "none", 0, "pre_activation_gradient", step)
        for layer, row in enumerate(recorded):
            part = (np.clip(math.log10(row["rms"]), -16, 0) + 16) / 16
            colour = 255 * np.array(colormaps["viridis"](part))
            assert pixel(step, layer) == pytest.approx(tuple(colour), abs=3)
    assert pixel(25, 0) == (0x11, 0x11, 0x11, 255)  # exactly 0
    assert pixel(20, 1) == (0xD5, 0x5E, 0x00, 255)  # NaN or Inf


def test_each_heat_map_has_the_scale_of_its_own_run(browser: Browser, tmp_path: Path) -> None:
    """The columns of the last records end at 25 + 5, and, of the run whose last is 10, at 35."""
    a_page_run(tmp_path / "whole", "none", 0)
    cut = a_page_run(tmp_path / "cut", "relu", 0, start="2026-01-01")
    (part,) = (cut / "gradients.parquet").iterdir()
    pl.read_parquet(part).filter(pl.col("step") <= 10).write_parquet(part)
    path = build_page(read_runs([tmp_path]), tmp_path / "page.html", "two")
    opened = Opened(browser, path)
    page = opened.page
    move(page, 1)  # to step 10
    maps = page.locator("#heat-maps .map")
    ends = {"whole": 30, "cut": 35}
    assert maps.count() == 2
    for i in range(2):
        name = page.evaluate("i => gradflow.runs[i].name", int(attribute(maps.nth(i), "run")))
        left, right = (0.99 * 10 / ends[name], 1.01 * 10 / ends[name])
        shown = maps.nth(i).locator("i").evaluate("line => parseFloat(line.style.left) / 100")
        assert shown == pytest.approx(10 / ends[name])
        box = maps.nth(i).bounding_box()
        assert box is not None
        for part_of_width, step in ((left, 0), (right, 10)):
            at = {"x": part_of_width * box["width"], "y": 5}
            maps.nth(i).hover(position=at)
            assert f"step {step}, layer 1" in page.locator("#tooltip").inner_text()
            maps.nth(i).click(position=at)
            assert page.evaluate("gradflow.step()") == step
    opened.close()


def test_a_run_that_is_unticked_leaves_every_plot(page: Page) -> None:
    page.select_option("#seeds", "each")
    parts = ("#curve-a", "#profile-gradient", "#profile-z")
    assert [page.locator(f"{part} g.series").count() for part in parts] == [6, 6, 6]
    page.get_by_label("Show relu").uncheck()
    assert [page.locator(f"{part} g.series").count() for part in parts] == [4, 4, 4]
    assert page.locator("#ridges-runs path.hill").count() == 4
    assert page.locator("#heat-maps .map").count() == 2
    assert page.locator("#verdicts tbody tr").count() == 4
    assert page.evaluate("gradflow.selected()") == [0, 1, 4, 5]
    page.get_by_label("Show relu").check()
    page.get_by_label("Runs of relu").click()
    page.get_by_label("Show relu, seed 1").uncheck()
    assert page.evaluate("gradflow.selected()") == [0, 1, 2, 4, 5]
    assert page.get_by_label("Show relu", exact=True).evaluate("box => box.indeterminate")


def test_a_band_is_the_seeds_minimum_and_maximum_and_the_line_their_mean(
    page: Page, study: Path
) -> None:
    series = page.locator("#curve-a g.series").first
    values = [float(word) for word in attribute(series, "values").split()]
    seeds = [[2.3 - step / 100 - seed / 50 for step in STEPS] for seed in (0, 1)]
    assert values == pytest.approx(np.mean(seeds, axis=0).tolist(), abs=1e-6)
    page.locator("#runs tr").nth(1).hover()
    text = page.locator("#curve-a .readout").inner_text()
    assert text == "none, n = 2: 2.29 at step 0 (2.28 to 2.3)"


def test_the_table_is_sorted_and_filtered_and_all_and_none_mean_what_is_listed(page: Page) -> None:
    def listed() -> list[str]:
        return page.locator("#runs tr.configuration .text").all_inner_texts()

    page.locator("[data-sort=label]").click()
    assert listed() == ["clip", "none", "relu"]
    page.locator("[data-sort=label]").click()
    assert listed() == ["relu", "none", "clip"]
    page.locator("#filter").fill("remedy=re")
    assert listed() == ["relu"]
    page.locator("#none").click()
    assert page.evaluate("gradflow.selected()") == [0, 1, 4, 5]
    page.locator("#filter").fill("")
    page.locator("#all").click()
    assert page.evaluate("gradflow.selected()") == [0, 1, 2, 3, 4, 5]


def test_everything_can_be_done_with_a_keyboard_alone(page: Page) -> None:
    mark = "() => { document.activeElement.reached = true; return document.activeElement.tagName }"
    for _ in range(200):
        page.keyboard.press("Tab")
        if page.evaluate(mark) == "BODY":  # once around
            break
    missed = page.evaluate(
        "() => [...document.querySelectorAll('a, button, input, select, summary')]"
        ".filter((e) => !e.reached && e.checkVisibility()).map((e) => e.outerHTML)"
    )
    assert missed == []
    page.locator("[data-focus=configuration-1]").focus()
    assert "relu" in page.locator("#profile-gradient .readout").inner_text()
    outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert outline == "solid"
    page.keyboard.press("Space")
    assert page.evaluate("gradflow.selected()") == [0, 1, 4, 5]
    page.keyboard.press("a")
    assert len(page.evaluate("gradflow.selected()")) == 6
    page.keyboard.press(".")
    assert page.evaluate("gradflow.step()") == 10
    page.keyboard.press(",")
    assert page.evaluate("gradflow.step()") == 0
    page.keyboard.press("?")
    assert page.locator("#help").is_visible()
    page.keyboard.press("Escape")
    assert not page.locator("#help").is_visible()
    page.keyboard.press("/")
    page.keyboard.type("an")  # letters in the filter are no shortcuts
    assert len(page.evaluate("gradflow.selected()")) == 6
    assert page.locator("#filter").input_value() == "an"


def test_play_goes_to_the_last_step_and_stops(page: Page) -> None:
    page.locator("#play").click()
    assert page.locator("#play").inner_text() == "Pause"
    expect(page.locator("#step")).to_have_text("step 25 of 25")
    assert page.locator("#play").inner_text() == "Play"


def test_a_logarithmic_axis_is_one(page: Page) -> None:
    def heights() -> list[float]:
        d = page.locator("#curve-a g.series path.line").first.get_attribute("d") or ""
        return [float(point.split(",")[1]) for point in d[1:].split("L")]

    values = [2.29, 2.19, 2.09, 2.04]
    for log in (False, True):
        if log:
            page.locator("#curve-a").get_by_label("log").check()
        shown = np.log(values) if log else np.array(values)
        steps = np.diff(heights())
        assert steps / steps[0] == pytest.approx(np.diff(shown) / np.diff(shown)[0], abs=0.03)


def test_only_settings_that_differ_are_listed_and_all_of_one_on_demand(page: Page) -> None:
    heads = page.locator("#differences thead th").all_inner_texts()
    assert heads == ["configuration", "remedy", "seed"]
    page.locator("#settings summary").click()
    expect(page.locator("#settings pre")).to_contain_text("pathology: vanishing")
    expect(page.locator("#settings dl")).to_contain_text("versions torch")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_light_and_dark_follow_the_system_until_one_is_chosen(
    browser: Browser, path: Path, scheme: Any
) -> None:
    opened = Opened(browser, path, color_scheme=scheme)

    def brightness() -> float:
        text = opened.page.evaluate("getComputedStyle(document.body).backgroundColor")
        return sum(map(int, text.removeprefix("rgb(").removesuffix(")").split(","))) / 3

    assert (brightness() > 128) == (scheme == "light")
    opened.page.locator("#theme").click()
    assert (brightness() > 128) == (scheme == "dark")
    opened.close()


@pytest.mark.parametrize("width", [900, 1280, 1920])
def test_nothing_is_wider_than_the_window(browser: Browser, path: Path, width: int) -> None:
    opened = Opened(browser, path, viewport={"width": width, "height": 800})
    assert opened.page.evaluate("document.documentElement.scrollWidth") <= width
    opened.close()


def test_what_users_wrote_is_shown_as_text(browser: Browser, tmp_path: Path) -> None:
    text = "</script><script>document.title = 'run'</script><img src=x onerror=alert(1)> & \"q\""
    a_page_run(tmp_path / "good", "relu", 0)
    a_page_run(tmp_path / "<b>bold<", text, 0, state="failed", error=text)
    page = build_page(read_runs([tmp_path]), tmp_path / "page.html", text)
    opened = Opened(browser, page)
    assert opened.page.title() == text
    assert opened.page.locator("h1").inner_text() == text
    assert opened.page.locator("#runs .error").inner_text() == text
    assert opened.page.locator("img").count() == 0
    opened.close()


def test_broken_runs_are_marked_and_the_rest_is_drawn(browser: Browser, tmp_path: Path) -> None:
    a_page_run(tmp_path / "good", "none", 0)
    a_page_run(tmp_path / "failed", "relu", 0, state="failed", error="RuntimeError: boom")
    a_page_run(tmp_path / "cut", "clip", 0, state="running")
    (a_page_run(tmp_path / "no-status", "selu", 0) / "status.json").write_text("{")
    damaged = a_page_run(tmp_path / "damaged", "xavier", 0)
    (damaged / "gradients.parquet" / "part-0000000000.parquet").write_text("no")
    for name in ("metrics.csv", "verdict.json", "config.yaml", "gradients.parquet"):
        empty = tmp_path / f"without-{name}"
        a_page_run(empty, "lower_lr", 0)
        shutil.rmtree(empty / name) if name.endswith("parquet") else (empty / name).unlink()
    page = build_page(read_runs([tmp_path]), tmp_path / "page.html", "broken")
    opened = Opened(browser, page)
    badges = opened.page.locator("#runs .badge").all_inner_texts()
    assert {"failed", "cut off", "files damaged"} <= set(badges)
    assert len(badges) == 4
    assert "RuntimeError: boom" in opened.page.locator("#runs").inner_text()
    drawn = opened.page.locator("#profile-gradient g.series").evaluate_all(
        "all => all.flatMap((g) => g.dataset.runs.split(' ').map((i) => gradflow.runs[i].name))"
    )
    assert {"good", "failed", "cut", "no-status"} <= set(drawn)
    assert "damaged" not in drawn
    opened.close()


def test_runs_without_any_record_make_a_page_too(browser: Browser, tmp_path: Path) -> None:
    folder = a_page_run(tmp_path / "run", "none", 0)
    shutil.rmtree(folder / "gradients.parquet")
    (folder / "metrics.csv").unlink()
    page = build_page(read_runs([tmp_path]), tmp_path / "page.html", "bare")
    opened = Opened(browser, page)
    assert "no data in the selected runs" in opened.page.locator("#profile-gradient").inner_text()
    opened.close()


def test_a_hundred_runs_are_ready_and_move_while_one_waits(
    browser: Browser, tmp_path: Path
) -> None:
    for i in range(50):
        for seed in (0, 1):
            a_page_run(tmp_path / f"{i},{seed}", f"remedy-{i:02d}", seed, scale=1 + i)
    path = build_page(read_runs([tmp_path]), tmp_path / "page.html", "100")
    opened = Opened(browser, path)
    assert opened.page.locator("#profile-gradient g.series").count() == 50
    move(opened.page, 3)
    assert opened.page.locator("#profile-gradient svg").get_attribute("data-step") == "25"
    assert opened.page.locator("#ridges-runs g.ridge").count() == 50
    opened.close()


def test_the_tooltip_names_the_layer_at_the_pointer(page: Page) -> None:
    line = page.locator("#profile-gradient g.series path.marker").first.bounding_box()
    assert line is not None
    page.mouse.move(line["x"] + line["width"] / 2, line["y"] + line["height"] / 2)
    text = page.locator("#tooltip").inner_text()
    assert f"layer 1: {LAYERS[0]}" in text
