# SPDX-License-Identifier: Apache-2.0
"""Preview of a table: recipe and state of each run, and missing data."""

from __future__ import annotations

import itertools
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import TypedDict

from m3net_tf.audio.datasets import dataset_info
from m3net_tf.lab.many.plan import Training, in_order
from m3net_tf.lab.studies.tables import TablePlan
from m3net_tf.training.cluster.data import DataFolders, missing_data
from m3net_tf.training.recipe import Recipe
from m3net_tf.training.run import Run

_COLUMNS = 80


class PlannedRun(TypedDict):
    """A run of a plan: its folder, the hash of its recipe, its state, and its settings in words."""

    run: str
    recipe_sha256: str
    state: str
    settings: str


class PlanFacts(TypedDict):
    """A plan in JSON.

    Attributes:
        runs: the runs, each after the runs that it needs.
        data: names of the data sets that these need.
        missing_data: one line for each data set that is missing.
    """

    table: str
    scale: str
    grid: str
    out: str
    cells: int
    runs: list[PlannedRun]
    to_train: int
    data: list[str]
    missing_data: list[str]


def plan_facts(plan: TablePlan, data_folders: DataFolders, runs_folder: Path) -> PlanFacts:
    """A plan as JSON has it.

    Args:
        plan: result of :func:`m3net_tf.lab.studies.tables.plan_table`.
    """
    waiting = [run.recipe for run in plan.runs.waiting]
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
                "settings": _recipe_text(run.recipe),
            }
            for run in in_order(plan.trainings.values())
        ],
        "to_train": len(waiting),
        "data": sorted({recipe.dataset.name for recipe in waiting}),
        "missing_data": list(missing_data(waiting, data_folders)),
    }


def plan_lines(plan: PlanFacts) -> list[str]:
    """A plan for the terminal: the runs by cell, then missing data."""
    there = "" if Path(plan["out"]).exists() else " (not there yet)"
    lines = [
        f"{plan['table']} at {plan['scale']} scale: {plan['cells']} cells, "
        f"{len(plan['runs'])} runs, {plan['to_train']} to train",
        f"grid: {plan['grid']}",
        f"table: {plan['out']}{there}",
    ]
    for folder, group in itertools.groupby(plan["runs"], lambda run: run["run"].rpartition("/")[0]):
        for number, run in enumerate(group):
            if not number:
                lines += ["", folder, *_wrapped(run["settings"])]
            name = run["run"].rpartition("/")[2]
            lines.append(f"  {name:<14} recipe {run['recipe_sha256'][:12]}  {run['state']}")
    if plan["missing_data"]:
        return [*lines, "", "missing data:", *(f"  {line}" for line in plan["missing_data"])]
    data = f"{', '.join(plan['data'])}: there" if plan["data"] else "none needed"
    return [*lines, "", f"data: {data}"]


def _state(training: Training, plan: TablePlan, runs_folder: Path) -> str:
    if folder := plan.runs.finished.get(training.key):
        place = folder.relative_to(runs_folder).as_posix()
        return "finished" + ("" if place == training.place else f" in {place}")
    if training.key in plan.known:
        return "kept from the written table"
    if training.key not in {run.key for run in plan.runs.runs}:
        return "not needed"
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
