"""The panel of the headline metric in a real browser: its marks, its baselines, and the table's Δ.

What is drawn is read from the elements themselves, and compared with scipy and with the terminal.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from opened_page import Opened, attribute
from page_study import ACCURACY, a_depth_study, a_page_run, a_study
from playwright.sync_api import Browser, Locator, Page
from scipy import stats

from gradflow.comparison.configurations import configurations
from gradflow.comparison.page import build_page
from gradflow.comparison.table import cells
from gradflow.runs.read import read_runs

pytestmark = pytest.mark.browser

DEPTHS = (8, 20, 56)
DASHES = {0x2212: "-", 0x2013: "-"}  # of the page: a minus sign, and no value
METRIC = "-1"  # the value of the control that shows no difference


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return a_depth_study(tmp_path_factory.mktemp("study"))


@pytest.fixture
def page(browser: Browser, path: Path) -> Iterator[Page]:
    opened = Opened(browser, path, viewport={"width": 1400, "height": 900})
    yield opened.page
    opened.close()


def seeds(remedy: str, depth: int) -> list[float]:
    return [ACCURACY[remedy, depth, seed] for seed in range(3)]


def means(page: Page, key: str = "model.depth") -> dict[str, Locator]:
    """The drawn means by the label of their configuration, as the table names it."""
    found = page.locator(f"[data-key='{key}'] g.mean").all()
    return {label_of(page, mark): mark for mark in found}


def label_of(page: Page, mark: Locator) -> str:
    row = f"#runs tr.configuration[data-configuration='{attribute(mark, 'configuration')}']"
    return page.locator(f"{row} .text").inner_text()


def choose(page: Page, baseline: str) -> None:
    page.locator("#objective").get_by_label("baseline").select_option(baseline)


def numbers(mark: Locator, *names: str) -> list[float]:
    return [float(attribute(mark, name)) for name in names]


def centre(mark: Locator, part: str = "path.marker") -> tuple[float, float]:
    box = mark.locator(part).bounding_box()
    assert box is not None
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


def test_the_metric_has_a_mean_and_a_t_interval_for_each_depth_and_a_line_for_each_remedy(
    page: Page,
) -> None:
    choose(page, METRIC)
    drawn = means(page)
    assert set(drawn) == {f"{remedy}, {depth}" for remedy in ("none", "relu") for depth in DEPTHS}
    for remedy in ("none", "relu"):
        for depth in DEPTHS:
            values = seeds(remedy, depth)
            oracle = stats.t.interval(0.95, 2, loc=np.mean(values), scale=stats.sem(values))
            mark = drawn[f"{remedy}, {depth}"]
            assert numbers(mark, "n", "mean") == pytest.approx([3, np.mean(values)])
            assert numbers(mark, "low", "high") == pytest.approx(oracle)
    lines = page.locator("[data-key='model.depth'] g.through").all()
    assert [attribute(line, "line") for line in lines] == ["none", "relu"]
    for line in lines:  # through the marks of its own remedy
        d = line.locator("path.line").get_attribute("d") or ""
        markers = line.locator("g.mean path.marker").all()
        places = [str(marker.get_attribute("transform")) for marker in markers]
        assert [f"translate({place})" for place in d[1:].split("L")] == places
    legend = page.locator("#objective .legend span")
    assert [text.strip() for text in legend.all_inner_texts()] == ["none", "relu"]


def test_means_and_intervals_stand_at_their_numbers_on_both_axes(page: Page) -> None:
    choose(page, METRIC)
    drawn = means(page)
    places = [centre(drawn[f"relu, {depth}"]) for depth in DEPTHS]
    values = [np.mean(seeds("relu", depth)) for depth in DEPTHS]
    xs, ys = zip(*places, strict=True)
    across = np.diff(xs) / np.diff(DEPTHS)  # pixels per layer; a ratio of 7 makes no logarithm
    assert across[0] == pytest.approx(across[1], rel=0.01)
    pixels = np.diff(ys) / np.diff(values)
    assert pixels[0] == pytest.approx(pixels[1], rel=0.02)
    mark = drawn["relu, 20"]
    low, mean, high = numbers(mark, "low", "mean", "high")
    d = str(mark.locator("path.interval").get_attribute("d"))
    bottom, top = (float(word) for word in d.split("M")[1].partition(",")[2].split("V"))
    middle = float(str(mark.locator("path.marker").get_attribute("transform")).split(",")[1][:-1])
    assert bottom - middle == pytest.approx(pixels[0] * (low - mean), rel=0.02)
    assert top - middle == pytest.approx(pixels[0] * (high - mean), rel=0.02)
    for depth in DEPTHS:  # the remedies stand beside each other, around the depth
        tick = page.locator("[data-key='model.depth'] .frame .tick.middle", has_text=f"{depth}")
        box = tick.bounding_box()
        assert box is not None
        pair = [centre(drawn[f"{remedy}, {depth}"])[0] for remedy in ("none", "relu")]
        assert np.mean(pair) == pytest.approx(box["x"] + box["width"] / 2, abs=1)
        assert 2 < pair[1] - pair[0] < 6
    ticks = page.locator("[data-key='model.depth'] .frame .tick.middle").all_text_contents()
    assert ticks == ["8", "20", "56"]


def test_it_opens_with_the_difference_to_the_baseline_that_the_study_names(page: Page) -> None:
    drawn = means(page)
    assert set(drawn) == {f"relu, {depth}" for depth in DEPTHS}
    for depth in DEPTHS:
        pair = seeds("relu", depth), seeds("none", depth)
        oracle = stats.ttest_rel(*pair).confidence_interval(0.95)
        mark = drawn[f"relu, {depth}"]
        assert numbers(mark, "mean")[0] == pytest.approx(np.mean(pair[0]) - np.mean(pair[1]))
        assert numbers(mark, "low", "high") == pytest.approx([oracle.low, oracle.high])
        own = f".objective[data-configuration='{attribute(mark, 'configuration')}']"
        runs = page.locator(f"[data-key='model.depth'] {own}")
        shown = [numbers(run, "value")[0] for run in runs.all()]
        assert shown == pytest.approx(np.subtract(*pair))
    # The line at 0: as far below two marks as their values say.
    zero = page.locator("[data-key='model.depth'] path.at-zero").bounding_box()
    assert zero is not None
    high, low = (centre(drawn[f"relu, {depth}"])[1] for depth in (8, 56))
    first, last = (numbers(drawn[f"relu, {depth}"], "mean")[0] for depth in (8, 56))
    assert zero["y"] - high == pytest.approx((low - high) * first / (first - last), abs=1.5)
    label = "Δ validation accuracy, points"
    assert label in page.locator("[data-key='model.depth']").inner_html()


def test_another_baseline_is_chosen_with_the_keyboard_and_the_table_follows(page: Page) -> None:
    head = page.locator("#runs [data-sort=gain]")
    assert head.inner_text() == "Δ points"
    page.locator("#objective").get_by_label("baseline").focus()
    page.keyboard.press("ArrowDown")
    drawn = means(page)
    assert set(drawn) == {f"none, {depth}" for depth in DEPTHS}
    for depth in DEPTHS:
        expected = np.mean(seeds("none", depth)) - np.mean(seeds("relu", depth))
        assert numbers(drawn[f"none, {depth}"], "mean")[0] == pytest.approx(expected)
    assert "minus that of remedy=relu" in (head.get_attribute("title") or "")
    assert page.evaluate("document.activeElement.value") == "1"  # the control keeps the focus
    choose(page, METRIC)
    assert head.count() == 0
    assert page.locator("#objective path.at-zero").count() == 0


def test_the_tables_difference_is_that_of_the_terminal(page: Page, study: Path) -> None:
    def column() -> list[str]:
        place = page.locator("#runs thead th").evaluate_all(
            "all => all.findIndex((th) => th.querySelector('[data-sort=gain]'))"
        )
        found = page.locator("#runs tbody tr").all()
        texts = [row.locator("td, th").nth(place + 1).inner_text() for row in found]
        return [" ".join(text.split()).translate(DASHES) for text in texts]

    heads, lines = cells(*configurations(read_runs([study])))
    (place,) = (i for i, head in enumerate(heads) if "minus" in head)
    assert column() == [line[place] for line in lines]
    page.get_by_label("Runs of relu, 56").click()
    at = 1 + next(i for i, line in enumerate(lines) if line[:2] == ["relu", "56"])
    alone = [a - b for a, b in zip(seeds("relu", 56), seeds("none", 56), strict=True)]
    assert alone[1] == 0
    assert column()[at : at + 3] == [f"{100 * value:+.1f}" for value in alone]
    page.locator("#runs [data-sort=gain]").click()  # ascending; rows without a difference last
    labels = page.locator("#runs tr.configuration .text").all_inner_texts()
    assert labels == ["relu, 56", "relu, 20", "relu, 8", *(f"none, {depth}" for depth in DEPTHS)]


def test_a_mean_needs_all_of_its_seeds_and_a_line_leaves_it_out(page: Page) -> None:
    page.get_by_label("Runs of relu, 20").click()
    page.get_by_label("Show relu, 20, seed 1").uncheck()
    assert set(means(page)) == {"relu, 8", "relu, 56"}
    marks = page.locator("[data-key='model.depth'] .objective")
    assert marks.count() == 8
    line = page.locator("[data-line=relu] path.line").get_attribute("d") or ""
    assert line.count("M") == 2


def test_configurations_that_differ_in_a_number_alone_share_a_colour(page: Page) -> None:
    swatches = page.locator("#runs .swatch path:first-child").all()
    looks = [(s.get_attribute("stroke"), s.get_attribute("stroke-dasharray")) for s in swatches]
    assert len(set(looks)) == 6
    assert [len({colour for colour, _ in part}) for part in (looks[:3], looks[3:])] == [1, 1]
    assert looks[0][0] != looks[3][0]


def test_a_focused_row_says_its_figures_below_the_panel(page: Page) -> None:
    row = page.get_by_label("Show relu, 8", exact=True)
    row.focus()
    low, high = stats.ttest_rel(seeds("relu", 8), seeds("none", 8)).confidence_interval(0.95)
    expected = f"relu, 8: {50 * (low + high):+.1f} ± {50 * (high - low):.1f} points, n = 3"
    assert page.locator("#objective .readout").inner_text() == expected


def test_without_a_named_baseline_the_metric_is_shown_and_the_table_has_no_difference(
    browser: Browser, tmp_path: Path
) -> None:
    study = a_study(tmp_path / "study")
    opened = Opened(browser, build_page(read_runs([study]), tmp_path / "page.html", "a study"))
    control = opened.page.locator("#objective").get_by_label("baseline")
    assert control.input_value() == METRIC
    texts = control.locator("option").all_inner_texts()
    assert texts == ["none: the metric itself", "remedy=none", "remedy=relu", "remedy=clip"]
    assert opened.page.locator("#runs [data-sort=gain]").count() == 0
    opened.close()


def test_a_configuration_in_which_a_seed_diverged_has_no_mean_and_its_line_a_gap(
    browser: Browser, tmp_path: Path
) -> None:
    study = a_depth_study(tmp_path / "study")
    status = study / "model.depth=20,remedy=relu,seed=1" / "status.json"
    status.write_text(json.dumps(json.loads(status.read_text()) | {"diverged_at": 3}))
    opened = Opened(browser, build_page(read_runs([study]), tmp_path / "page.html", "a study"))
    choose(opened.page, METRIC)
    drawn = means(opened.page)
    assert {label for label in drawn if "relu" in label} == {"relu, 8", "relu, 56"}
    line = opened.page.locator("[data-line=relu] path.line").get_attribute("d") or ""
    assert (line.count("M"), line.count("L")) == (2, 0)
    marks = opened.page.locator("[data-key='model.depth'] .objective path.marker").all()
    assert [mark.get_attribute("fill") for mark in marks].count("none") == 1
    opened.close()


def test_labels_that_are_too_long_for_their_share_are_slanted(
    browser: Browser, page: Page, tmp_path: Path
) -> None:
    words = ("none", *(f"a_long_remedy+number_{i}" for i in range(6)))
    study = a_study(tmp_path / "study", words)
    opened = Opened(browser, build_page(read_runs([study]), tmp_path / "page.html", "a study"))
    slanted = "[data-key=remedy] .frame text[transform*='rotate(-45)']"
    found = opened.page.locator(slanted).all_text_contents()
    assert found == ["none", *(f"…g_remedy+number_{i}" for i in range(6))]
    assert page.locator(slanted).count() == 0
    opened.close()


@pytest.mark.parametrize("width", [900, 1280])
def test_nothing_is_wider_than_the_window(browser: Browser, path: Path, width: int) -> None:
    opened = Opened(browser, path, viewport={"width": width, "height": 800})
    assert opened.page.evaluate("document.documentElement.scrollWidth") <= width
    inside = "all => all.map((e) => e.getBoundingClientRect()).map((b) => [b.left, b.right])"
    plots = opened.page.locator("#objective svg.plot")
    for plot in plots.all():
        frame = plot.bounding_box()
        assert frame is not None
        edges: Any = np.array(plot.locator("text").evaluate_all(inside))
        assert edges[:, 0].min() >= frame["x"] - 1
        assert edges[:, 1].max() <= frame["x"] + frame["width"] + 1
    opened.close()


def test_the_objective_stands_over_each_setting_at_its_place(
    browser: Browser, tmp_path: Path
) -> None:
    """The axis of lr is logarithmic, since its values span three decades; width's is not."""
    values = {"0.001": 0.2, "0.01": 0.4, "0.1": 0.6, "1": None}
    for place, (lr, value) in enumerate(values.items()):
        folder = tmp_path / "study" / lr
        a_page_run(folder, "none", 0, diverged_at=None if value else 3)
        status = json.loads((folder / "status.json").read_text())
        metrics = {"validation/accuracy": 0.1 if value is None else value}
        (folder / "status.json").write_text(json.dumps(status | {"metrics": metrics}))
        config = yaml.safe_load((folder / "config.yaml").read_text())
        settings = {"lr": float(lr), "width": 10 + place, "order": "abba"[place]}
        (folder / "config.yaml").write_text(yaml.safe_dump(config | settings))
        (folder / ".hydra").mkdir()
        overrides = [f"{key}={value}" for key, value in settings.items()]
        (folder / ".hydra/overrides.yaml").write_text(yaml.safe_dump(overrides))
    path = build_page(read_runs([tmp_path / "study"]), tmp_path / "page.html", "a search")
    opened = Opened(browser, path, viewport={"width": 1280, "height": 900})
    plots = opened.page.locator("#objective svg.plot")
    axes = {attribute(plot, "key"): attribute(plot, "axis") for plot in plots.all()}
    assert axes == {"lr": "log", "width": "linear", "order": "words"}
    seen = {}
    for mark in opened.page.locator("[data-key=lr] .objective").all():
        run = opened.page.evaluate("i => gradflow.runs[i].name", int(attribute(mark, "run")))
        box = mark.bounding_box()
        assert box is not None
        seen[run] = (box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
        assert attribute(mark, "value") == str(values[run])  # "None": no such attribute
    opened.close()
    xs, ys = zip(*(seen[lr] for lr in values), strict=True)
    assert np.diff(xs) == pytest.approx(np.diff(xs)[0], abs=0.5)  # a decade each
    assert ys[0] > ys[1] > ys[2]  # higher is better
    assert ys[0] - ys[1] == pytest.approx(ys[1] - ys[2], abs=0.5)
    assert ys[3] > ys[0]  # the diverged one, below all


def test_a_study_without_an_objective_has_no_such_panel(browser: Browser, tmp_path: Path) -> None:
    a_page_run(tmp_path / "study" / "only", "none", 0)
    path = build_page(read_runs([tmp_path / "study"]), tmp_path / "page.html", "one run")
    opened = Opened(browser, path)
    assert opened.page.locator("#objective").is_hidden()
    opened.close()
