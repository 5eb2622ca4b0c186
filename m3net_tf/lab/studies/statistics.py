# SPDX-License-Identifier: Apache-2.0
"""Statistical comparison of two cells of a table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypedDict

import numpy as np

from m3net_tf.training.metrics import summarise_folds

FEWEST_PAIRS = 6
"""With fewer pairs, Wilcoxon's test can never fall below 0.05."""
EXACT_PAIRS = 13
"""With more pairs, SciPy approximates the test where differences are equal."""


class Comparison(TypedDict):
    """Wilcoxon's signed-rank test of two cells, paired by runs.

    Attributes:
        pairs: runs of the same seed and fold in both.
        difference: mean of the differences.
        low: lower end of its 95 % interval by Student's t; None for a single pair.
        high: its upper end; None for a single pair.
        p: two-sided p-value; exact up to :data:`EXACT_PAIRS` pairs.
        smallest_p: smallest possible p-value for this number of pairs.
    """

    pairs: int
    difference: float
    low: float | None
    high: float | None
    p: float
    smallest_p: float


def paired_t(values: Sequence[float], reference: Sequence[float]) -> float | None:
    """Two-sided p of Student's t test of the differences; None for differences without spread."""
    from scipy import stats  # takes a second to import

    differences = np.round(np.subtract(values, reference), 9)
    if len(differences) < 2 or (differences[0] and not np.ptp(differences)):
        return None
    if not differences.any():
        return 1.0
    return float(stats.ttest_1samp(differences, 0.0).pvalue)


def holm(p_values: Sequence[float]) -> list[float]:
    """P-values corrected for their number, in the same order.

    Holm, "A simple sequentially rejective multiple test procedure", 1979: the smallest is
    multiplied by the number of tests, the next by one less, and none becomes smaller than the one
    before it.
    """
    order = np.argsort(p_values)
    factors = np.arange(len(order), 0, -1)
    corrected = np.maximum.accumulate(np.asarray(p_values, float)[order] * factors)
    result = np.empty(len(order))
    result[order] = np.minimum(corrected, 1.0)
    return result.tolist()


def compare(values: Sequence[float], reference: Sequence[float]) -> Comparison | None:
    """Test whether paired values differ; None without pairs.

    Pairs without a difference are left out of the test, as in Wilcoxon's paper; equal differences
    share their ranks.
    """
    from scipy import stats  # takes a second to import

    differences = np.subtract(values, reference)
    if not len(differences):
        return None
    spread = summarise_folds([{"difference": value} for value in differences])["difference"]
    pairs = spread["runs"]
    # Rounding errors would make differences of the same number of clips unequal.
    differences = np.round(differences, 9)
    return {
        "pairs": pairs,
        "difference": spread["mean"],
        "low": spread["low"],
        "high": spread["high"],
        # SciPy cannot rank nothing.
        "p": float(stats.wilcoxon(differences[differences != 0], correction=True).pvalue)
        if differences.any()
        else 1.0,
        "smallest_p": 2.0 ** (1 - pairs),
    }
