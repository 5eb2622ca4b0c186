# SPDX-License-Identifier: Apache-2.0
"""Estimated time of a table's trainings, on this machine or at a given rate on another."""

import dataclasses
import functools
import json
import math
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import NotRequired, TypedDict

from m3net_tf.audio.datasets import DatasetInfo, dataset_info
from m3net_tf.lab.many.plan import LINKS, Training, in_order
from m3net_tf.lab.studies.grid_file import load_grid
from m3net_tf.lab.studies.paper_list import hours_path
from m3net_tf.system.artifacts import Provenance, provenance, write_json
from m3net_tf.system.errors import ConfigError
from m3net_tf.system.keras import tf
from m3net_tf.system.progress import Log, silent
from m3net_tf.system.words import counted
from m3net_tf.training.loop.pace import roofline_per_clip, seconds_per_clip
from m3net_tf.training.recipe import Recipe

CLIPS_PER_STEP = 4
"""Clips of a timed step without an accelerator: there the batch size does not change the pace."""
_RANDOM = (("training", "seed"), ("dataset", "fold"), ("dataset", "seed"))
_OUTSIDE_STEP = (("training", "epochs"), ("dataset", "protocol"))


class NetworkTime(TypedDict):
    """Estimated time of the trainings of a network.

    Attributes:
        place: folder of its runs, relative to the folder of all runs.
    """

    place: str
    dataset: str
    clips: int
    runs: int
    epochs: int
    clip_s: float
    hours: float


class TableTime(Provenance):
    """Estimated time of a table's trainings: at a given rate, or on this machine.

    Attributes:
        hours: hours of all trainings one after the other.
        tflops: the given rate; the keys below ``bandwidth`` are absent with it.
        bandwidth: the given rate of the memory; absent without ``tflops``.
    """

    table: str
    scale: str
    runs: int
    hours: float
    networks: list[NetworkTime]
    tflops: NotRequired[float]
    bandwidth: NotRequired[float]
    steps: NotRequired[int]
    cores: NotRequired[int | None]
    gpus: NotRequired[int]


def run_bench_table(
    name: str,
    scale: str,
    *,
    steps: int = 2,
    tflops: float = 0.0,
    bandwidth: float = math.inf,
    clips: Mapping[str, int] | None = None,
    log: Log = silent,
) -> TableTime:
    """Time a step of each network that a table trains, and estimate the total from that.

    With ``tflops`` nothing is timed. Networks of depthwise convolutions do not come near a
    machine's highest rate, because they wait for its memory: give ``bandwidth``, too.

    Each epoch is counted with all clips of the data set, including validation and test clips,
    because their share depends on the protocol. The hours are an upper bound, except that the
    features computed before the first epoch are not counted.

    Args:
        steps: timed steps of each network, after one to warm up.
        tflops: rate of another machine, in 10^12 floating-point operations per second; 0 times
            this one.
        bandwidth: rate of its memory in 10^9 bytes per second, used with ``tflops``.
        clips: clips of smaller copies, by name of the data set; default: the complete ones.

    Raises:
        ConfigError: a rate is negative, ``clips`` names a data set that the table does not use
            or more clips than it has, there is no such table or scale, the grid or one of its
            recipes is wrong, or a data set has no fixed number of clips.
    """
    if not 0 <= tflops < math.inf:
        raise ConfigError(f"tflops is {tflops}: give a rate, or 0 to time this machine")
    if not bandwidth > 0:
        raise ConfigError(f"bandwidth is {bandwidth}: give a rate above 0")
    grid = load_grid(name, scale)
    trainings = in_order(grid.trainings())
    counts = _clip_counts(trainings, clips or {})
    tf.get_logger().setLevel("ERROR")  # it warns that each network traces its own step
    gpus = len(tf.config.list_physical_devices("GPU"))
    timed = 0 if gpus else CLIPS_PER_STEP
    per_clip: Callable[..., float]
    if tflops:
        per_clip = functools.partial(
            roofline_per_clip, flops=tflops * 1e12, bytes_per_s=bandwidth * 1e9
        )
    else:
        per_clip = functools.partial(seconds_per_clip, clips=timed, steps=steps)
    rows = _network_rows(trainings, counts, functools.partial(_with_teachers, per_clip), log)
    result: TableTime = {
        "table": grid.name,
        "scale": scale,
        "runs": len(trainings),
        "hours": round(sum(row["hours"] for row in rows), 2),
        "networks": rows,
        **provenance(),  # type: ignore[typeddict-item]  # the keys follow
    }
    if tflops:
        result["tflops"] = tflops
        if bandwidth < math.inf:
            result["bandwidth"] = bandwidth
        return result
    return {**result, "steps": steps, "cores": os.cpu_count(), "gpus": gpus}


