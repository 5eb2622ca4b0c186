# SPDX-License-Identifier: Apache-2.0
"""State of a training: all that is needed to resume it."""

from __future__ import annotations

import dataclasses
import io
import json
import math
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from m3net_tf.artifacts import write_bytes
from m3net_tf.errors import ModelError
from m3net_tf.keras import keras, tf
from m3net_tf.keras_internals import loss_scale_variables
from m3net_tf.training.schedules import make_optimizer
from m3net_tf.training.sections import TrainingSection

_SCORES = ("validation_accuracy", "validation_map")


def score_of(row: dict[str, float]) -> float:
    """The figure of an epoch by which epochs are compared: accuracy or mAP."""
    return next(row[key] for key in _SCORES if key in row)


def answer_of(model: keras.Model) -> keras.Model:
    """A network without early exits, which only teach; it shares the weights."""
    if len(model.outputs) == 1:
        return model
    return keras.Model(model.input, model.outputs[0], name=model.name)


class TrainingState:
    """Weights, optimiser, best weights, history.

    Attributes:
        model: the network in training.
        answer: the same without early exits.
        optimizer: its optimiser.
        average: moving average of its weights; empty without averaging.
        steps_per_epoch: optimiser steps in an epoch.
        history: figures of each epoch done.
        kept: weights of the epoch that is kept, the averaged ones where there are any.
        plateau_factor: what the learning rate is multiplied by under ``plateau``.
    """

    def __init__(self, model: keras.Model, settings: TrainingSection, clips: int) -> None:
        self.model = model
        self.answer = answer_of(model)
        self.settings = settings
        self.steps_per_epoch = max(1, clips // settings.batch_size)
        self.optimizer = make_optimizer(model, settings)
        self.average = (
            [tf.Variable(weight, trainable=False) for weight in model.weights]
            if settings.weight_average
            else []
        )
        self.history: list[dict[str, float]] = []
        self.kept: list[npt.NDArray[Any]] = []
        self.plateau_factor = 1.0
        self.plateau_best = math.inf
        self.plateau_epochs = 0

    _FIGURES = ("history", "plateau_factor", "plateau_best", "plateau_epochs")

    @property
    def epoch(self) -> int:
        """Epochs done."""
        return len(self.history)

    @property
    def best_epoch(self) -> int:
        """Number of the best epoch, from 1: highest figure, of equal ones the lowest loss."""
        best, highest, lowest = 0, -1.0, math.inf
        for number, row in enumerate(self.history, start=1):
            if (score_of(row), -row["validation_loss"]) > (highest, -lowest):
                best, highest, lowest = number, score_of(row), row["validation_loss"]
        return best

    @property
    def kept_epoch(self) -> int:
        """Number of the epoch that is kept so far, from 1."""
        return self.epoch if self.settings.keep == "last" else self.best_epoch

    @property
    def best_score(self) -> float:
        """Figure of the best epoch."""
        return score_of(self.history[self.best_epoch - 1])

    @property
    def ended(self) -> bool:
        """Whether all epochs are done, or too many since the best one."""
        patience = self.settings.early_stopping
        waited = self.epoch - self.best_epoch
        return self.epoch >= self.settings.epochs or bool(patience and waited >= patience)

    def averaged(self) -> Averaged:
        """Context in which the model holds the averaged weights, where there are any."""
        return Averaged(self)

    def close_epoch(self, row: dict[str, float]) -> None:
        """Note an epoch's figures; keep its weights if they are the best so far, or the last."""
        self.history.append(row)
        if self.kept_epoch == self.epoch:
            self.kept = self.model.get_weights()
        if self.settings.schedule == "plateau":
            self.plateau_epochs += 1
            if row["validation_loss"] < self.plateau_best:
                self.plateau_best, self.plateau_epochs = row["validation_loss"], 0
            elif self.plateau_epochs >= self.settings.plateau_patience:
                self.plateau_factor, self.plateau_epochs = self.plateau_factor / 2, 0

    def use_kept(self) -> None:
        """Give the model the weights of the epoch that is kept."""
        self.model.set_weights(self.kept)

    def _arrays(self) -> dict[str, list[tf.Variable]]:
        return {
            "weight": self.model.weights,
            "optimizer": self.optimizer.variables,
            "average": self.average,
            "scale": loss_scale_variables(self.optimizer),
        }

    def save(self, path: Path) -> None:
        """Write the state, whole or not at all."""
        arrays = {
            f"{kind}_{index}": variable.numpy()
            for kind, variables in self._arrays().items()
            for index, variable in enumerate(variables)
        }
        arrays |= {f"best_{index}": value for index, value in enumerate(self.kept)}
        arrays["figures"] = np.array(json.dumps({key: getattr(self, key) for key in self._FIGURES}))
        buffer = io.BytesIO()
        np.savez(buffer, **arrays)
        write_bytes(path, buffer.getvalue())

    def load(self, path: Path) -> None:
        """Go on from a saved state.

        Raises:
            ModelError: the file is damaged.
        """
        try:
            with np.load(io.BytesIO(path.read_bytes())) as arrays:
                figures = json.loads(str(arrays["figures"]))
                for key in self._FIGURES:
                    setattr(self, key, figures[key])
                for kind, variables in self._arrays().items():
                    for index, variable in enumerate(variables):
                        variable.assign(arrays[f"{kind}_{index}"])
                self.kept = [arrays[f"best_{i}"] for i in range(len(self.model.weights))]
        except (ValueError, KeyError, OSError, EOFError, zipfile.BadZipFile) as error:
            raise ModelError(
                f"{path} is damaged ({type(error).__name__}): delete it to train from the start"
            ) from None


@dataclasses.dataclass
class Averaged:
    """Context in which the model holds the averaged weights, where there are any."""

    state: TrainingState

    def __enter__(self) -> None:
        if self.state.average:
            self.kept = self.state.model.get_weights()
            self.state.model.set_weights([mean.numpy() for mean in self.state.average])

    def __exit__(self, *_: object) -> None:
        if self.state.average:
            self.state.model.set_weights(self.kept)
