# SPDX-License-Identifier: Apache-2.0
"""The teachers of a wake word: networks with other seeds, whose mean the final network learns.

On real voices networks that differ by their seeds alone miss different takes. The mean of their
probabilities misses less than a third of what one of them does (docs/evidence/wake_word.md), and a
network that learns it costs no more than one.
"""

import dataclasses
import math
from pathlib import Path
from typing import Any

from m3net_tf.system.progress import Log
from m3net_tf.training import Recipe, Run, train
from m3net_tf.training.recipe.sections import DistillationSection

TEACHERS = "teachers"
"""Folder of their runs, beside the run that they teach."""
_COUNT = 4
_EPOCHS = 0.8  # of a teacher, as a share of the final network's


def teaching(folder: Path) -> dict[str, Any]:
    """The section ``distillation`` of a recipe whose teachers are below a folder."""
    runs = [str(folder.resolve() / TEACHERS / str(number + 1)) for number in range(_COUNT)]
    return {"run": runs[0], "ensemble": runs[1:], "weight": 1.0, "temperature": 3.0}


def untaught(recipe: Recipe, share: float, seed: int) -> Recipe:
    """The recipe without teachers, for a share of its epochs."""
    epochs = math.ceil(share * recipe.training.epochs)
    training = dataclasses.replace(recipe.training, epochs=epochs, seed=seed)
    return dataclasses.replace(recipe, training=training, distillation=DistillationSection())


def train_teachers(recipe: Recipe, run: Run, sounds: Path, log: Log) -> None:
    """Train the teachers that a run's recipe names: by the same recipe, with seeds of their own.

    A teacher that is trained stays. A finished run does not need them.

    Raises:
        ConfigError: a teacher was trained by another recipe.
        M3NetError: an error of the training.
    """
    if run.finished:
        return
    for number, teacher in enumerate(recipe.distillation.runs, 1):
        log(f"teacher {number} of {len(recipe.distillation.runs)}")
        alone = untaught(recipe, _EPOCHS, recipe.training.seed + number)
        train(alone, Path(teacher), sounds, log)
