# SPDX-License-Identifier: Apache-2.0
"""How far many runs are: finished, in work, the best one so far, the time left."""

from __future__ import annotations

import csv
import dataclasses
import math
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from m3net_tf.lab.many.plan import Training

SCORES = ("accuracy", "mean_average_precision")
"""Figures by which a run is judged, in ``metrics.json``."""
_HISTORY_SCORES = ("validation_accuracy", "validation_map")


class Progress(NamedTuple):
    """Progress of a run in work.

    Attributes:
        place: its folder, relative to the folder of all runs.
        epoch: epochs trained.
        resumed_at: epochs trained before this call.
        epochs: epochs in total.
        score: the newest validation score, as a share; None before the first epoch.
        seconds: time since its start.
    """

    place: str
    epoch: int
    resumed_at: int
    epochs: int
    score: float | None
    seconds: float


@dataclasses.dataclass
class _InWork:
    training: Training
    folder: Path
    since_s: float
    first_epoch: int


class Standing:
    """Progress of the runs of one call; one thread changes it, others may read it.

    Args:
        trainings: the runs to train.
    """

    def __init__(self, trainings: Iterable[Training]) -> None:
        self.epochs_left = {run.key: run.recipe.training.epochs for run in trainings}
        self.total = len(self.epochs_left)
        self.finished = 0
        self.failed = 0
        self.best: tuple[float, str] | None = None
        self._in_work: dict[str, _InWork] = {}
        self._epochs_done = 0
        self._start_s = time.monotonic()

    def start(self, training: Training, folder: Path) -> None:
        """A run is in work from now on."""
        first = last_epoch(folder)[0]
        self._in_work[training.key] = _InWork(training, folder, time.monotonic(), first)

    def pause(self, training: Training) -> None:
        """A run was lost and waits for a new attempt."""
        self._in_work.pop(training.key, None)

    def end(self, training: Training, score: float | None) -> None:
        """A run has ended; ``score`` is its validation score as a share, None if it failed."""
        run = self._in_work.pop(training.key, None)
        epochs = self.epochs_left.pop(training.key)
        if score is None:
            self.failed += 1
            return
        self.finished += 1
        self._epochs_done += epochs - (run.first_epoch if run else 0)
        if math.isfinite(score) and (self.best is None or score > self.best[0]):
            self.best = score, training.place

    def in_work(self) -> list[Progress]:
        """The runs in work, the longest first."""
        rows = []
        for run in list(self._in_work.values()):
            epoch, score = last_epoch(run.folder)
            seconds = time.monotonic() - run.since_s
            epochs = run.training.recipe.training.epochs
            place, first = run.training.place, run.first_epoch
            rows.append(Progress(place, epoch, first, epochs, score, seconds))
        return sorted(rows, key=lambda row: -row.seconds)

    def left_s(self, in_work: Iterable[Progress]) -> float | None:
        """Estimated seconds until the end, at the epochs per second so far; None at the start.

        Args:
            in_work: the runs in work, from :meth:`in_work`, which reads their files.
        """
        trained = sum(run.epoch - run.resumed_at for run in in_work)
        done = self._epochs_done + max(0, trained)
        if not done:
            return None
        left = sum(list(self.epochs_left.values())) - max(0, trained)
        return max(0, left) * (time.monotonic() - self._start_s) / done

    def line(self, in_work: Sequence[Progress]) -> str:
        """The standing in one line.

        Args:
            in_work: the runs in work, from :meth:`in_work`.
        """
        parts = [f"{self.finished + self.failed} of {self.total} runs done"]
        if self.failed:
            parts.append(f"{self.failed} failed")
        parts.append(f"{len(in_work)} in work")
        if self.best:
            parts.append(f"best validation {100 * self.best[0]:.2f} %")
        if (left := self.left_s(in_work)) is not None:
            parts.append(f"{duration(left)} left")
        return ", ".join(parts)


def last_epoch(folder: Path) -> tuple[int, float | None]:
    """Epochs that a run has trained and its newest validation score, from ``history.csv``."""
    try:
        row = _history(folder)[-1]
        return int(float(row["epoch"])), _score(row)
    except (OSError, IndexError, KeyError, ValueError):
        return 0, None


def epoch_scores(folder: Path) -> list[float]:
    """Validation score of each epoch that a run has trained, from ``history.csv``; [] without."""
    try:
        scores = [_score(row) for row in _history(folder)]
    except (OSError, ValueError):
        return []
    known = [score for score in scores if score is not None]
    return known if len(known) == len(scores) else []


def _history(folder: Path) -> list[dict[str, str]]:
    with (folder / "history.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def _score(row: dict[str, str]) -> float | None:
    return next((float(row[key]) for key in _HISTORY_SCORES if row.get(key)), None)


def duration(seconds: float) -> str:
    """Such as ``40 s``, ``12 min`` or ``3 h 20 min``."""
    if seconds < 99.5:
        return f"{seconds:.0f} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"
