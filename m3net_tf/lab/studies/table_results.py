# SPDX-License-Identifier: Apache-2.0
"""The results of a table's runs and cells, compared with its reference."""

from __future__ import annotations

import dataclasses
import json
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from m3net_tf.lab.many.plan import Outcome, Training
from m3net_tf.lab.studies.footprint import measure
from m3net_tf.lab.studies.grid import Cell, Grid, Repeat
from m3net_tf.lab.studies.statistics import Comparison, compare
from m3net_tf.system.errors import M3NetError
from m3net_tf.system.progress import Log
from m3net_tf.training.metrics import Spread, summarise_folds
from m3net_tf.training.run import Run

NOTED_DATA = ("name", "protocol", "leaking")
"""Facts of a data set that a table has."""

NOTED_SUBSET = ("subset", "subset_sha256")
"""Those of a data set whose folder is a subset."""


EarlierRuns = Mapping[str, Mapping[str, Mapping[str, Any]]]
"""Runs in the written table: key of the training -> metric -> run."""


@dataclasses.dataclass(frozen=True)
class RunRow:
    """One run of a cell.

    Attributes:
        repeat: its seed and fold.
        key: hash of its recipe.
        value: the cell's metric, shares in percent; None if the run failed.
        metrics: content of ``metrics.json``, or the part that a table keeps; None if the run
            failed.
        error: why it failed in this call; '' if it did not.
        place: its folder, relative to the folder of all tables' runs.
        kept: whether the result comes from the written table, because the run's folder is missing
            or the run has failed now (see ``error``).
    """

    repeat: Repeat
    key: str
    value: float | None
    metrics: Mapping[str, Any] | None
    error: str
    place: str
    kept: bool = False


@dataclasses.dataclass(frozen=True)
class CellResult:
    """The result of a cell.

    Attributes:
        cell: the cell.
        runs: its runs, finished and failed; none where nothing is trained.
        summary: ``runs``, ``mean``, ``std``, ``low`` and ``high`` over the finished runs.
        comparison: test against the reference cell, over the runs that both have.
        facts: ``parameters``, ``macs``, and the data set's ``name``, ``protocol``, ``leaking``,
            ``subset`` and ``subset_sha256``, where known.
        error: why a cell without runs has no value.
    """

    cell: Cell
    runs: tuple[RunRow, ...]
    summary: Spread | None
    comparison: Comparison | None
    facts: Mapping[str, Any]
    error: str = ""


def cell_results(
    grid: Grid,
    trainings: Mapping[tuple[int, Repeat], Training],
    outcomes: Mapping[str, Outcome],
    earlier: EarlierRuns,
    runs_folder: Path,
    log: Log,
) -> list[CellResult]:
    """Results of all cells, in the grid's order.

    Args:
        grid: the table.
        trainings: one for each cell's number and repeat.
        outcomes: outcomes of the trainings, by key.
        earlier: runs in the written table that may be kept.
        runs_folder: folder of the runs of all tables.
        log: receives lines of progress.
    """
    results = []
    measured: dict[str, dict[str, float]] = {}
    for index, cell in enumerate(grid.cells):
        runs = tuple(
            _run_row(cell, repeat, trainings[index, repeat], outcomes, earlier, runs_folder)
            for repeat in cell.repeats
        )
        results.append(_trained(cell, runs) if cell.trained else _measured(cell, measured, log))
    results = [_averaged(grid, results, result) for result in results]
    return [_compared(grid, results, result) for result in results]


def _run_row(
    cell: Cell,
    repeat: Repeat,
    training: Training,
    outcomes: Mapping[str, Outcome],
    earlier: EarlierRuns,
    runs_folder: Path,
) -> RunRow:
    outcome = outcomes.get(training.key)
    error = outcome.error if outcome else ""
    if outcome and not error:
        metrics = Run(outcome.folder).metrics().values
        place = outcome.folder.relative_to(runs_folder).as_posix()
        value = _value(metrics, cell.metric)
        error = "" if value is not None else f"its metrics.json has no {cell.metric}"
        return RunRow(repeat, training.key, value, metrics, error, place)
    if training.key in earlier:
        run = earlier[training.key][cell.metric]
        return RunRow(repeat, training.key, run["value"], run["metrics"], error, run["run"], True)
    assert outcome is not None, "a training was neither run nor kept"
    place = outcome.folder.relative_to(runs_folder).as_posix()
    return RunRow(repeat, training.key, None, None, error, place)


