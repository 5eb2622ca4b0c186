# SPDX-License-Identifier: Apache-2.0
"""The values of a table's cells: of finished runs, written tables and untrained networks."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from m3net_tf.lab.many.plan import Outcome, Training
from m3net_tf.lab.studies.grid import Cell, Repeat
from m3net_tf.lab.studies.table_plan import TablePlan
from m3net_tf.lab.studies.table_record import CellValues, RunValues
from m3net_tf.lab.studies.untrained_cost import measure
from m3net_tf.system.errors import M3NetError
from m3net_tf.system.progress import Log

_DATA = ("name", "protocol", "leaking", "subset", "subset_sha256")
_NOTED = (
    "parameters", "macs", "best_epoch", "threads", "computers", "training_s", "git_commit",
    "design_sha256",
)  # fmt: skip


def cell_values(plan: TablePlan, outcomes: Mapping[str, Outcome], log: Log) -> list[CellValues]:
    """The cells of a table with the values of their runs, without statistics.

    Args:
        outcomes: outcomes of the trainings, by key.
    """
    cells: list[CellValues] = []
    measured: dict[str, dict[str, float]] = {}
    for number, cell in enumerate(plan.grid.cells):
        needed = {repeat: plan.trainings[number, repeat] for repeat in cell.repeats}
        runs = [
            _run_values(cell, repeat, training, outcomes, plan)
            for repeat, training in needed.items()
            if training.key in outcomes or training.key in plan.kept
        ]
        cells.append(_trained(cell, runs) if needed else _untrained(cell, measured, log))
    return cells


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
        "run": outcome.folder.relative_to(plan.runs.root).as_posix() if outcome else "",
    }
    if repeat.split is not None:
        values["split"] = repeat.split
    if outcome is None:
        run = plan.kept[training.key][cell.metric]
        values["metrics"] = _noted(run["metrics"], cell.metric)
        values["value"] = run["value"]
        values["run"] = run["run"]
        values["kept"] = True
    elif outcome.metrics is None:
        values["error"] = outcome.error
    else:
        metrics = outcome.metrics.values
        values["metrics"] = _noted(metrics, cell.metric)
        values["value"] = _value(metrics, cell.metric)
        if values["value"] is None:
            values["error"] = f"its metrics.json has no {cell.metric}"
    return values


def _noted(metrics: Mapping[str, Any], metric: str) -> dict[str, Any]:
    """The metrics of a run that a table needs to be written again without the run's folder."""
    figures = (metric, "accuracy_95_low", "accuracy_95_high")
    noted = _selected(metrics, _NOTED)
    noted["dataset"] = _selected(metrics.get("dataset", {}), _DATA)
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
    first = finished[0]["metrics"]
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
    return values
