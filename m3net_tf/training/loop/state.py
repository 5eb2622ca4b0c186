# SPDX-License-Identifier: Apache-2.0
"""State of a training, sufficient to resume it."""

import io
import json
import math
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NotRequired, TypedDict

import numpy as np
import numpy.typing as npt

from m3net_tf.networks.models.interface import without_early_exits
from m3net_tf.runtime.metadata import stored_archive
from m3net_tf.system.artifacts import opened_archive, parse_json, read_file, write_bytes
from m3net_tf.system.errors import DAMAGED, ModelError
from m3net_tf.system.keras import keras, tf
from m3net_tf.system.keras_internals import loss_scale_variables
from m3net_tf.system.processor import UNKNOWN, Computer, machine
from m3net_tf.system.progress import Log
from m3net_tf.training.loop.distribution import current_share
from m3net_tf.training.recipe.sections import TrainingSection

_MOST_BYTES = 4 << 30
_SCORES = ("validation_accuracy", "validation_map")
_NEVER_DECAYED = ("bias", "gamma", "beta")  # attention's biases are matrices


class _Figures(TypedDict):
    """What a state has besides arrays."""

    history: list[dict[str, float]]
    plateau_factor: float
    plateau_best: float
    plateau_epochs: int
    devices: NotRequired[int]


def score_of(row: dict[str, float]) -> float:
    """The validation score of an epoch: accuracy or mAP."""
    return next(row[key] for key in _SCORES if key in row)


