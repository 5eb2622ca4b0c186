# SPDX-License-Identifier: Apache-2.0
"""Preview of a table: recipe and state of each run, and missing data."""

from __future__ import annotations

import itertools
import textwrap
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TypedDict

from m3net_tf.audio.datasets import dataset_info
from m3net_tf.lab.many.plan import Training, in_order
from m3net_tf.lab.studies.tables import TablePlan
from m3net_tf.training.cluster.data import DataFolders, missing_data
from m3net_tf.training.recipe import Recipe
from m3net_tf.training.run import Run

_COLUMNS = 80


def plan_lines(plan: TablePlan, data_folders: DataFolders, runs_folder: Path) -> list[str]:
    """A plan for the terminal: the runs by cell, then missing data.

    Args:
        plan: result of :func:`m3net_tf.lab.studies.tables.plan_table`.
        data_folders: folders of the data sets, by name.
        runs_folder: folder of the runs of all tables.
    """
    runs = in_order(plan.trainings.values())
    states = {run.key: _state(run, plan, runs_folder) for run in runs}
    waiting = plan.runs.waiting
    lines = [
        f"{plan.grid.name} at {plan.grid.scale} scale: {len(plan.grid.cells)} cells, "
        f"{len(runs)} runs, {len(waiting)} to train",
        f"grid: {plan.grid.path}",
        f"table: {plan.stem}.md{'' if Path(f'{plan.stem}.md').exists() else ' (not there yet)'}",
    ]
    for folder, group in itertools.groupby(runs, lambda run: run.place.rpartition("/")[0]):
        members = list(group)
        lines += ["", folder, *_wrapped(_recipe_text(members[0].recipe))]
        for run in members:
            name = run.place.rpartition("/")[2]
            lines.append(f"  {name:<14} recipe {run.key[:12]}  {states[run.key]}")
    missing = missing_data((run.recipe for run in waiting), data_folders)
    return [*lines, "", *_data_lines(missing, waiting)]


class PlannedRun(TypedDict):
    """A run of a plan: its folder, the hash of its recipe, and its state."""

    run: str
    recipe_sha256: str
    state: str


class PlanFacts(TypedDict):
    """A plan in JSON.

    Attributes:
        table: name of the table.
        scale: its scale.
        grid: file of the grid.
        out: file of the table.
        cells: number of cells.
        runs: the runs, each after those that it needs.
        missing_data: one line for each data set that is missing.
    """

    table: str
    scale: str
    grid: str
    out: str
    cells: int
    runs: list[PlannedRun]
    missing_data: list[str]


def plan_facts(plan: TablePlan, data_folders: DataFolders, runs_folder: Path) -> PlanFacts:
    """A plan as JSON has it; arguments as :func:`plan_lines`."""
    runs = in_order(plan.trainings.values())
    return {
        "table": plan.grid.name,
        "scale": plan.grid.scale,
        "grid": str(plan.grid.path),
        "out": f"{plan.stem}.md",
        "cells": len(plan.grid.cells),
        "runs": [
            {
                "run": run.place,
                "recipe_sha256": run.key,
                "state": _state(run, plan, runs_folder),
            }
            for run in runs
        ],
        "missing_data": list(missing_data((r.recipe for r in plan.runs.waiting), data_folders)),
    }


def _state(training: Training, plan: TablePlan, runs_folder: Path) -> str:
    if folder := plan.runs.finished.get(training.key):
        place = folder.relative_to(runs_folder).as_posix()
        return "finished" + ("" if place == training.place else f" in {place}")
    if training.key in plan.known:
        return "kept from the written table"
    if training.key not in {run.key for run in plan.runs.runs}:
        return "not needed (results kept)"
    started = Run(runs_folder / training.place).state_path.exists()
    return "started" if started else "to train"


def _recipe_text(recipe: Recipe) -> str:
    data, model, training = recipe.dataset, recipe.model, recipe.training
    protocol = data.protocol or dataset_info(data.name).protocols[0]
    parts = [
        f"{data.name}, {protocol}{_settings(data.options)}",
        f"{model.name} {model.preset}{_settings(model.arguments)}",
        f"{training.epochs} epochs, batches of {training.batch_size}",
    ]
    return "; ".join(parts)


def _settings(values: Mapping[str, object]) -> str:
    text = ", ".join(f"{key}: {value}" for key, value in values.items())
    return f" ({text})" if text else ""


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, _COLUMNS - 2, initial_indent="  ", subsequent_indent="    ")


def _data_lines(missing: Iterable[str], waiting: Iterable[Training]) -> list[str]:
    if lines := [f"  {line}" for line in missing]:
        return ["missing data:", *lines]
    names = sorted({run.recipe.dataset.name for run in waiting})
    return [f"data: {', '.join(names)}: there" if names else "data: none needed"]
