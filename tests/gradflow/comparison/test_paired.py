"""A run is compared with the baseline of its seed, and their mean difference has an interval."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hand_made import a_run
from scipy import stats

from gradflow.comparison.choose import against
from gradflow.comparison.configurations import configurations
from gradflow.comparison.paired import difference, partners, with_baseline
from gradflow.comparison.table import cells
from gradflow.errors import ConfigError
from gradflow.runs.read import Run

HEADLINE = {"metric": "accuracy", "direction": "max", "percent": True}


def compared(remedy: str, seed: int, accuracy: float | None, **changes: Any) -> Run:
    axes = {"pathology": changes.pop("pathology", "vanishing"), "remedy": remedy}
    config = {
        "seed": seed,
        "lr": 0.1,
        "comparison": {"headline": HEADLINE, "baseline": {"remedy": "none"}},
        **changes.pop("config", {}),
    }
    metrics = {} if accuracy is None else {"validation/accuracy": accuracy}
    suffix = "" if config["lr"] == 0.1 else str(config["lr"])
    folder = Path(f"{axes['pathology']}-{remedy}-{seed}-{suffix}")
    return a_run(folder, axes=axes, config=config, metrics=metrics, **changes)


UNTREATED, TREATED = (0.10, 0.16, 0.13), (0.22, 0.27, 0.28)


@pytest.fixture
def runs() -> list[Run]:
    return [
        compared(remedy, seed, accuracy)
        for remedy, accuracies in (("none", UNTREATED), ("relu", TREATED))
        for seed, accuracy in enumerate(accuracies)
    ]


def test_the_mean_difference_has_the_interval_of_a_paired_t_test(runs: list[Run]) -> None:
    column = difference(runs)
    assert column is not None
    _, (untreated, treated) = configurations(runs)
    oracle = stats.ttest_rel(TREATED, UNTREATED).confidence_interval(0.95)
    figures = treated.figures(column)
    assert figures.mean is not None
    assert figures.half_width is not None
    assert figures.mean - figures.half_width == pytest.approx(oracle.low)
    assert figures.mean + figures.half_width == pytest.approx(oracle.high)
    assert untreated.figures(column).n == 0


def test_the_table_shows_the_difference_in_points_and_none_for_the_baseline(
    runs: list[Run],
) -> None:
    heads, lines = cells(*configurations(runs))
    (place,) = (i for i, head in enumerate(heads) if "minus" in head)
    assert heads[place] == "validation\naccuracy minus that of\nremedy=none, points"
    low, high = stats.ttest_rel(TREATED, UNTREATED).confidence_interval(0.95)
    assert [line[place] for line in lines] == [
        "-",
        f"{50 * (low + high):+.1f} ± {50 * (high - low):.1f}",
    ]


def test_the_partner_has_the_same_seed_and_the_same_other_settings(runs: list[Run]) -> None:
    others = [
        *(compared("none", seed, 0.5, config={"lr": 0.3}) for seed in range(3)),
        compared("relu", 0, 0.9, pathology="exploding"),  # whose untreated run is missing
        compared("clip", 7, 0.9),  # likewise
    ]
    pairs = partners(runs + others)
    found = {str(folder): str(partner.folder) for folder, partner in pairs.items()}
    assert found == {f"vanishing-relu-{s}-": f"vanishing-none-{s}-" for s in range(3)}


def test_of_a_baseline_that_exists_twice_the_one_of_the_same_study_is_meant(
    runs: list[Run],
) -> None:
    twice = replace(runs[0], folder=Path("again"))
    assert Path("vanishing-relu-0-") not in partners([*runs, twice])
    elsewhere = replace(runs[0], folder=Path("other/again"))
    assert partners([*runs, elsewhere])[Path("vanishing-relu-0-")] is runs[0]


def test_a_partner_has_ended_and_may_lack_a_key_that_is_newer(runs: list[Run]) -> None:
    running = [replace(runs[0], state="running"), *runs[1:]]
    assert Path("vanishing-relu-0-") not in partners(running)
    newer = replace(runs[3], config=runs[3].config | {"branch": "none"})
    assert partners([*runs[:3], newer, *runs[4:]])[newer.folder] is runs[0]


def test_seeds_with_another_metric_are_left_out_of_the_mean(runs: list[Run]) -> None:
    other = replace(runs[4], metrics={"train/accuracy": 0.9})
    column = difference([*runs[:4], other, *runs[5:]])
    assert column is not None
    assert "validation" in column.title
    assert column.value(other) is None


def test_without_a_baseline_there_is_no_column(runs: list[Run]) -> None:
    assert difference(with_baseline(runs, {})) is None
    assert difference(runs[3:]) is None
    assert difference([compared("none", 0, 0.1), compared("relu", 0, None)]) is None


def test_a_difference_with_nan_stays_nan(runs: list[Run]) -> None:
    broken = [*runs[:5], compared("relu", 2, math.nan)]
    column = difference(broken)
    assert column is not None
    figures = configurations(broken)[1][1].figures(column)
    assert math.isnan(figures.mean or 0.0)
    assert figures.half_width is None


def test_another_baseline_is_chosen_by_an_override(runs: list[Run]) -> None:
    column = difference(against(runs, ["remedy=relu"]))
    assert column is not None
    assert column.value(runs[0]) == pytest.approx(UNTREATED[0] - TREATED[0])
    assert column.value(runs[3]) is None


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("remedy=nix", "--baseline remedy=nix: no run has that value"),
        ("remedy=none,relu", "--baseline remedy=none,relu: takes one value"),
        ("seed=0", "--baseline seed=0: must be a setting, and not the seed"),
        ("verdict=healthy", "--baseline verdict=healthy: must be a setting"),
        ("pathology=vanishing", "--baseline pathology=vanishing: no run has a partner"),
        ("remdy=none", "--baseline remdy=none: no run has that key; allowed: remedy"),
        ("remedy", "--baseline remedy: cannot be read; allowed: key=value, key=one,another"),
    ],
)
def test_a_baseline_that_no_run_has_is_one_line(
    runs: list[Run], override: str, message: str
) -> None:
    with pytest.raises(ConfigError) as refused:
        against(runs, [override])
    assert str(refused.value).startswith(message)
