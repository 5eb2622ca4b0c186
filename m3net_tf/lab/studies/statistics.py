# SPDX-License-Identifier: Apache-2.0
"""Means and intervals of a table's cells, and tests against their reference.

Runs that share their test clips, as the seeds of one fold do, do not tell how much another fold
would differ. So where a cell has several folds or draws of its split, the unit is the mean over the
runs of each. With equally many runs of each this is the test of a mixed model with a random effect
for the fold or draw. With a single split the unit is the run: the interval holds for this split.
"""

import math
import statistics
from collections.abc import Hashable, Sequence

import numpy as np
import numpy.typing as npt

from m3net_tf.lab.studies.grid import Grid
from m3net_tf.lab.studies.table_record import CellValues, Comparison, RunValues, Spread

FEWEST_PAIRS = 6
"""With fewer pairs, Wilcoxon's test can never fall below 0.05."""
EXACT_PAIRS = 13
"""With more pairs, SciPy approximates the test where differences are equal."""


Data = tuple[int | None, int | None]
"""Fold and draw of the split: the runs with equal ones share their test clips."""


def data_of(run: RunValues) -> Data:
    """The fold and the draw of the split of a run."""
    return run["fold"], run.get("split")


def add_statistics(grid: Grid, cells: Sequence[CellValues]) -> None:
    """Add means, intervals and tests to the cells of a table, which have the values of their runs.

    Args:
        cells: the cells of the grid, in order.
    """
    for values in cells:
        values["ours"] = _spread_of_cell(values)
    for cell, values in zip(grid.cells, cells, strict=True):
        if cell.average_of:
            _add_average(grid, cell.average_of, values, cells)
    for cell, values in zip(grid.cells, cells, strict=True):
        labels = {**cell.labels, **grid.reference}
        reference = next((other for other in cells if other["labels"] == labels), values)
        if reference is not values and cell.scored and not cell.average_of:
            values["against_reference"] = compare(*paired_values(values, reference))


def _spread_of_cell(cell: CellValues) -> Spread | None:
    """Mean and interval over the runs of a cell, or the measured figure of an untrained network."""
    finished = _finished(cell)
    if not finished:
        figure = cell.get("facts", {}).get(cell["metric"].removeprefix("model."))
        return None if figure is None else spread_of([figure])
    spread = spread_of([*finished.values()], [data for _, data in finished])
    if len(finished) == 1 and cell["metric"] == "accuracy":
        # The interval over the clips of the run.
        (test,) = (run["metrics"]["test"] for run in cell["runs"] if run["value"] is not None)
        spread["low"] = 100 * test["accuracy_95_low"]
        spread["high"] = 100 * test["accuracy_95_high"]
    return spread


def _add_average(grid: Grid, axis: str, values: CellValues, cells: Sequence[CellValues]) -> None:
    """Add the mean of the cells along an axis: of their means, and of their standard deviations."""
    labels = [{**values["labels"], axis: label} for label in grid.axes[axis]]
    parts = [part for part in cells if part is not values and part["labels"] in labels]
    summaries = [part["ours"] for part in parts if part["ours"]]
    if not parts or len(summaries) < len(parts):
        values["error"] = "a cell that it averages has no result"
        return
    deviations = [summary["std"] for summary in summaries if summary["std"] is not None]
    average = spread_of([summary["mean"] for summary in summaries])
    average["std"] = statistics.fmean(deviations) if len(deviations) == len(parts) else None
    average["low"] = average["high"] = None
    values["ours"] = average


def paired_values(
    cell: CellValues, reference: CellValues
) -> tuple[list[float], list[float], list[Data]]:
    """Values of the finished runs that have the same seed and data in both cells, and the data."""
    own, other = _finished(cell), _finished(reference)
    both = [key for key in own if key in other]
    return [own[key] for key in both], [other[key] for key in both], [data for _, data in both]


def _finished(cell: CellValues) -> dict[tuple[int, Data], float]:
    """Values of the finished runs by seed and data."""
    return {
        (run["seed"], data_of(run)): run["value"]
        for run in cell["runs"]
        if run["value"] is not None
    }


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
    low, high = _interval(unit_means(values, data))
    deviation = float(np.std(values, ddof=1)) if len(values) > 1 else None
    mean = float(np.mean(values))
    return {"runs": len(values), "mean": mean, "std": deviation, "low": low, "high": high}


def _interval(values: Sequence[float]) -> tuple[float | None, float | None]:
    """Ends of the 95 % interval of a mean, by Student's t; None for a single value."""
    from scipy import stats  # takes a second to import

    count = len(values)
    mean = float(np.mean(values))
    if count < 2:
        return None, None
    half = float(stats.t.ppf(0.975, count - 1)) * float(np.std(values, ddof=1)) / math.sqrt(count)
    return mean - half, mean + half


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

    means = unit_means(np.subtract(values, reference).tolist(), data)
    if not means:
        return None
    low, high = _interval(means)
    # Rounding errors would make differences of the same number of clips unequal.
    differences = np.round(means, 9)
    return {
        "pairs": len(means),
        "difference": float(np.mean(means)),
        "low": low,
        "high": high,
        # SciPy cannot rank nothing.
        "p": float(stats.wilcoxon(differences[differences != 0], correction=True).pvalue)
        if differences.any()
        else 1.0,
        "smallest_p": 2.0 ** (1 - len(means)),
        "t_p": _t_test(differences),
    }


def _t_test(differences: npt.NDArray[np.float64]) -> float | None:
    from scipy import stats

    if len(differences) < 2 or (differences[0] and not np.ptp(differences)):
        return None
    return float(stats.ttest_1samp(differences, 0.0).pvalue) if differences.any() else 1.0
