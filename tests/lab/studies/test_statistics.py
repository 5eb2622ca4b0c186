# SPDX-License-Identifier: Apache-2.0
"""Wilcoxon's test compared with all signs tried one by one; the interval of the differences."""

import itertools

import numpy as np
import pytest
from scipy import stats

from m3net_tf.lab.studies.statistics import compare, holm, spread_of


@pytest.mark.parametrize("pairs", [1, 2, 6])
def test_the_interval_is_of_the_paired_t_test(pairs):
    rng = np.random.default_rng(pairs)
    a, b = rng.normal(0.3, 1, pairs), rng.normal(0, 1, pairs)
    comparison = compare(a, b)
    assert (
        comparison["difference"] == pytest.approx((a - b).mean()) and comparison["pairs"] == pairs
    )
    if pairs == 1:
        assert comparison["low"] is None and comparison["high"] is None
    else:
        interval = stats.ttest_rel(a, b).confidence_interval()
        assert (comparison["low"], comparison["high"]) == pytest.approx(tuple(interval))


@pytest.mark.parametrize("seed", range(5))
def test_with_ties_as_by_trying_all_signs(seed):
    rng = np.random.default_rng(seed)
    differences = rng.integers(-2, 4, 9).astype(float)
    moved = differences[differences != 0]
    ranks = stats.rankdata(abs(moved))
    seen = abs((ranks * np.sign(moved)).sum())
    signs = np.array(list(itertools.product((-1, 1), repeat=len(moved))))
    share = (abs(signs @ ranks) >= seen - 1e-9).mean()
    assert compare(differences, np.zeros(9))["p"] == pytest.approx(share)


def test_the_smallest_p_is_reported():
    for pairs in (1, 3, 5, 6):
        comparison = compare(np.arange(1, pairs + 1), np.zeros(pairs))
        assert (
            comparison["p"]
            == pytest.approx(comparison["smallest_p"])
            == pytest.approx(2.0 ** (1 - pairs))
        )


def test_equal_values_differ_in_nothing():
    comparison = compare([0.1 + 0.2, 0.5], [0.3, 0.5])
    assert comparison["p"] == 1.0 and comparison["pairs"] == 2


def test_no_pairs_no_comparison():
    assert compare([], []) is None


def test_holms_correction_of_worked_values():
    # Multiplied in order by 4, 3, 2 and 1; the third, 0.06, may not fall below the second.
    corrected = holm([0.04, 0.01, 0.03, 0.025])
    assert corrected == pytest.approx([0.075, 0.04, 0.075, 0.075])
    assert holm([0.6, 0.7]) == [1.0, 1.0]
    assert holm([]) == []


def test_differences_without_spread_are_not_judged():
    for values, reference, p in (
        ([0.5], [0.4], None),
        ([0.5, 0.6], [0.4, 0.5], None),
        ([0.5, 0.6], [0.5, 0.6], 1.0),
        ([1.0, 2.0, 4.0], [0.0, 0.0, 0.0], stats.ttest_1samp([1, 2, 4], 0).pvalue),
    ):
        assert compare(values, reference)["t_p"] == pytest.approx(p)


def test_runs_of_one_fold_count_once():
    """Five seeds of each of three folds are three independent values, not fifteen."""
    rng = np.random.default_rng(0)
    folds = np.repeat([1, 2, 3], 5)
    reference = 50 + np.repeat([-9.0, 0, 9], 5) + rng.normal(0, 1, 15)
    values = reference + np.repeat([4.0, 6, 9], 5) + rng.normal(0, 1, 15)
    means = (values - reference).reshape(3, 5).mean(1)
    expected = stats.ttest_1samp(means, 0)
    test = compare(values, reference, folds)
    assert (test["pairs"], test["smallest_p"]) == (3, 0.25)
    assert (test["low"], test["high"]) == pytest.approx(tuple(expected.confidence_interval()))
    assert test["t_p"] == pytest.approx(expected.pvalue)
    spread = spread_of(values.tolist(), folds.tolist())
    interval = stats.ttest_1samp(values.reshape(3, 5).mean(1), 0).confidence_interval()
    assert (spread["low"], spread["high"]) == pytest.approx(tuple(interval))
    assert (spread["runs"], spread["std"]) == (15, pytest.approx(values.std(ddof=1)))


def test_the_spread_of_runs():
    values = [0.5, 0.75, 0.625, 0.5]
    spread = spread_of(values)
    interval = stats.ttest_1samp(values, 0).confidence_interval()
    assert (spread["low"], spread["high"]) == pytest.approx(tuple(interval))
    assert (spread["runs"], spread["mean"], spread["std"]) == (4, 0.59375, np.std(values, ddof=1))
    assert spread_of([0.5]) == {"runs": 1, "mean": 0.5, "std": None, "low": None, "high": None}


def test_seeds_of_a_single_fold_count_each():
    values = [50.0, 52.0, 57.0]
    assert spread_of(values, [2, 2, 2]) == spread_of(values)
    assert compare(values, [50.0, 51.0, 52.0], [2, 2, 2])["pairs"] == 3
