# SPDX-License-Identifier: Apache-2.0
"""Stops trainings after an epoch: hopeless ones, and all after the last epoch."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from m3net_tf.lab.search.front import Point, goes_on, rungs_of
from m3net_tf.lab.search.trials import TrialFolder
from m3net_tf.training.loop.stopping import TrainingStoppedError


@dataclasses.dataclass(frozen=True)
class Halving:
    """Called after each epoch of a trial, in its worker; the other trials' files decide.

    After the last epoch it stops the training too, so that the test clips are not evaluated.

    Attributes:
        root: folder of the search, which all workers see.
        epochs: epochs of a whole training.
    """

    root: Path
    number: int
    epochs: int

    def __call__(self, history: Sequence[dict[str, float]], ended: bool) -> None:
        """Stop the training if it has ended or lost at a rung.

        Raises:
            TrainingStoppedError: it stops.
        """
        if ended:
            raise TrainingStoppedError("all epochs are trained")
        epoch = len(history)
        if epoch not in rungs_of(self.epochs) or self.number == 0:
            return
        points = self._points(epoch)
        own = points.pop(self.number, None)
        if own is not None and not goes_on(own, list(points.values())):
            raise TrainingStoppedError(
                f"stopped after epoch {epoch}: others are better at its cost"
            )

    def _points(self, epoch: int) -> dict[int, Point]:
        """The trials that have reached an epoch, with their accuracies up to it."""
        folder = TrialFolder(self.root)
        points = {}
        for trial in folder.read():
            scores = list(trial.scores or folder.scores(trial.number))[:epoch]
            if len(scores) == epoch:
                point = dataclasses.replace(trial, accuracy=max(scores)).point
                if point is not None:
                    points[trial.number] = point
        return points
