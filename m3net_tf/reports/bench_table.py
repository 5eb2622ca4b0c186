# SPDX-License-Identifier: Apache-2.0
"""How long a table's trainings would take on this machine."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Callable
from typing import Any

from m3net_tf.artifacts import provenance
from m3net_tf.datasets import DatasetInfo, dataset_info
from m3net_tf.errors import ConfigError
from m3net_tf.keras import tf
from m3net_tf.reports.grid import LINKS, Training, find_grid, load_grid
from m3net_tf.reports.table_runs import in_order
from m3net_tf.training.pace import seconds_per_clip
from m3net_tf.training.recipe import Recipe

Log = Callable[[str], None]
CLIPS_A_STEP = 4
"""Clips of a timed step without an accelerator, where a clip takes the same in any batch."""


def run_bench_table(
    name: str, budget: str, *, steps: int = 2, log: Log = lambda _: None
) -> dict[str, Any]:
    """Time a step of each network that a table trains, and reckon the whole from that.

    Each epoch is taken to have all clips of the complete data set, those that validate and test
    too, as their own share goes by protocol: the hours are an upper bound, but for the time that
    features take before the first epoch.

    Args:
        name: ``<paper>/<table>``, or the path of its YAML file.
        budget: ``small`` or ``paper``.
        steps: timed steps of each network, after one to warm up.
        log: takes lines of progress.

    Returns:
        ``hours`` of all runs one after the other, ``runs``, and under ``networks`` what each of
        them comes to; and what it was measured on.

    Raises:
        ConfigError: there is no such table or budget, the grid or a recipe of it is wrong, or a
            data set has no certain number of clips.
    """
    grid = load_grid(find_grid(name), budget)
    trainings = in_order(
        grid.training(cell, repeat)
        for cell in grid.cells
        for repeat in cell.repeats
        if cell.trained
    )
    gpus = len(tf.config.list_physical_devices("GPU"))
    alike: dict[str, list[Training]] = {}
    for training in trainings:
        alike.setdefault(_without_chance(training), []).append(training)
    rows = []
    for runs in alike.values():
        row = _row(runs, 0 if gpus else CLIPS_A_STEP, steps)
        rows.append(row)
        log(
            f"[{len(rows)}/{len(alike)}] {row['place']}: {1000 * row['clip_s']:.1f} ms a clip, "
            f"{row['runs']} runs of {row['epochs']} epochs: {row['hours']:.1f} h"
        )
    return {
        "table": grid.name,
        "budget": budget,
        "runs": len(trainings),
        "hours": round(sum(row["hours"] for row in rows), 2),
        "networks": rows,
        "steps": steps,
        "cores": os.cpu_count(),
        "gpus": gpus,
        "load_average_after": [round(value, 2) for value in os.getloadavg()],
        **provenance(),
    }


def _row(runs: list[Training], clips_a_step: int, steps: int) -> dict[str, Any]:
    first = runs[0]
    recipe, teacher = first.recipe, first.needs.get("distillation")
    info = delivered(recipe)
    if not info.clips:
        raise ConfigError(f"data set {info.name} has no certain number of clips: time a training")
    hears = teacher is not None and teacher.recipe.frontend == recipe.frontend
    clip_s = seconds_per_clip(
        recipe,
        info,
        teacher=teacher.recipe if teacher is not None and hears else None,
        clips=clips_a_step,
        steps=steps,
    )
    hours = len(runs) * recipe.training.epochs * info.clips * clip_s / 3600
    return {
        "place": first.place.rpartition("/")[0],
        "dataset": info.name,
        "clips": info.clips,
        "runs": len(runs),
        "epochs": recipe.training.epochs,
        "clip_s": round(clip_s, 6),
        "hours": round(hours, 3),
    }


def delivered(recipe: Recipe) -> DatasetInfo:
    """The data set as a recipe's options have it delivered, which only its files tell otherwise."""
    options = recipe.dataset.options
    info = dataset_info(recipe.dataset.name)
    named = options.get("classes")
    return dataclasses.replace(
        info,
        sample_rate_hz=options.get("sample_rate_hz", info.sample_rate_hz),
        clip_s=options.get("clip_s", info.clip_s),
        labels=() if named else info.labels,
        class_count=int(named) if named else info.class_count,
    )


def _without_chance(training: Training) -> str:
    """What runs of the same network on the same data have in common: all but seeds and folds."""
    values = training.recipe.to_dict()
    values["training"].pop("seed")
    for key in ("fold", "seed"):
        values["dataset"].pop(key)
    for section in LINKS:
        values[section]["run"] = section in training.needs
    return json.dumps(values, sort_keys=True)
