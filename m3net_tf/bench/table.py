# SPDX-License-Identifier: Apache-2.0
"""How long a table's trainings would take: on this machine, or at a given rate on another."""

from __future__ import annotations

import dataclasses
import json
import math
import os
from collections.abc import Mapping
from typing import Any

from m3net_tf.artifacts import provenance
from m3net_tf.datasets import DatasetInfo, dataset_info
from m3net_tf.errors import ConfigError
from m3net_tf.keras import tf
from m3net_tf.progress import Log, silent
from m3net_tf.studies.grid import LINKS, Training
from m3net_tf.studies.grid_file import find_grid, load_grid
from m3net_tf.studies.table_runs import in_order
from m3net_tf.training.pace import operations_per_clip, seconds_per_clip
from m3net_tf.training.recipe import Recipe

CLIPS_A_STEP = 4
"""Clips of a timed step without an accelerator, where a clip takes the same in any batch."""
_OF_CHANCE = (("training", "seed"), ("dataset", "fold"), ("dataset", "seed"))
_OF_NO_STEP = (("training", "epochs"), ("dataset", "protocol"))


def run_bench_table(
    name: str,
    budget: str,
    *,
    steps: int = 2,
    tflops: float = 0.0,
    log: Log = silent,
) -> dict[str, Any]:
    """Time a step of each network that a table trains, and reckon the whole from that.

    With ``tflops`` nothing is timed: the hours are those of a machine that sustains so many
    operations, and hold as far as it does: small networks keep far below what large ones reach.

    Each epoch is taken to have all clips of the complete data set, those that validate and test
    too, as their own share goes by protocol: the hours are an upper bound, but for the time that
    features take before the first epoch.

    Args:
        name: ``<paper>/<table>``, or the path of its YAML file.
        budget: ``small`` or ``paper``.
        steps: timed steps of each network, after one to warm up.
        tflops: rate of another machine, in 10^12 floating-point operations a second; 0 times
            this one.
        log: takes lines of progress.

    Returns:
        ``hours`` of all runs one after the other, ``runs``, and under ``networks`` what each of
        them comes to; and what it was measured on, or ``tflops``.

    Raises:
        ConfigError: ``tflops`` is negative, there is no such table or budget, the grid or a
            recipe of it is wrong, or a data set has no certain number of clips.
    """
    if not 0 <= tflops < math.inf:
        raise ConfigError(f"tflops is {tflops}: give a rate, or 0 to time this machine")
    grid = load_grid(find_grid(name), budget)
    trainings = in_order(
        grid.training(cell, repeat)
        for cell in grid.cells
        for repeat in cell.repeats
        if cell.trained
    )
    tf.get_logger().setLevel("ERROR")  # each network traces its own step, of which it would warn
    gpus = len(tf.config.list_physical_devices("GPU"))
    alike: dict[str, list[Training]] = {}
    for training in trainings:
        alike.setdefault(_alike(training, *_OF_CHANCE), []).append(training)
    paces: dict[str, float] = {}
    rows = []
    for runs in alike.values():
        step = _alike(runs[0], *_OF_CHANCE, *_OF_NO_STEP)
        if step not in paces:
            paces[step] = _seconds_per_clip(runs[0], 0 if gpus else CLIPS_A_STEP, steps, tflops)
        row = _row(runs, paces[step])
        rows.append(row)
        log(
            f"[{len(rows)}/{len(alike)}] {row['place']}: {1000 * row['clip_s']:.3g} ms a clip, "
            f"{row['runs']} runs of {row['epochs']} epochs: {row['hours']:.1f} h"
        )
    measured = {
        "steps": steps,
        "cores": os.cpu_count(),
        "gpus": gpus,
        "load_average_after": [round(value, 2) for value in os.getloadavg()],
    }
    return {
        "table": grid.name,
        "budget": budget,
        "runs": len(trainings),
        "hours": round(sum(row["hours"] for row in rows), 2),
        "networks": rows,
        **({"tflops": tflops} if tflops else measured),
        **provenance(),
    }


def total_line(result: Mapping[str, Any]) -> str:
    """All hours of a table in one line, and what they were reckoned for.

    Args:
        result: what :func:`run_bench_table` returned.
    """
    hours = result["hours"]
    if "tflops" in result:
        place = f"at {result['tflops']:g} TFLOP/s"
    elif result["gpus"]:
        place = "on this machine, GPU" + (f"s: {result['gpus']}" if result["gpus"] > 1 else "")
    else:
        place = f"on this machine, {result['cores']} cores"
    days = f" ({hours / 24:.1f} days)" if hours >= 48 else ""
    return (
        f"{result['table']} at {result['budget']} budget, in all: {result['runs']} runs, at most "
        f"{hours:.1f} h{days} one after the other {place}"
    )


def _seconds_per_clip(training: Training, clips: int, steps: int, tflops: float) -> float:
    recipe, teacher = training.recipe, training.needs.get("distillation")
    # A teacher that hears other features has answered before the training.
    hears = teacher is not None and teacher.recipe.frontend == recipe.frontend
    taught_by = teacher.recipe if teacher is not None and hears else None
    info = delivered(recipe)
    if tflops:
        return operations_per_clip(recipe, info, teacher=taught_by) / (tflops * 1e12)
    return seconds_per_clip(recipe, info, teacher=taught_by, clips=clips, steps=steps)


def _row(runs: list[Training], clip_s: float) -> dict[str, Any]:
    recipe, info = runs[0].recipe, delivered(runs[0].recipe)
    hours = len(runs) * recipe.training.epochs * info.clips * clip_s / 3600
    return {
        "place": runs[0].place.rpartition("/")[0],
        "dataset": info.name,
        "clips": info.clips,
        "runs": len(runs),
        "epochs": recipe.training.epochs,
        "clip_s": round(clip_s, 9),
        "hours": round(hours, 3),
    }


def delivered(recipe: Recipe) -> DatasetInfo:
    """The data set as a recipe's options have it delivered, which only its files tell otherwise.

    Raises:
        ConfigError: it has no certain number of clips.
    """
    options = recipe.dataset.options
    info = dataset_info(recipe.dataset.name)
    if not info.clips:
        raise ConfigError(f"data set {info.name} has no certain number of clips: time a training")
    named = options.get("classes")
    return dataclasses.replace(
        info,
        sample_rate_hz=options.get("sample_rate_hz", info.sample_rate_hz),
        clip_s=options.get("clip_s", info.clip_s),
        labels=() if named else info.labels,
        class_count=int(named) if named else info.class_count,
    )


def _alike(training: Training, *left_out: tuple[str, str]) -> str:
    """What runs have in common that differ in these keys of these sections at most."""
    values = training.recipe.to_dict()
    for section in LINKS:
        need = training.needs.get(section)
        values[section]["run"] = need and need.recipe.to_dict()["model"]
    for section, key in left_out:
        values[section].pop(key)
    return json.dumps(values, sort_keys=True)
