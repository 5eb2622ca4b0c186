# SPDX-License-Identifier: Apache-2.0
"""A table's JSON: the results of its runs and cells, compared with its reference."""

import datetime
import hashlib
import json
import statistics
import time
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from m3net_tf.lab.many.plan import Outcome, Training
from m3net_tf.lab.studies.grid import Cell, Grid, Repeat
from m3net_tf.lab.studies.machine import machine
from m3net_tf.lab.studies.statistics import compare, holm, spread_of
from m3net_tf.lab.studies.table_plan import TablePlan
from m3net_tf.lab.studies.table_record import (
    CellValues,
    RunValues,
    TableReport,
    data_of,
    paired_values,
)
from m3net_tf.lab.studies.untrained_cost import measure
from m3net_tf.system.artifacts import provenance
from m3net_tf.system.errors import M3NetError
from m3net_tf.system.progress import Log
from m3net_tf.training.run import Run

_DATA = ("name", "protocol", "leaking")
_SUBSET = ("subset", "subset_sha256")
_NOTED = (
    "parameters", "macs", "best_epoch", "threads", "training_s", "git_commit", "design_sha256",
)  # fmt: skip


def table_report(
    plan: TablePlan, outcomes: Mapping[str, Outcome], command: str, start_s: float, log: Log
) -> TableReport:
    """Content of a table's JSON.

    Args:
        outcomes: outcomes of the trainings, by key.
        start_s: start of this call, on the clock of ``time.perf_counter``.
    """
    grid, trainings = plan.grid, plan.trainings
    cells: list[CellValues] = []
    measured: dict[str, dict[str, float]] = {}
    for number, cell in enumerate(grid.cells):
        needed = {repeat: trainings[number, repeat] for repeat in cell.repeats}
        runs = [
            _run_values(cell, repeat, training, outcomes, plan)
            for repeat, training in needed.items()
            if training.key in outcomes or training.key in plan.kept
        ]
        cells.append(_trained(cell, runs) if needed else _untrained(cell, measured, log))
    for cell, values in zip(grid.cells, cells, strict=True):
        if cell.average_of:
            _add_average(grid, cell.average_of, values, cells)
    for cell, values in zip(grid.cells, cells, strict=True):
        reference = grid.reference_of(cell)
        if reference and cell.scored and not cell.average_of:
            pairs = paired_values(values, cells[grid.cells.index(reference)])
            values["against_reference"] = compare(*pairs)
    _add_corrected(cells)
    keys = sorted({training.key for training in trainings.values()})
    runs = [run for cell in cells for run in cell["runs"]]
    counted = _by_training(runs)
    unmeasured = sum("error" in cell and not cell["runs"] for cell in cells)
    return {
        "table": grid.name,
        "title": grid.title,
        "paper": grid.paper,
        "paper_table": grid.table,
        "scale": grid.scale,
        "axes": {axis: list(labels) for axis, labels in grid.axes.items()},
        "reference": dict(grid.reference),
        "command": command,
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "recipes_sha256": hashlib.sha256(json.dumps(keys).encode()).hexdigest(),
        "subsets": _subsets(runs),
        "runs": len(counted),
        "kept": int(counted["kept"].sum()),
        "failed": int(counted["failed"].sum()) + unmeasured,
        "training_s": round(float(counted["training_s"].sum()), 1),
        "machine": machine(),
        "cells": cells,
        "wall_s": round(time.perf_counter() - start_s, 1),
        **provenance(),
    }


def _run_values(
    cell: Cell,
    repeat: Repeat,
    training: Training,
    outcomes: Mapping[str, Outcome],
    plan: TablePlan,
) -> RunValues:
    """A finished run, or why it failed, or its result in a written table."""
    outcome = outcomes.get(training.key)
    values: RunValues = {
        "seed": repeat.seed,
        "fold": repeat.fold,
        "value": None,
        "recipe_sha256": training.key,
        "run": outcome.folder.relative_to(plan.runs_folder).as_posix() if outcome else "",
    }
    if repeat.split is not None:
        values["split"] = repeat.split
    if outcome is None:
        run = plan.kept[training.key][cell.metric]
        values["metrics"] = _noted(run["metrics"], cell.metric)
        values["value"] = run["value"]
        values["run"] = run["run"]
        values["kept"] = True
    elif outcome.error:
        values["error"] = outcome.error
    else:
        metrics = Run(outcome.folder).metrics().values
        values["metrics"] = _noted(metrics, cell.metric)
        values["value"] = _value(metrics, cell.metric)
        if values["value"] is None:
            values["error"] = f"its metrics.json has no {cell.metric}"
    return values


