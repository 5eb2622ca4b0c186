# SPDX-License-Identifier: Apache-2.0
"""The teachers of a wake word: networks with other seeds, whose mean the final network learns.

On real voices networks that differ by their seeds alone miss different takes. The mean of their
probabilities misses less than a third of what one of them does (docs/evidence/wake_word.md), and a
network that learns it costs no more than one.
"""

import dataclasses
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from m3net_tf.system.errors import M3NetError
from m3net_tf.system.extras import is_installed
from m3net_tf.system.progress import Log, track
from m3net_tf.system.threads import WORKERS
from m3net_tf.training import Recipe, Run, train
from m3net_tf.training.cluster.pools import Lost, PoolOptions, open_pool
from m3net_tf.training.cluster.worker import Order
from m3net_tf.training.recipe.sections import DistillationSection
from m3net_tf.training.run.history import epoch_scores

TEACHERS = "teachers"
"""Folder of their runs, beside the run that they teach."""
_COUNT = 4
_EPOCHS = 0.8  # of a teacher, as a share of the final network's
_POLL_S = 2.0


def teaching(folder: Path) -> dict[str, Any]:
    """The section ``distillation`` of a recipe whose teachers are below a folder."""
    runs = [str(folder.resolve() / TEACHERS / str(number + 1)) for number in range(_COUNT)]
    return {"run": runs[0], "ensemble": runs[1:], "weight": 1.0, "temperature": 3.0}


def untaught(recipe: Recipe, share: float, seed: int) -> Recipe:
    """The recipe without teachers, for a share of its epochs."""
    epochs = math.ceil(share * recipe.training.epochs)
    training = dataclasses.replace(recipe.training, epochs=epochs, seed=seed)
    return dataclasses.replace(recipe, training=training, distillation=DistillationSection())


def train_teachers(
    recipe: Recipe, run: Run, sounds: Path, *, jobs: int | None = None, log: Log
) -> None:
    """Train the teachers that a run's recipe names: by the same recipe, with seeds of their own.

    A teacher that is trained stays. A finished run does not need them.

    Args:
        jobs: teachers that are trained at once; more than one needs Ray. By default as many as
            there are processor cores, where Ray is installed.

    Raises:
        ConfigError: a teacher was trained by another recipe.
        DataError: Ray is not installed, or does not start.
        M3NetError: an error of the training.
    """
    if run.finished:
        return
    alone = {
        Path(teacher): untaught(recipe, _EPOCHS, recipe.training.seed + number)
        for number, teacher in enumerate(recipe.distillation.runs, 1)
    }
    waiting = {teacher: each for teacher, each in alone.items() if not Run(teacher).finished}
    at_once = min(jobs or (WORKERS if is_installed("ray") else 1), len(waiting))
    if at_once > 1:
        _train_at_once(waiting, sounds, at_once, log)
    for number, (teacher, each) in enumerate(alone.items(), 1):
        if not Run(teacher).finished:
            log(f"teacher {number} of {len(alone)}")
        train(each, teacher, sounds, log)  # of a finished one it compares the recipe


def _train_at_once(teachers: Mapping[Path, Recipe], sounds: Path, jobs: int, log: Log) -> None:
    """Train teachers in processes of Ray; their lines go to ``train.log`` in their folders."""
    epochs = sum(recipe.training.epochs for recipe in teachers.values())
    log(f"{len(teachers)} teachers, {jobs} at once")
    with (
        open_pool(PoolOptions(jobs=jobs)) as pool,
        track(log, "teachers", epochs, "epochs", done=_trained_epochs(teachers)) as task,
    ):
        running = {
            pool.start(Order(recipe, folder.resolve(), sounds.resolve())): folder
            for folder, recipe in teachers.items()
        }
        while running:
            for handle, report in pool.wait(_POLL_S):
                folder = running.pop(handle)
                if isinstance(report, Lost):
                    raise M3NetError(
                        f"{folder}: its process was lost ({report.reason}): the same command "
                        "continues after its last epoch; --jobs 1 takes less memory"
                    )
                if report.error:
                    raise M3NetError(f"{folder}: {report.error}")
            if (done := _trained_epochs(teachers)) > task.done:
                task.reach(done)


def _trained_epochs(folders: Iterable[Path]) -> int:
    return sum(len(epoch_scores(folder)) for folder in folders)
