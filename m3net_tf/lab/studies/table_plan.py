# SPDX-License-Identifier: Apache-2.0
"""The runs of a table before any is started, and a preview: recipes, states, missing data."""

import dataclasses
import itertools
import json
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypedDict

from m3net_tf.audio.datasets import dataset_info
from m3net_tf.lab import RESULTS, RUNS
from m3net_tf.lab.many.plan import Plan, Training, in_order, plan_trainings
from m3net_tf.lab.studies.cell_recipe import find_cells
from m3net_tf.lab.studies.grid import Grid, Repeat
from m3net_tf.lab.studies.grid_file import load_grid
from m3net_tf.lab.studies.table_record import RunValues, WrittenReport
from m3net_tf.system.artifacts import read_json
from m3net_tf.system.errors import ConfigError, DataError
from m3net_tf.system.words import counted
from m3net_tf.training.cluster.data import DataFolders, missing_data
from m3net_tf.training.recipe import Recipe
from m3net_tf.training.run import Run, built_otherwise

_COLUMNS = 80

Trainings = Mapping[tuple[int, Repeat], Training]
"""Training of each cell's number and repeat."""


@dataclasses.dataclass(frozen=True)
class TablePlan:
    """The runs of a table, before any is started.

    Attributes:
        stem: path of the written table, without its ending.
        trainings: one for each cell's number and repeat.
        kept: results of written tables that replace trainings: key -> metric -> run.
        runs: which runs are finished, and which must be trained.
    """

    grid: Grid
    stem: Path
    trainings: Trainings
    kept: Mapping[str, Mapping[str, RunValues]]
    runs: Plan


def plan_table(
    name: str,
    scale: str,
    *,
    runs_folder: Path = RUNS,
    out: Path = RESULTS,
    keep_results: bool = False,
    overlay: Path | None = None,
    only: Sequence[str] = (),
) -> TablePlan:
    """Find out which runs of a table are missing; writes nothing.

    Args:
        out: folder for ``<paper>/<table>.<scale>.md``, ``.csv`` and ``.json``.
        keep_results: do not train a run that ``runs_folder`` lacks if a table in ``out`` has its
            result and its recipe and network are unchanged.
        overlay: a patch over all cells; its name joins the names of the table's files.
        only: slugs or labels of cells: no run of another cell is trained.

    Raises:
        ConfigError: there is no such table or scale, or the grid or one of its recipes is wrong.
        DataError: ``keep_results`` is set and no table is written.
    """
    grid = load_grid(name, scale, overlay)
    stem = table_stem(grid, overlay, out)
    suffix = stem.name.partition(".")[2]
    trainings = {
        (index, repeat): grid.training(cell, repeat)
        for index, cell in enumerate(grid.cells)
        for repeat in cell.repeats
    }
    kept: dict[str, Mapping[str, RunValues]] = {}
    if keep_results:
        own = Path(f"{stem}.json")
        # The table's own results go before the others'.
        written = sorted(out.rglob(f"*.{suffix}.json"), key=lambda path: (path == own, path))
        if not written:
            raise DataError(
                f"{out} has no results of {scale} scale to keep: run it without --keep-results"
            )
        for path in written:
            kept |= _written_runs(path, grid, trainings)
    # The first run of every cell before the second of any: a stopped table can be compared.
    in_turn = sorted(trainings, key=lambda place: grid.cells[place[0]].repeats.index(place[1]))
    runs = plan_trainings((trainings[place] for place in in_turn), runs_folder, kept)
    if only:
        cells = [cell for text in only for cell in find_cells(grid, text)]
        chosen = (trainings[place] for place in trainings if grid.cells[place[0]] in cells)
        keys = {training.key for training in in_order(chosen)}
        runs = dataclasses.replace(runs, runs=tuple(run for run in runs.runs if run.key in keys))
    _require_networks(runs.waiting)
    return TablePlan(grid, stem, trainings, kept, runs)


def _require_networks(waiting: Sequence[Training]) -> None:
    """Refuse a network that the registry cannot make of its arguments, before any training."""
    from m3net_tf.networks.models.registry import network_design  # imports TensorFlow

    checked = set()
    for run in waiting:
        model = run.recipe.model
        network = json.dumps([model.name, model.preset, model.arguments], sort_keys=True)
        if network not in checked:
            checked.add(network)
            try:
                network_design(model.name, model.preset, model.arguments)
            except ConfigError as error:
                raise ConfigError(f"{run.place}: {error}") from None


def table_stem(grid: Grid, overlay: Path | None, out: Path) -> Path:
    """Path of a written table without its ending; ``overlay`` is the overlay of the grid."""
    overlaid = f".{overlay.stem}" if overlay else ""
    return out / f"{grid.name}.{grid.scale}{overlaid}"


def _written_runs(path: Path, grid: Grid, trainings: Trainings) -> dict[str, dict[str, RunValues]]:
    """Runs in a written table whose recipes and networks are unchanged: key -> metric -> run."""
    noted = {
        (run["recipe_sha256"], cell["metric"]): run
        for cell in read_json(path, WrittenReport).get("cells", ())  # a figure's have no runs
        for run in cell.get("runs", ())
        if "metrics" in run and run.get("value") is not None
    }
    rows: dict[str, dict[str, RunValues]] = {}
    changed = set()
    for (index, _), training in trainings.items():
        metric = grid.cells[index].metric
        run = noted.get((training.key, metric))
        if run is None or built_otherwise(run["metrics"], training.recipe):
            changed.add(training.key)
        else:
            rows.setdefault(training.key, {})[metric] = run
    return {key: metrics for key, metrics in rows.items() if key not in changed}


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


def plan_facts(plan: TablePlan, data_folders: DataFolders) -> PlanFacts:
    """A plan as JSON has it."""
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
                "state": _state(run, plan),
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
        f"{plan['table']} at {plan['scale']} scale: {counted(plan['cells'], 'cell')}, "
        f"{counted(len(plan['runs']), 'run')}, {plan['to_train']} to train",
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


def _state(training: Training, plan: TablePlan) -> str:
    if outcome := plan.runs.finished.get(training.key):
        place = outcome.folder.relative_to(plan.runs.root).as_posix()
        return "finished" + ("" if place == training.place else f" in {place}")
    if training.key in plan.kept:
        return "kept from the written table"
    if training.key not in {run.key for run in plan.runs.runs}:
        return "not needed"
    started = Run(plan.runs.root / training.place).state_path.exists()
    return "started" if started else "to train"


def _recipe_text(recipe: Recipe) -> str:
    data, model, training = recipe.dataset, recipe.model, recipe.training
    protocol = data.protocol or dataset_info(data.name).protocol
    parts = [
        f"{data.name}, {protocol}{_settings(data.options)}",
        f"{model.name} {model.preset}{_settings(model.arguments)}",
        f"{counted(training.epochs, 'epoch')}, batches of {training.batch_size}",
    ]
    return "; ".join(parts)


def _settings(values: Mapping[str, object]) -> str:
    text = ", ".join(f"{key}: {value}" for key, value in values.items())
    return f" ({text})" if text else ""


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, _COLUMNS - 2, initial_indent="  ", subsequent_indent="    ")