def _noted(metrics: Mapping[str, Any], metric: str) -> dict[str, Any]:
    """The metrics of a run that a table needs to be written again without the run's folder."""
    figures = (metric, "accuracy_95_low", "accuracy_95_high")
    noted = _selected(metrics, _NOTED)
    noted["dataset"] = _selected(metrics.get("dataset", {}), (*_DATA, *_SUBSET))
    noted["test"] = _selected(metrics.get("test", {}), figures)
    noted["validation"] = _selected(metrics.get("validation", {}), figures)
    return noted


def _selected(values: Mapping[str, Any], keys: Sequence[str]) -> dict[str, Any]:
    return {key: values[key] for key in keys if key in values}


def _value(metrics: Mapping[str, Any], metric: str) -> float | None:
    """A metric of the test clips in percent, or the number at a path in ``metrics.json``."""
    if not metric.startswith("run."):
        value = metrics["test"].get(metric)
        return None if value is None else 100 * float(value)
    entry: Any = metrics
    for key in metric.split(".")[1:]:
        entry = entry.get(key) if isinstance(entry, Mapping) else None
    return float(entry) if isinstance(entry, int | float) else None


def _cell(cell: Cell) -> CellValues:
    """A cell without results."""
    return {
        "labels": dict(cell.labels),
        "metric": cell.metric,
        "paper": cell.expected,
        "paper_std": cell.expected_std,
        "quoted": cell.quoted,
        "other_split": cell.other_split,
        "other_data": cell.other_data,
        "ours": None,
        "against_reference": None,
        "runs": [],
    }


def _trained(cell: Cell, runs: list[RunValues]) -> CellValues:
    values = _cell(cell)
    values["runs"] = runs
    if missing := len(cell.repeats) - len(runs):
        values["missing"] = missing
    finished = [run for run in runs if run["value"] is not None]
    if not finished:
        if runs:
            values["error"] = runs[0]["error"]
        return values
    values["ours"] = summary = spread_of(
        [run["value"] for run in finished if run["value"] is not None],
        [data_of(run) for run in finished],
    )
    first = finished[0]["metrics"]
    if len(finished) == 1 and cell.metric == "accuracy":  # the interval over the clips of the run
        summary["low"] = 100 * first["test"]["accuracy_95_low"]
        summary["high"] = 100 * first["test"]["accuracy_95_high"]
    values["facts"] = {**_selected(first, ("parameters", "macs")), **first["dataset"]}
    return values


def _untrained(cell: Cell, measured: dict[str, dict[str, float]], log: Log) -> CellValues:
    """A quoted cell, an average before the others are known, or a measured untrained network."""
    values = _cell(cell)
    if cell.quoted or cell.average_of:
        return values
    figure = cell.metric.removeprefix("model.")
    network = json.dumps(cell.values["model"], sort_keys=True)
    if figure not in measured.get(network, {}):
        log(f"measuring {cell.slug}")
        try:
            measured[network] = measure(cell.values["model"], figure)
        except M3NetError as error:
            values["error"] = str(error)
            return values
    values["facts"] = measured[network]
    values["ours"] = spread_of([measured[network][figure]])
    return values


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


def _add_corrected(cells: Sequence[CellValues]) -> None:
    """Add the p-values of Student's t tests after the correction over all cells."""
    tests = [cell["against_reference"] for cell in cells if cell["against_reference"]]
    p_values = [test["t_p"] for test in tests if test["t_p"] is not None]
    corrected = iter(holm(p_values))
    for test in tests:
        if test["t_p"] is not None:
            test["t_p_holm"] = next(corrected)


def _by_training(runs: Sequence[RunValues]) -> pd.DataFrame:
    """Whether each training was kept or failed, and its seconds: cells share trainings."""
    rows = [
        {
            "key": run["recipe_sha256"],
            "kept": "kept" in run,
            "failed": "error" in run,
            "training_s": run.get("metrics", {}).get("training_s", 0.0),
        }
        for run in runs
    ]
    frame = pd.DataFrame(rows, columns=["key", "kept", "failed", "training_s"])
    return frame.groupby("key").agg({"kept": "any", "failed": "any", "training_s": "max"})


def _subsets(runs: Sequence[RunValues]) -> dict[str, str]:
    """Hash of each subset of a data set that finished runs were trained on, by name."""
    data = [run["metrics"]["dataset"] for run in runs if "metrics" in run]
    return {facts["subset"]: facts["subset_sha256"] for facts in data if "subset" in facts}
