# SPDX-License-Identifier: Apache-2.0
"""Makes a body: sounds, lessons, first weights, distillation, results."""

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from m3net_tf.audio.datasets.networks import find_teacher
from m3net_tf.audio.frontend import frontend_preset
from m3net_tf.lab.bodies.distillation import distil
from m3net_tf.lab.bodies.lessons import make_lessons
from m3net_tf.lab.bodies.pruning import is_narrower, start_narrower
from m3net_tf.lab.bodies.results import DATASET, PROTOCOL, HeldOut, Material, write_body
from m3net_tf.lab.bodies.sounds import PATCH_SAMPLES, Source, Sources, read_sources
from m3net_tf.lab.bodies.yamnet import FRONTEND, Teacher, class_names, read_teacher
from m3net_tf.networks.models import build_model, presets_of
from m3net_tf.system.artifacts import read_json, write_json
from m3net_tf.system.errors import ConfigError
from m3net_tf.system.keras import keras
from m3net_tf.system.locks import writes_into
from m3net_tf.system.progress import Log, silent
from m3net_tf.training.loop.distribution import devices_in_use
from m3net_tf.training.recipe import Recipe, load_recipe
from m3net_tf.training.recipe.recipe import save_recipe
from m3net_tf.training.run import Run
from m3net_tf.training.run.metrics import RunMetrics

_NETWORK = "mobilenet"
_BATCH = 64
_WARM_UP_STEPS = 200
_HELD_OUT_PATCHES = 4096
_CHOICE_PATCHES = 384


@dataclasses.dataclass(frozen=True)
class Settings:
    """What a body depends on, besides its sounds.

    Attributes:
        preset: preset of MobileNet.
        teacher: YAMNet's ``.tflite``, or ``yamnet`` after ``m3net data fetch yamnet``.
        patches: mixtures that it learns from.
        steps: optimiser steps, rounded up to whole passes over the mixtures.
        threads: threads of each operation, which determine how sums are rounded.
    """

    preset: str
    teacher: str = "yamnet"
    patches: int = 65_536
    steps: int = 30_000
    seed: int = 0
    threads: int = 1


def body_recipe(settings: Settings) -> Recipe:
    """The recipe of a body.

    Raises:
        ConfigError: an unknown preset, one of another front end, or fewer patches than a batch.
    """
    presets = presets_of(_NETWORK)
    if settings.preset not in presets:
        raise ConfigError(f"{settings.preset} is not a body: choose one of {', '.join(presets)}")
    if settings.patches < _BATCH:
        raise ConfigError(f"--patches is {settings.patches}: give {_BATCH} or more")
    frames = presets[settings.preset].input_shape[1]
    hop_ms = _every(frames) * 1000 * FRONTEND.hop_samples / FRONTEND.sample_rate_hz
    steps_per_epoch = settings.patches // _BATCH
    values: dict[str, Any] = {
        "dataset": {
            "name": DATASET,
            "protocol": PROTOCOL,
            "seed": settings.seed,
            "options": {"patches": settings.patches},
        },
        "model": {"name": _NETWORK, "preset": settings.preset},
        "frontend": frontend_preset("yamnet", hop_ms=hop_ms).to_dict(),
        "training": {
            "epochs": math.ceil(settings.steps / steps_per_epoch),
            "batch_size": _BATCH,
            "learning_rate": 2e-3,
            "learning_rate_floor": 1e-5,
            "warm_up_epochs": min(0.5, _WARM_UP_STEPS / steps_per_epoch),
            "gradient_norm": 2.0,
            "label_smoothing": 0.0,
            "loss": "binary_cross_entropy",
            "weight_average": 0.998,
            "keep": "last",
            "seed": settings.seed,
            "threads": settings.threads,
        },
        "distillation": {"teacher": settings.teacher, "weight": 1.0},
    }
    return Recipe.from_dict(values)


