# SPDX-License-Identifier: Apache-2.0
"""Statistical comparison of two cells of a table."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from m3net_tf.training.metrics import summarise_folds

FEWEST_PAIRS = 6  # with fewer, Wilcoxon's test can never fall below 0.05
_EXACT_PAIRS = 20


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Wilcoxon's signed-rank test of two cells, paired by runs.

    Attributes:
        pairs: runs of the same seed and fold in both.
        difference: mean of the differences.
        low: lower end of its 95 % interval by Student's t; None for a single pair.
        high: its upper end; None for a single pair.
        p: two-sided p-value; exact up to 20 pairs that differ.
        smallest_p: smallest possible p-value for this number of pairs.
    """

    pairs: int
    difference: float
    low: float | None
    high: float | None
    p: float
    smallest_p: float


def compare(values: Sequence[float], reference: Sequence[float]) -> Comparison | None:
    """Test whether paired values differ; None without pairs.

    Pairs without a difference are left out of the test, as in Wilcoxon's paper; equal differences
    share their ranks.
    """
    differences = np.subtract(values, reference)
    if not len(differences):
        return None
    spread = summarise_folds([{"difference": value} for value in differences])["difference"]
    pairs = spread["runs"]
    # Rounding errors would make differences of the same number of clips unequal.
    differences = np.round(differences, 9)
    differences = differences[differences != 0]
    p = _signed_rank_p(differences) if len(differences) else 1.0
    return Comparison(
        pairs, spread["mean"], spread["low"], spread["high"], p, smallest_p=2.0 ** (1 - pairs)
    )


def _signed_rank_p(differences: np.ndarray) -> float:
    """Share of all sign patterns of the ranks that are at least as extreme as the observed one."""
    from scipy.stats import norm, rankdata

    ranks = rankdata(np.abs(differences))
    half = ranks.sum() / 2
    observed = abs(ranks[differences > 0].sum() - half)
    if len(ranks) > _EXACT_PAIRS:
        deviation = math.sqrt(np.square(ranks).sum() / 4)
        return float(min(1.0, 2 * norm.sf(max(0.0, observed - 0.5) / deviation)))
    # Sums of all subsets of the ranks; doubled ranks are whole numbers even if shared.
    counts = np.zeros(int(2 * ranks.sum()) + 1)
    counts[0] = 1
    for rank in np.rint(2 * ranks).astype(int):
        counts[rank:] = counts[rank:] + counts[:-rank]
    sums = np.arange(len(counts)) / 2
    return float(counts[np.abs(sums - half) >= observed - 1e-9].sum() / counts.sum())
