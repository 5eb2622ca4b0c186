# SPDX-License-Identifier: Apache-2.0
"""Wilcoxon's test compared with scipy's and with all signs tried one by one."""

import itertools

import numpy as np
import pytest
from scipy import stats

from m3net_tf.lab.studies.statistics import compare


@pytest.mark.parametrize("pairs", [1, 2, 5, 6, 10, 14, 20])
def test_without_ties_as_scipy(pairs):
    rng = np.random.default_rng(pairs)
    for shift in (0.0, 0.3, 2.0):
        a, b = rng.normal(shift, 1, pairs), rng.normal(0, 1, pairs)
        comparison = compare(a, b)
        assert comparison.p == pytest.approx(stats.wilcoxon(a, b, method="exact").pvalue)
        assert comparison.difference == pytest.approx((a - b).mean())
        if pairs > 1:
            interval = stats.ttest_rel(a, b).confidence_interval()
            assert (comparison.low, comparison.high) == pytest.approx(tuple(interval))
        else:
            assert comparison.low is None and comparison.high is None
        assert comparison.pairs == pairs


@pytest.mark.parametrize("seed", range(5))
def test_with_ties_as_by_trying_all_signs(seed):
    rng = np.random.default_rng(seed)
    differences = rng.integers(-2, 4, 9).astype(float)
    moved = differences[differences != 0]
    ranks = stats.rankdata(abs(moved))
    seen = abs((ranks * np.sign(moved)).sum())
    signs = np.array(list(itertools.product((-1, 1), repeat=len(moved))))
    share = (abs(signs @ ranks) >= seen - 1e-9).mean()
    assert compare(differences, np.zeros(9)).p == pytest.approx(share)


def test_many_pairs_as_scipys_approximation():
    rng = np.random.default_rng(1)
    a, b = rng.normal(0.2, 1, 60), rng.normal(0, 1, 60)
    expected_p = stats.wilcoxon(a, b, method="asymptotic", correction=True).pvalue
    assert compare(a, b).p == pytest.approx(expected_p, rel=1e-6)


def test_the_smallest_p_is_reported():
    for pairs in (1, 3, 5, 6):
        comparison = compare(np.arange(1, pairs + 1), np.zeros(pairs))
        assert (
            comparison.p
            == pytest.approx(comparison.smallest_p)
            == pytest.approx(2.0 ** (1 - pairs))
        )


def test_equal_values_differ_in_nothing():
    comparison = compare([0.1 + 0.2, 0.5], [0.3, 0.5])
    assert comparison.p == 1.0 and comparison.pairs == 2


def test_no_pairs_no_comparison():
    assert compare([], []) is None