def _value(metrics: Mapping[str, Any], metric: str) -> float | None:
    """A metric of the test clips in percent, or the number at a path in ``metrics.json``."""
    if not metric.startswith("run."):
        value = metrics["test"].get(metric)
        return None if value is None else 100 * float(value)
    entry: Any = metrics
    for key in metric.split(".")[1:]:
        entry = entry.get(key) if isinstance(entry, Mapping) else None
    return float(entry) if isinstance(entry, int | float) else None


def _measured(cell: Cell, measured: dict[str, dict[str, float]], log: Log) -> CellResult:
    """Result of an untrained network; ``measured`` caches the measurements of each network."""
    if cell.quoted or cell.average_of:
        return CellResult(cell, (), None, None, {})
    figure = cell.metric.removeprefix("model.")
    network = json.dumps(cell.values["model"], sort_keys=True)
    if figure not in measured.get(network, {}):
        log(f"measuring {cell.slug}")
        try:
            measured[network] = measure(cell.values["model"], figure)
        except M3NetError as error:
            return CellResult(cell, (), None, None, {}, str(error))
    facts = measured[network]
    return CellResult(cell, (), _summary([facts[figure]]), None, facts)


def _averaged(grid: Grid, results: Sequence[CellResult], result: CellResult) -> CellResult:
    """Mean of the cells along an axis: of their means, and of their standard deviations."""
    axis = result.cell.average_of
    if not axis:
        return result
    labels = [{**result.cell.labels, axis: label} for label in grid.axes[axis]]
    parts = [part for part in results if not part.cell.average_of and part.cell.labels in labels]
    summaries = [part.summary for part in parts if part.summary]
    if not parts or len(summaries) < len(parts):
        return dataclasses.replace(result, error="a cell that it averages has no result")
    deviations = [summary["std"] for summary in summaries if summary["std"] is not None]
    summary = _summary([summary["mean"] for summary in summaries])
    std = statistics.fmean(deviations) if len(deviations) == len(parts) else None
    summary.update({"std": std, "low": None, "high": None})
    return dataclasses.replace(result, summary=summary)


def _trained(cell: Cell, runs: tuple[RunRow, ...]) -> CellResult:
    finished = [run for run in runs if run.value is not None and run.metrics is not None]
    if not finished:
        return CellResult(cell, runs, None, None, {}, runs[0].error)
    summary = _summary([run.value for run in finished if run.value is not None])
    first = finished[0].metrics or {}
    if len(finished) == 1 and cell.metric == "accuracy":  # of one run: the interval over its clips
        summary["low"] = 100 * first["test"]["accuracy_95_low"]
        summary["high"] = 100 * first["test"]["accuracy_95_high"]
    facts = {
        "parameters": first["parameters"],
        "macs": first["macs"],
        **{key: first["dataset"][key] for key in NOTED_DATA},
        **{key: first["dataset"][key] for key in NOTED_SUBSET if key in first["dataset"]},
    }
    return CellResult(cell, runs, summary, None, facts)


def _summary(values: Sequence[float]) -> Spread:
    return summarise_folds([{"value": value} for value in values])["value"]


def _compared(grid: Grid, results: Sequence[CellResult], result: CellResult) -> CellResult:
    reference = grid.reference_of(result.cell)
    if reference is None or not result.cell.scored or result.cell.average_of:
        return result
    runs = next(candidate.runs for candidate in results if candidate.cell is reference)
    reference_values = {run.repeat: run.value for run in runs if run.value is not None}
    pairs = [
        (run.value, reference_values[run.repeat])
        for run in result.runs
        if run.value is not None and run.repeat in reference_values
    ]
    values, paired = [value for value, _ in pairs], [value for _, value in pairs]
    return dataclasses.replace(result, comparison=compare(values, paired))
