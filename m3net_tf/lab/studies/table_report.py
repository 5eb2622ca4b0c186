# SPDX-License-Identifier: Apache-2.0
"""A table's JSON: its results, and how they were made."""

from __future__ import annotations

import dataclasses
import datetime
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NotRequired, TypedDict

from m3net_tf.lab.many.plan import Training
from m3net_tf.lab.studies.grid import Grid
from m3net_tf.lab.studies.machine import Machine, machine
from m3net_tf.lab.studies.table_results import NOTED_DATA, NOTED_SUBSET, CellResult, RunRow
from m3net_tf.system.artifacts import Provenance, provenance
from m3net_tf.training.metrics import Spread

_NOTED = (
    "parameters", "macs", "best_epoch", "threads", "training_s", "git_commit", "design_sha256",
)  # fmt: skip


class RunValues(TypedDict):
    """A run of a cell.

    Attributes:
        seed: its seed.
        fold: its test fold.
        value: the cell's metric; None if the run failed.
        recipe_sha256: hash of its recipe.
        run: its folder, relative to that of all runs.
        metrics: the part of ``metrics.json`` that the table needs.
        kept: True if the result comes from the written table.
        error: why it failed.
    """

    seed: int | None
    fold: int | None
    value: float | None
    recipe_sha256: str
    run: str
    metrics: NotRequired[Mapping[str, Any]]
    kept: NotRequired[bool]
    error: NotRequired[str]


class CellValues(TypedDict):
    """A cell of a table.

    Attributes:
        labels: its label on each axis.
        metric: its metric.
        paper: the paper's value; None if it has none.
        paper_std: the paper's standard deviation.
        quoted: whether the value is quoted, and nothing is trained.
        other_split: whether the paper's value was measured with another split than ours.
        other_data: whether it was measured on other data or classes, or by another metric.
        ours: our value over the finished runs.
        against_reference: fields of :class:`.statistics.Comparison`.
        facts: as in :class:`.CellResult`.
        error: why a cell without runs has no value.
        runs: its runs.
    """

    labels: dict[str, str]
    metric: str
    paper: float | None
    paper_std: float | None
    quoted: bool
    other_split: bool
    other_data: NotRequired[bool]
    ours: Spread | None
    against_reference: Mapping[str, Any] | None
    facts: NotRequired[Mapping[str, Any]]
    error: NotRequired[str]
    runs: list[RunValues]


class TableReport(Provenance):
    """Content of a table's JSON.

    Attributes:
        table: name of the grid.
        title: its title.
        paper: the paper.
        paper_table: number of the table in it.
        scale: scale of the grid.
        axes: labels of each axis.
        reference: labels of the reference.
        command: the command line.
        date: day on which it was written, ISO 8601, UTC.
        recipes_sha256: hash of the recipes' hashes.
        subsets: hash of the list of each subset of a data set that runs were trained on.
        runs: number of trainings.
        kept: number of them whose results come from the written table.
        failed: number of runs and measurements that failed.
        training_s: seconds of all trainings.
        machine: the computer.
        cells: the cells in the grid's order.
        wall_s: seconds of this call.
    """

    table: str
    title: str
    paper: str
    paper_table: str
    scale: str
    axes: dict[str, list[str]]
    reference: dict[str, str]
    command: str
    date: str
    recipes_sha256: str
    subsets: dict[str, str]
    runs: int
    kept: int
    failed: int
    training_s: float
    machine: Machine
    cells: list[CellValues]
    wall_s: NotRequired[float]


def table_report(
    grid: Grid,
    results: Sequence[CellResult],
    trainings: Iterable[Training],
    command: str,
) -> TableReport:
    """Content of a table's JSON.

    Args:
        grid: the table.
        results: its cells, in the grid's order.
        trainings: the trainings of all cells.
        command: the command line, quoted in the table.
    """
    keys = sorted({training.key for training in trainings})
    training_s: dict[str, float] = {}
    failed, kept = set(), set()
    for result in results:
        for run in result.runs:
            if run.kept:
                kept.add(run.key)
            if run.metrics:
                training_s[run.key] = run.metrics.get("training_s", 0.0)
            if run.error:
                failed.add(run.key)
    unmeasured = sum(1 for result in results if result.error and not result.runs)
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
        "subsets": _subsets(results),
        "runs": len(keys),
        "kept": len(kept),
        "failed": len(failed) + unmeasured,
        "training_s": round(sum(training_s.values()), 1),
        "machine": machine(),
        "cells": [_cell_values(result) for result in results],
        **provenance(),
    }


def _subsets(results: Sequence[CellResult]) -> dict[str, str]:
    """Hash of each subset of a data set that finished runs were trained on, by name."""
    data = (run.metrics.get("dataset", {}) for r in results for run in r.runs if run.metrics)
    return {facts["subset"]: facts["subset_sha256"] for facts in data if "subset" in facts}


def _cell_values(result: CellResult) -> CellValues:
    cell = result.cell
    values: CellValues = {
        "labels": dict(cell.labels),
        "metric": cell.metric,
        "paper": cell.expected,
        "paper_std": cell.expected_std,
        "quoted": cell.quoted,
        "other_split": cell.other_split,
        "other_data": cell.other_data,
        "ours": result.summary or None,
        "against_reference": dataclasses.asdict(result.comparison) if result.comparison else None,
        "runs": [_run_values(run, cell.metric) for run in result.runs],
    }
    if result.facts:
        values["facts"] = dict(result.facts)
    if result.error:
        values["error"] = result.error
    return values


def _run_values(run: RunRow, metric: str) -> RunValues:
    values: RunValues = {
        "seed": run.repeat.seed,
        "fold": run.repeat.fold,
        "value": run.value,
        "recipe_sha256": run.key,
        "run": run.place,
    }
    if run.metrics:
        values["metrics"] = _noted(run.metrics, metric)
    if run.kept:
        values["kept"] = True
    if run.error:
        values["error"] = run.error
    return values


def _noted(metrics: Mapping[str, Any], metric: str) -> Mapping[str, Any]:
    """The metrics of a run that a table needs to be written again without the run's folder."""
    figures = (metric, "accuracy_95_low", "accuracy_95_high")
    noted: dict[str, Any] = {key: metrics[key] for key in _NOTED if key in metrics}
    for part, keys in (
        ("dataset", (*NOTED_DATA, *NOTED_SUBSET)),
        ("test", figures),
        ("validation", figures),
    ):
        section = metrics.get(part, {})
        noted[part] = {key: section[key] for key in keys if key in section}
    return noted