def keep_hours(result: TableTime, out: Path) -> Path:
    """Write the hours beside a table's results, for ``m3net lab list``; returns the file."""
    path = hours_path(out, result["table"], result["scale"])
    write_json(path, result)
    return path


def _clip_counts(trainings: Iterable[Training], given: Mapping[str, int]) -> dict[str, int]:
    """Clips of each data set of the trainings."""
    infos = {training.recipe.dataset.name: delivered(training.recipe) for training in trainings}
    if unknown := [name for name in given if name not in infos]:
        raise ConfigError(f"clips of {unknown[0]} are given, but the table has {', '.join(infos)}")
    for name, count in given.items():
        if type(count) is not int or not 1 <= count <= infos[name].clips:
            raise ConfigError(f"clips of {name} is {count}: give 1 to {infos[name].clips}")
    return {name: given.get(name, info.clips) for name, info in infos.items()}


def _network_rows(
    trainings: Iterable[Training],
    counts: Mapping[str, int],
    measure: Callable[[Training], float],
    log: Log,
) -> list[NetworkTime]:
    """A row per network: trainings that differ in seed and fold only share one.

    Args:
        measure: returns the seconds per clip of a training; called once for equal steps.
    """
    networks: dict[str, list[Training]] = {}
    for training in trainings:
        networks.setdefault(_alike(training, *_RANDOM), []).append(training)
    clip_s: dict[str, float] = {}
    rows = []
    for runs in networks.values():
        step = _alike(runs[0], *_RANDOM, *_OUTSIDE_STEP)
        if step not in clip_s:
            clip_s[step] = measure(runs[0])
        row = _row(runs, counts, clip_s[step])
        rows.append(row)
        log(
            f"[{len(rows)}/{len(networks)}] {row['place']}: {1000 * row['clip_s']:.3g} ms per "
            f"clip, {counted(row['runs'], 'run')} of {counted(row['epochs'], 'epoch')}: "
            f"{row['hours']:.1f} h"
        )
    return rows


def total_line(result: TableTime) -> str:
    """Total hours of a table and the machine they are for, in one line."""
    hours = result["hours"]
    place = f"on this machine, {result.get('cores')} cores, {result.get('gpus')} GPUs"
    if "tflops" in result:
        place = f"at {result['tflops']:g} TFLOP/s and {result.get('bandwidth', math.inf):g} GB/s"
    days = f" ({hours / 24:.1f} days)" if hours >= 48 else ""
    return (
        f"{result['table']} at {result['scale']} scale, in all: "
        f"{counted(result['runs'], 'run')}, at most "
        f"{hours:.1f} h{days} one after the other {place}"
    )


def _with_teachers(per_clip: Callable[..., float], training: Training) -> float:
    """Seconds per clip of a training, with its teachers."""
    recipe = training.recipe
    info = delivered(training.recipe)
    teachers = [need.recipe for need in training.needs.get("distillation", ())]
    if any(teacher.frontend != recipe.frontend for teacher in teachers):
        teachers = []  # they are evaluated before the training
    return per_clip(recipe, info, teachers=teachers)


def _row(runs: list[Training], counts: Mapping[str, int], clip_s: float) -> NetworkTime:
    recipe = runs[0].recipe
    name, epochs = recipe.dataset.name, recipe.training.epochs
    hours = len(runs) * epochs * counts[name] * clip_s / 3600
    return {
        "place": runs[0].place.rpartition("/")[0],
        "dataset": name,
        "clips": counts[name],
        "runs": len(runs),
        "epochs": epochs,
        "clip_s": round(clip_s, 9),
        "hours": round(hours, 3),
    }


def delivered(recipe: Recipe) -> DatasetInfo:
    """Facts of a data set as a recipe's options change them, without its files.

    Raises:
        ConfigError: the data set has no fixed number of clips.
    """
    options = recipe.dataset.options
    info = dataset_info(recipe.dataset.name)
    if not info.clips:
        raise ConfigError(f"data set {info.name} has no fixed number of clips: time a training")
    classes = options.get("classes")
    return dataclasses.replace(
        info,
        sample_rate_hz=options.get("sample_rate_hz", info.sample_rate_hz),
        clip_s=options.get("clip_s", info.clip_s),
        labels=() if classes else info.labels,
        class_count=int(classes) if classes else info.class_count,
    )


def _alike(training: Training, *ignored: tuple[str, str]) -> str:
    """Key of trainings that are equal except in the given (section, key) pairs."""
    values = training.recipe.to_dict()
    for section in LINKS:
        needs = training.needs.get(section, ())
        values[section]["run"] = [need.recipe.to_dict()["model"] for need in needs]
        values[section].pop("ensemble", None)
    for section, key in ignored:
        values[section].pop(key)
    return json.dumps(values, sort_keys=True)
