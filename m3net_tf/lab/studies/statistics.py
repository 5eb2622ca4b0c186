# SPDX-License-Identifier: Apache-2.0
"""Intervals of a table's cells and comparisons of two cells.

Runs that share their test clips, as the seeds of one fold do, do not tell how much another fold
would differ. So where a cell has several folds or draws of its split, the unit is the mean over the
runs of each. With equally many runs of each this is the test of a mixed model with a random effect
for the fold or draw. With a single split the unit is the run: the interval holds for this split.
"""

from collections.abc import Hashable, Sequence
from typing import NotRequired, TypedDict

import numpy as np
import numpy.typing as npt

from m3net_tf.training.metrics import Spread, summarise_folds

FEWEST_PAIRS = 6
"""With fewer pairs, Wilcoxon's test can never fall below 0.05."""
EXACT_PAIRS = 13
"""With more pairs, SciPy approximates the test where differences are equal."""


class Comparison(TypedDict):
    """Wilcoxon's signed-rank test and Student's t test of two cells, paired by runs.

    Attributes:
        pairs: runs of the same seed, fold and draw in both; of several folds or draws their number.
        low: lower end of its 95 % interval by Student's t; None for a single pair.
        high: its upper end; None for a single pair.
        p: two-sided p-value; exact up to :data:`EXACT_PAIRS` pairs.
        smallest_p: smallest possible p-value for this number of pairs.
        t_p: two-sided p of Student's t test; None for differences without spread.
        t_p_holm: the same after Holm's correction over the comparisons of a table.
    """

    pairs: int
    difference: float
    low: float | None
    high: float | None
    p: float
    smallest_p: float
    t_p: float | None
    t_p_holm: NotRequired[float]


def unit_means(values: Sequence[float], data: Sequence[Hashable]) -> list[float]:
    """The mean of the values of each unit, in order; the values themselves with a single unit.

    Args:
        data: the fold or draw of each run; none if all runs have the same.
    """
    if len(set(data)) < 2:
        return [*values]
    by_unit: dict[Hashable, list[float]] = {}
    for value, unit in zip(values, data, strict=True):
        by_unit.setdefault(unit, []).append(value)
    return [float(np.mean(own)) for own in by_unit.values()]


def spread_of(values: Sequence[float], data: Sequence[Hashable] = ()) -> Spread:
    """Mean and standard deviation over the runs; the interval is over folds or draws, if several.

    Arguments: see :func:`unit_means`.
    """
    spread = summarise_folds([{"value": value} for value in values])["value"]
    units = unit_means(values, data)
    if len(units) < len(values):
        over_units = summarise_folds([{"value": value} for value in units])["value"]
        spread["low"], spread["high"] = over_units["low"], over_units["high"]
    return spread


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


def compare(
    values: Sequence[float], reference: Sequence[float], data: Sequence[Hashable] = ()
) -> Comparison | None:
    """Test whether paired values differ; None without pairs.

    Pairs without a difference are left out of the test, as in Wilcoxon's paper; equal differences
    share their ranks.

    Args:
        data: the fold or draw of each pair; see :func:`unit_means`.
    """
    from scipy import stats  # takes a second to import

    differences = np.array(unit_means(np.subtract(values, reference).tolist(), data))
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
        "t_p": _t_test(differences),
    }


def _t_test(differences: npt.NDArray[np.float64]) -> float | None:
    from scipy import stats

    if len(differences) < 2 or (differences[0] and not np.ptp(differences)):
        return None
    return float(stats.ttest_1samp(differences, 0.0).pvalue) if differences.any() else 1.0
