"""The statistics of the suites' tables, against formulas and scipy's own."""

import numpy as np
import pytest
from scipy import stats
from scipy.stats import binom, binomtest

from lab.faults.stats import (
    balanced_accuracy,
    bootstrap,
    calibrated_error,
    calibration_error,
    calibration_interval,
    reliability,
    share,
    stratified_bootstrap,
    wilson,
)


def test_balanced_accuracy_is_the_mean_recall_of_the_classes() -> None:
    truth = ["a"] * 8 + ["b"] * 2
    verdicts = ["a"] * 8 + ["a", "b"]
    assert balanced_accuracy(truth, verdicts) == pytest.approx((1 + 0.5) / 2)


@pytest.mark.parametrize(("hits", "n"), [(0, 5), (3, 3), (7, 20), (195, 200)])
def test_the_interval_is_wilsons(hits: int, n: int) -> None:
    expected = binomtest(hits, n).proportion_ci(method="wilson")
    assert wilson(hits, n) == pytest.approx((expected.low, expected.high), abs=1e-6)


def test_the_share_of_nothing_is_a_dash() -> None:
    assert share(0, 0) == "-"
    assert share(1, 4).startswith("1/4 = 0.250 (")


def test_the_bootstrap_interval_is_scipys() -> None:
    values = np.random.default_rng(5).exponential(size=80)
    expected = stats.bootstrap(
        (values,), np.mean, n_resamples=20_000, method="percentile", rng=np.random.default_rng(6)
    ).confidence_interval
    low, high = bootstrap(80, lambda chosen: float(values[chosen].mean()))
    assert (low, high) == pytest.approx((expected.low, expected.high), abs=0.02)


def test_a_stratified_resample_keeps_the_size_of_each_class() -> None:
    truth = ["a"] * 30 + ["b"] * 10
    assert stratified_bootstrap(truth, truth) == (1.0, 1.0)
    # The recall of a is 1 in each resample, and that of b a binomial share.
    answers = ["a"] * 30 + ["b"] * 5 + ["a"] * 5
    low, high = stratified_bootstrap(truth, answers)
    expected = [(1 + k / 10) / 2 for k in binom.ppf([0.025, 0.975], 10, 0.5)]
    assert (low, high) == pytest.approx(expected, abs=0.051)


def test_bins_have_equal_counts_and_rising_confidence() -> None:
    source = np.random.default_rng(1)
    stated = source.uniform(0.5, 1, 50)
    right = source.random(50) < stated
    order = np.argsort(stated)
    groups = [order[i : i + 10] for i in range(0, 50, 10)]
    bins = reliability(list(stated), list(right))
    assert [found.size for found in bins] == [10] * 5
    assert [found.confidence for found in bins] == pytest.approx(
        [stated[group].mean() for group in groups]
    )
    assert [found.right for found in bins] == pytest.approx(
        [right[group].mean() for group in groups]
    )
    gaps = [abs(stated[group].mean() - right[group].mean()) for group in groups]
    assert calibration_error(list(stated), list(right)) == pytest.approx(np.mean(gaps))


def test_bins_of_unequal_count_weigh_by_their_count() -> None:
    # Three answers in two bins: two sure ones, one of them wrong, come last.
    stated, right = [0.5, 0.6, 1.0], [True, False, True]
    assert [found.size for found in reliability(stated, right, 2)] == [2, 1]
    assert calibration_error(stated, right, 2) == pytest.approx(2 / 3 * abs(0.5 - 0.55))


def test_few_answers_make_fewer_bins() -> None:
    assert [found.size for found in reliability([0.9, 0.8], [True, True])] == [1, 1]


def test_an_answer_that_is_sure_and_right_has_no_error() -> None:
    assert calibration_error([1.0] * 9, [True] * 9) == 0
    assert calibrated_error([1.0] * 9) == (0, (0, 0))
    assert calibration_interval([1.0] * 9, [True] * 9) == (0, 0)


@pytest.mark.parametrize(("confidence", "size"), [(0.7, 1), (0.5, 10), (0.9, 20)])
def test_a_calibrated_verdict_has_the_error_of_a_binomial_share(
    confidence: float, size: int
) -> None:
    k = np.arange(size + 1)
    expected = (binom.pmf(k, size, confidence) * abs(k / size - confidence)).sum()
    mean, (low, high) = calibrated_error([confidence] * 5 * size)
    assert mean == pytest.approx(expected, rel=0.05)
    assert low < mean < high