class TrainingState:
    """Weights, optimiser, best weights, history.

    Attributes:
        model: what is trained.
        network: the same without layers that are only trained, such as one that imitates a teacher.
        average: moving average of the weights; empty without averaging.
        kept: weights of the kept epoch, averaged if averaging is on.
        computers: the computers that have trained it, one after the other. Of several workers of a
            training it is the first worker's.
    """

    def __init__(
        self,
        model: keras.Model,
        settings: TrainingSection,
        clips: int,
        network: keras.Model | None = None,
    ) -> None:
        self.model = model
        self.network = network or model
        self.inference_model = without_early_exits(self.network)
        self.settings = settings
        self.steps_per_epoch = max(1, clips // settings.step_clips)
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
        self.devices = 1
        self.computers: list[Computer] = []
        self._fell_back = False  # a damaged newest state must not replace the one before it

    _FIGURES = ("history", "plateau_factor", "plateau_best", "plateau_epochs")

    @property
    def epoch(self) -> int:
        """Number of completed epochs."""
        return len(self.history)

    @property
    def best_epoch(self) -> int:
        """Number of the best epoch, from 1: highest score, then lowest loss."""
        best, highest, lowest = 0, -1.0, math.inf
        for number, row in enumerate(self.history, start=1):
            if (score_of(row), -row["validation_loss"]) > (highest, -lowest):
                best = number
                highest = score_of(row)
                lowest = row["validation_loss"]
        return best

    @property
    def kept_epoch(self) -> int:
        """Number of the epoch kept so far, from 1."""
        return self.epoch if self.settings.keep == "last" else self.best_epoch

    @property
    def best_score(self) -> float:
        """Score of the best epoch."""
        return score_of(self.history[self.best_epoch - 1])

    @property
    def last_score(self) -> float:
        """Score of the last epoch."""
        return score_of(self.history[-1])

    @property
    def ended(self) -> bool:
        """Whether all epochs are completed, or early stopping applies."""
        patience = self.settings.early_stopping
        waited = self.epoch - self.best_epoch
        return self.epoch >= self.settings.epochs or bool(patience and waited >= patience)

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Context in which the model has the averaged weights, if averaging is on."""
        own = self.model.get_weights() if self.average else None
        if own is not None:
            self.model.set_weights([mean.numpy() for mean in self.average])
        yield
        if own is not None:
            self.model.set_weights(own)

    def average_weights(self, done: tf.Tensor) -> None:
        """Update the moving average of the weights, if there is one, after ``done + 1`` steps."""
        if self.average:
            # A smaller decay at first, so that the mean does not retain the random initial weights.
            decay = tf.minimum(self.settings.weight_average, (1.0 + done) / (10.0 + done))
            for mean, weight in zip(self.average, self.model.weights, strict=True):
                mean.assign(decay * mean + (1.0 - decay) * weight)

    def restart_average(self) -> None:
        """Let the moving average begin at the present weights."""
        if self.average:
            for mean, weight in zip(self.average, self.model.weights, strict=True):
                mean.assign(weight)

    def close_epoch(self, row: dict[str, float]) -> None:
        """Record an epoch's figures; keep its weights if they are the best so far, or the last."""
        self.history.append(row)
        self.devices = current_share().replicas
        if (computer := machine()) not in self.computers:
            self.computers.append(computer)
        if self.kept_epoch == self.epoch:
            self.kept = self.model.get_weights()
        if self.settings.schedule == "plateau":
            self.plateau_epochs += 1
            if row["validation_loss"] < self.plateau_best:
                self.plateau_best, self.plateau_epochs = row["validation_loss"], 0
            elif self.plateau_epochs >= self.settings.plateau_patience:
                self.plateau_factor, self.plateau_epochs = self.plateau_factor / 2, 0

    def _arrays(self) -> dict[str, list[tf.Variable]]:
        return {
            "weight": self.model.weights,
            "optimizer": self.optimizer.variables,
            "average": self.average,
            "scale": loss_scale_variables(self.optimizer),
        }

    def save(self, path: Path, previous: Path | None = None) -> None:
        """Write the state atomically; of several workers all must call it, and the first writes.

        Args:
            previous: path that the file's earlier content gets.
        """
        arrays = {
            f"{kind}_{index}": variable.numpy()
            for kind, variables in self._arrays().items()
            for index, variable in enumerate(variables)
        }
        arrays |= {f"best_{index}": value for index, value in enumerate(self.kept)}
        if not current_share().writes:
            return
        figures = {key: getattr(self, key) for key in (*self._FIGURES, "devices", "computers")}
        arrays["figures"] = np.array(json.dumps(figures))
        # np.savez takes dates from the clock, and fails if that is before 1980.
        files = {f"{name}.npy": _npy_bytes(array) for name, array in arrays.items()}
        write_bytes(path, stored_archive(files), None if self._fell_back else previous)
        self._fell_back = False

    def resume(self, path: Path, previous: Path, log: Log) -> None:
        """Load the newest state that is not damaged, if there is any.

        Args:
            path: the newest state.
            previous: the state one epoch earlier.

        Raises:
            ModelError: none can be loaded.
        """
        saved = [file for file in (path, previous) if file.exists()]
        for file in saved:
            try:
                self.load(file)
            except ModelError:
                if len(saved) == 1:
                    raise
                self._fell_back = True
            else:
                if file != saved[0]:
                    log(f"{path} is damaged: using {previous.name}, which is one epoch older")
                log(f"resuming after epoch {self.epoch}")
                return
        if saved:
            raise ModelError(
                f"{path} and {previous.name} are damaged: delete both to train from the start"
            )

    def load(self, path: Path) -> None:
        """Load a saved state.

        Raises:
            ModelError: the file is damaged.
        """
        try:
            content = read_file(path, _MOST_BYTES)
            _require_arrays(content)
            with np.load(io.BytesIO(content)) as arrays:
                figures = parse_json(str(arrays["figures"]), _Figures, finite=False)
                for key in self._FIGURES:
                    setattr(self, key, figures[key])
                self.devices = figures.get("devices", 1)
                self.computers = figures.get("computers", [UNKNOWN])
                for kind, variables in self._arrays().items():
                    for index, variable in enumerate(variables):
                        variable.assign(_of_form(arrays[f"{kind}_{index}"], variable))
                self.kept = [
                    _of_form(arrays[f"best_{index}"], weight)
                    for index, weight in enumerate(self.model.weights)
                ]
        except DAMAGED as error:
            raise ModelError(
                f"{path} is damaged ({type(error).__name__}): delete it to train from the start"
            ) from None


def _of_form(array: npt.NDArray[Any], variable: tf.Variable) -> npt.NDArray[Any]:
    """An array, if the variable takes it as it is."""
    if array.shape != tuple(variable.shape) or array.dtype != variable.dtype.as_numpy_dtype:
        raise ValueError("another shape or type than the network's")
    return array


def _npy_bytes(array: npt.NDArray[Any]) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def _require_arrays(content: bytes) -> None:
    """Check the headers of all arrays before NumPy allocates what they promise."""
    if content[:2] != b"PK":
        raise ValueError("no archive")
    with opened_archive(content) as archive:
        for entry in archive.infolist():
            with archive.open(entry) as file:
                if np.lib.format.read_magic(file) != (1, 0):
                    raise ValueError("another version of the format")
                shape, _, dtype = np.lib.format.read_array_header_1_0(file)
            wrong_kind = dtype.kind not in ("U" if entry.filename == "figures.npy" else "biuf")
            size = entry.file_size if entry.compress_type == zipfile.ZIP_STORED else 0
            if wrong_kind or math.prod(shape) * dtype.itemsize > min(size, len(content)):
                raise ValueError("another size or type than its header promises")


def make_optimizer(model: keras.Model, settings: TrainingSection) -> keras.optimizers.Optimizer:
    """The optimiser of a network's trainable weights, with all its variables created."""
    if settings.optimizer == "adam":
        optimizer = keras.optimizers.Adam(settings.learning_rate)
    elif settings.optimizer == "adamw":
        optimizer = keras.optimizers.AdamW(
            settings.learning_rate, weight_decay=settings.weight_decay
        )
    else:
        optimizer = keras.optimizers.SGD(
            settings.learning_rate,
            momentum=settings.momentum,
            weight_decay=settings.weight_decay or None,
        )
    weights = model.trainable_variables
    if settings.weight_decay:
        optimizer.exclude_from_weight_decay([weight for weight in weights if not _decays(weight)])
    if settings.mixed_precision:
        optimizer = keras.mixed_precision.LossScaleOptimizer(optimizer)
    optimizer.build(weights)
    return optimizer


def _decays(weight: tf.Variable) -> bool:
    name = weight.name.rsplit("/", 1)[-1]
    return weight.shape.rank > 1 and not any(word in name for word in _NEVER_DECAYED)