@writes_into("folder", makes=True)
def make_body(
    settings: Settings, folders: Sequence[Path], folder: Path, log: Log = silent
) -> RunMetrics:
    """Make a body from unlabelled sound, or resume an interrupted one.

    The same sounds, settings and environment give the same network, however often it was
    interrupted.

    Args:
        folders: sounds, as :func:`.sounds.read_sources` reads them.
        folder: the run's folder.

    Raises:
        ConfigError: a setting is not possible, or the folder has a run of other settings or sounds.
        DataError: a folder of sounds is missing, or there are too few sources.
        ModelError: the teacher's file has other layers, or a saved state is damaged.
        InUseError: another process writes into the folder.
    """
    recipe = body_recipe(settings)
    run = Run(folder)
    if run.recipe_path.exists() and load_recipe(run.recipe_path) != recipe:
        raise ConfigError(f"{folder} has a run of other settings: choose another --out")
    if run.finished:
        log(f"{folder} is already finished")
        return run.metrics()
    teacher = read_teacher(find_teacher(settings.teacher))
    with devices_in_use(recipe.training, 1):
        sources = read_sources(folders, settings.seed, log)
        _require_same_sounds(sources, folder)
        return _make(settings, recipe, teacher, sources, run, log)


def _require_same_sounds(sources: Sources, folder: Path) -> None:
    """Refuse to continue with other sounds; the run keeps the hash of each source."""
    path = folder / "sounds.json"
    found = {
        split: {source.name: source.sha256 for source in part}
        for split, part in sources.splits.items()
    }
    if path.exists() and read_json(path) != found:
        raise ConfigError(f"{folder} has a run of other --sounds: choose another --out")
    write_json(path, found)


def _make(
    settings: Settings, recipe: Recipe, teacher: Teacher, sources: Sources, run: Run, log: Log
) -> RunMetrics:
    keras.utils.set_random_seed(settings.seed)
    student = build_body(settings.preset)
    every = _every(student.input_shape[2])
    seed = settings.seed
    parts = sources.splits
    lessons = make_lessons(parts["train"], settings.patches, teacher, every, seed, log)
    maps = lessons.maps_of(slice(0, max(_CHOICE_PATCHES, recipe.quantization.calibration_clips)))
    if not run.state_path.exists():
        if is_narrower(student, teacher):
            start_narrower(student, teacher, maps[:_CHOICE_PATCHES], seed, log)
        else:
            log(f"{settings.preset} is not a narrower copy of the teacher: random weights")
    save_recipe(recipe, run.recipe_path)
    state = distil(student, recipe.training, lessons, run, log)
    count = min(settings.patches, _HELD_OUT_PATCHES)
    validation = held_out(parts["validation"], count, teacher, every, seed + 1, log)
    test = held_out(parts["test"], count, teacher, every, seed + 2, log)
    material = Material(
        teacher=teacher.facts,
        sources=tuple(source.name for source in parts["train"]),
        maps=maps,
        validation=validation,
        test=test,
    )
    seconds = sum(row["seconds"] for row in state.history)
    return write_body(
        run,
        recipe,
        student,
        material,
        {
            "epochs": state.epoch,
            "training_s": round(seconds, 1),
            "computers": state.computers,
        },
        log,
    )


def held_out(
    sources: Sequence[Source], count: int, teacher: Teacher, every: int, seed: int, log: Log
) -> HeldOut:
    """Mixtures of sources that did not train, with the teacher's answers.

    Args:
        count: number of mixtures.
        every: the body sees one of so many of the teacher's frames.
    """
    lessons = make_lessons(sources, count, teacher, every, seed, log)
    everything = slice(None)
    names = tuple(source.name for source in sources)
    return HeldOut(lessons.maps_of(everything), lessons.answers_of(everything)[1], names)


def build_body(preset: str) -> keras.Model:
    """The untrained network of a body, with a sigmoid for each of the teacher's classes."""
    return build_model(_NETWORK, preset, classes=len(class_names()), head="sigmoid")


def _every(frames: int) -> int:
    """How many of the teacher's frames a frame of a body stands for."""
    return max(1, round(FRONTEND.frame_count(PATCH_SAMPLES) / frames))
