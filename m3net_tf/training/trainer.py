# SPDX-License-Identifier: Apache-2.0
"""The training loop: seeded, resumable after every epoch, best epoch chosen by validation."""

from __future__ import annotations

import dataclasses
import io
import json
import math
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from m3net_tf.artifacts import provenance, write_bytes, write_json, write_text
from m3net_tf.datasets import AudioDataset
from m3net_tf.errors import ConfigError, DataError, ModelError
from m3net_tf.frontend import dequantize_features
from m3net_tf.keras import keras, tf
from m3net_tf.models import build_model
from m3net_tf.models.complexity import count_macs
from m3net_tf.training.augmentation import mixup, spec_augment
from m3net_tf.training.features import FeatureSet, compute_features, input_shape
from m3net_tf.training.metrics import Evaluation
from m3net_tf.training.mixing import between_class, cutmix
from m3net_tf.training.one_cycle import one_cycle
from m3net_tf.training.recipe import Recipe, TrainingSection, load_recipe, save_recipe
from m3net_tf.training.rooms import read_rooms
from m3net_tf.training.run import Run, load_recipe_dataset
from m3net_tf.training.self_distillation import self_distillation_loss
from m3net_tf.training.waves import epoch_stream

Log = Callable[[str], None]
_EVALUATION_BATCH = 256


def predict(model: keras.Model, features: npt.NDArray[np.int8]) -> npt.NDArray[np.float32]:
    """Class probabilities, shape (clips, classes), of int8 features (clips, bins, frames, 1)."""
    parts = [
        model(dequantize_features(features[i : i + _EVALUATION_BATCH]), training=False).numpy()
        for i in range(0, len(features), _EVALUATION_BATCH)
    ]
    return np.concatenate(parts)


def train(
    recipe: Recipe, folder: Path, data_dir: Path | None = None, log: Log = lambda _: None
) -> dict[str, Any]:
    """Train by a recipe, or go on where an earlier call was stopped.

    Args:
        recipe: what to do.
        folder: run folder; made if needed. A finished run of the same recipe is left as it is.
        data_dir: where the data set lies, if it is one of files.
        log: takes lines of progress.

    Returns:
        The metrics, as they stand in ``metrics.json``.

    Raises:
        ConfigError: the folder holds a run of another recipe, or the recipe does not fit the data.
        DataError: the data set is missing or broken.
        ModelError: the saved state of a stopped run is damaged.
    """
    run = Run(folder)
    if run.recipe_path.exists():
        if load_recipe(run.recipe_path) != recipe:
            raise ConfigError(
                f"{folder} holds a run of another recipe: choose another name, or delete it"
            )
        if run.finished:
            log(f"{folder} is already trained")
            return run.metrics()
    dataset = load_recipe_dataset(recipe, data_dir)
    shape = input_shape(dataset, recipe.frontend)

    keras.utils.set_random_seed(recipe.training.seed)
    model = build_model(
        recipe.model.name,
        recipe.model.preset,
        input_shape=shape,
        classes=len(dataset.info.labels),
        overrides=recipe.model.arguments,
        feature_range={
            key: getattr(recipe.frontend, key) for key in ("feature_min", "feature_max", "log")
        },
    )
    seed = recipe.training.seed
    train_set = compute_features(dataset, "train", recipe.frontend, recipe.augmentation, seed, log)
    validation = compute_features(dataset, "validation", recipe.frontend, log=log)
    state = _State(model, recipe.training, len(train_set.clips))
    if run.state_path.exists():
        state.load(run.state_path)
        log(f"resuming after epoch {state.epoch}")
    log(
        f"{model.name} {recipe.model.preset}: {model.count_params()} parameters, "
        f"{count_macs(model)} MACs, {len(train_set.clips)} training clips"
    )
    save_recipe(recipe, run.recipe_path)
    step = _train_step(model, state, recipe)
    while state.epoch < recipe.training.epochs:
        _run_epoch(state, step, dataset, train_set, validation, recipe, log)
        state.save(run.state_path)
        write_text(folder / "history.csv", _history_csv(state.history))

    state.use_best()
    test = compute_features(dataset, "test", recipe.frontend, log=log)
    metrics = {
        "recipe": recipe.to_dict(),
        "dataset": {
            "name": dataset.info.name,
            "protocol": dataset.info.protocol,
            "leaking": dataset.info.leaking,
            "fold": dataset.info.fold,
            "notes": list(dataset.info.notes),
            "labels": list(dataset.info.labels),
            "clip_list_sha256": dataset.clip_list_hash(),
        },
        "parameters": state.answer.count_params(),
        "macs": count_macs(state.answer),
        "best_epoch": state.best_epoch,
        "training_s": round(sum(row["seconds"] for row in state.history), 1),
        **provenance(),
    }
    for name, features in (("validation", validation), ("test", test)):
        evaluation, summary = _evaluate(state.answer, features, dataset.info.labels)
        metrics[name] = summary
        if name == "test":
            write_text(folder / "confusion_matrix.csv", evaluation.to_csv())
    _save_model(state.answer, run.model_path)
    _plot_curves(state.history, folder / "curves.png")
    write_json(run.metrics_path, metrics)  # last: its presence says that the run is finished
    run.state_path.unlink(missing_ok=True)
    return metrics


def _evaluate(
    model: keras.Model, features: FeatureSet, labels: tuple[str, ...]
) -> tuple[Evaluation, dict[str, Any]]:
    predicted = predict(model, features.clean).argmax(1)
    evaluation = Evaluation.of(features.labels, predicted, labels)
    summary = evaluation.to_dict()
    listed = np.array([not clip.synthetic for clip in features.clips])
    # The publisher does not list some clips, such as cuts of silence.
    if listed.any() and not listed.all():
        subset = Evaluation.of(features.labels[listed], predicted[listed], labels)
        summary["listed_clips"] = subset.to_dict()
    return evaluation, summary


def _learning_rate(settings: TrainingSection, step: tf.Tensor, steps_per_epoch: int) -> tf.Tensor:
    """Rate of a step under the schedules that depend on nothing else."""
    if settings.schedule == "one_cycle":
        return one_cycle(step, settings.epochs * steps_per_epoch, settings.learning_rate)
    if settings.schedule != "cosine":
        return tf.constant(settings.learning_rate)
    total = float(settings.epochs * steps_per_epoch)
    warm_up = tf.minimum(1.0, (step + 1.0) / steps_per_epoch) if settings.epochs > 1 else 1.0
    wave = 0.5 * (1.0 + tf.cos(math.pi * step / total))
    floor = settings.learning_rate_floor
    return warm_up * (floor + (settings.learning_rate - floor) * wave)


def _train_step(model: keras.Model, state: _State, recipe: Recipe) -> Callable[..., tf.Tensor]:
    settings, augmentation = recipe.training, recipe.augmentation
    classes = state.answer.output_shape[-1]
    loss_of = keras.losses.CategoricalCrossentropy(label_smoothing=settings.label_smoothing)

    @tf.function(reduce_retracing=True)
    def step(
        features: tf.Tensor, labels: tf.Tensor, seed: tf.Tensor, factor: tf.Tensor
    ) -> tf.Tensor:
        maps = tf.cast(features, tf.float32)[..., None] / 128.0
        targets = tf.one_hot(labels, classes)
        seeds = tf.random.experimental.stateless_split(seed, 2)
        if augmentation.time_masks or augmentation.frequency_masks:
            maps = spec_augment(maps, augmentation, seeds[0])
        if augmentation.mixup_probability:
            maps, targets = mixup(maps, targets, augmentation, seeds[1])
        if augmentation.between_class_probability:
            maps, targets = between_class(maps, targets, augmentation, recipe.frontend, seed + 1)
        if augmentation.cutmix_probability:
            maps, targets = cutmix(maps, targets, augmentation, seed + 2)
        with tf.GradientTape() as tape:
            answers = model(maps, training=True)
            if isinstance(answers, list):
                loss = self_distillation_loss(
                    targets,
                    answers,
                    temperature=settings.exit_temperature,
                    weight=settings.exit_weight,
                    label_smoothing=settings.label_smoothing,
                )
            else:
                loss = loss_of(targets, answers)
            if model.losses:  # penalties that layers put on their own weights
                loss += tf.add_n([tf.cast(penalty, loss.dtype) for penalty in model.losses])
        weights = model.trainable_variables
        done = tf.cast(state.optimizer.iterations, tf.float32)
        rate = _learning_rate(settings, done, state.steps_per_epoch) * factor
        state.optimizer.learning_rate.assign(tf.maximum(rate, settings.learning_rate_floor))
        state.optimizer.apply_gradients(zip(tape.gradient(loss, weights), weights, strict=True))
        if state.average:
            # Young averages follow closely, or the random start would linger in them.
            decay = tf.minimum(settings.weight_average, (1.0 + done) / (10.0 + done))
            for mean, weight in zip(state.average, model.weights, strict=True):
                mean.assign(decay * mean + (1.0 - decay) * weight)
        return loss

    return step


def _stored_batches(
    train_set: FeatureSet, batch_size: int, rng: np.random.Generator
) -> Iterator[tuple[tf.Tensor, tf.Tensor]]:
    """Features and class indices of all training clips in a new order, each in one of its copies.

    A short last batch is left out: it would give normalisation a noisy estimate.
    """
    copies, clips = train_set.features.shape[:2]
    batch_size = min(batch_size, clips)
    order = rng.permutation(clips)
    copy = rng.integers(copies, size=(clips,))
    for first in range(0, clips - batch_size + 1, batch_size):
        chosen = order[first : first + batch_size]
        features = train_set.features[copy[chosen], chosen]
        yield tf.constant(features), tf.constant(train_set.labels[chosen])


def _fresh_batches(
    dataset: AudioDataset, recipe: Recipe, epoch: int
) -> Iterator[tuple[tf.Tensor, tf.Tensor]]:
    """The same with waveforms that are varied anew, past the cache."""
    rooms = []
    if recipe.augmentation.room_folder:
        rooms = read_rooms(Path(recipe.augmentation.room_folder), dataset.info.sample_rate_hz)
    stream = epoch_stream(
        dataset,
        "train",
        recipe.frontend,
        recipe.augmentation,
        seed=recipe.training.seed,
        epoch=epoch,
        batch_size=min(recipe.training.batch_size, len(dataset.split("train"))),
        rooms=rooms,
    )
    try:
        yield from stream
    except tf.errors.OpError as error:  # tf.data wraps what a broken file raises
        raise DataError(str(error.message).strip().splitlines()[-1]) from None


def _run_epoch(
    state: _State,
    step: Callable[..., tf.Tensor],
    dataset: AudioDataset,
    train_set: FeatureSet,
    validation: FeatureSet,
    recipe: Recipe,
    log: Log,
) -> None:
    """One pass over the training clips and a validation."""
    settings = recipe.training
    start = time.perf_counter()
    rng = np.random.default_rng([settings.seed, state.epoch])
    _reseed_dropout(state.model, rng)
    if recipe.augmentation.fresh:
        batches = _fresh_batches(dataset, recipe, state.epoch)
    else:
        batches = _stored_batches(train_set, settings.batch_size, rng)
    losses = [
        step(
            features,
            labels,
            tf.constant(rng.integers(2**31, size=2), tf.int32),
            tf.constant(state.plateau_factor, tf.float32),
        )
        for features, labels in batches
    ]
    loss = float(np.mean([value.numpy() for value in losses]))
    if not math.isfinite(loss):
        raise ModelError(
            f"the loss became {loss} in epoch {state.epoch + 1}: lower training.learning_rate"
        )
    with state.averaged():
        probabilities = predict(state.answer, validation.clean)
        accuracy = float((probabilities.argmax(1) == validation.labels).mean())
        picked = probabilities[np.arange(len(probabilities)), validation.labels]
        validation_loss = float(-np.log(np.maximum(picked, 1e-7)).mean())
        state.close_epoch(
            {
                "epoch": state.epoch + 1,
                "loss": loss,
                "validation_loss": validation_loss,
                "validation_accuracy": accuracy,
                "learning_rate": float(state.optimizer.learning_rate.numpy()),
                "seconds": round(time.perf_counter() - start, 2),
            }
        )
    log(
        f"epoch {state.epoch}/{settings.epochs}  loss {loss:.4f}  "
        f"validation {100 * accuracy:.1f} %  best {100 * state.best_accuracy:.1f} %  "
        f"{state.history[-1]['seconds']:.1f} s"
    )


def _reseed_dropout(model: keras.Model, rng: np.random.Generator) -> None:
    """Make random layers hang on seed and epoch alone, as all else: what resuming needs."""
    for layer in model.layers:
        if isinstance(layer, keras.__internal__.layers.BaseRandomLayer):
            layer._random_generator._generator.reset_from_seed(int(rng.integers(2**31)))


class _State:
    """All that a training needs to go on: weights, optimiser, best weights, history."""

    def __init__(self, model: keras.Model, settings: TrainingSection, clips: int) -> None:
        self.model = model
        # Without early exits, which only teach; it shares the weights.
        self.answer = (
            model
            if len(model.outputs) == 1
            else keras.Model(model.inputs, model.outputs[0], name=model.name)
        )
        self.settings = settings
        self.steps_per_epoch = max(1, clips // settings.batch_size)
        self.optimizer = keras.optimizers.Adam(settings.learning_rate)
        self.optimizer.build(model.trainable_variables)
        self.average = (
            [tf.Variable(weight, trainable=False) for weight in model.weights]
            if settings.weight_average
            else []
        )
        self.history: list[dict[str, float]] = []
        self.best: list[npt.NDArray[Any]] = []
        self.best_accuracy = -1.0
        self.best_loss = math.inf
        self.best_epoch = 0
        self.plateau_factor = 1.0
        self.plateau_best = math.inf
        self.plateau_epochs = 0

    _FIGURES = (
        "history",
        "best_accuracy",
        "best_loss",
        "best_epoch",
        "plateau_factor",
        "plateau_best",
        "plateau_epochs",
    )

    @property
    def epoch(self) -> int:
        return len(self.history)

    def averaged(self) -> _Averaged:
        return _Averaged(self)

    def close_epoch(self, row: dict[str, float]) -> None:
        """Note an epoch's figures; keep its weights if it is the best so far."""
        self.history.append(row)
        accuracy, loss = row["validation_accuracy"], row["validation_loss"]
        if (accuracy, -loss) > (self.best_accuracy, -self.best_loss):
            self.best = self.model.get_weights()
            self.best_accuracy, self.best_loss, self.best_epoch = accuracy, loss, self.epoch
        if self.settings.schedule == "plateau":
            self.plateau_epochs += 1
            if loss < self.plateau_best:
                self.plateau_best, self.plateau_epochs = loss, 0
            elif self.plateau_epochs >= self.settings.plateau_patience:
                self.plateau_factor, self.plateau_epochs = self.plateau_factor / 2, 0

    def use_best(self) -> None:
        self.model.set_weights(self.best)

    def _arrays(self) -> dict[str, list[tf.Variable]]:
        return {
            "weight": self.model.weights,
            "optimizer": self.optimizer.variables,
            "average": self.average,
        }

    def save(self, path: Path) -> None:
        arrays = {
            f"{kind}_{index}": variable.numpy()
            for kind, variables in self._arrays().items()
            for index, variable in enumerate(variables)
        }
        arrays |= {f"best_{index}": value for index, value in enumerate(self.best)}
        arrays["figures"] = np.array(json.dumps({key: getattr(self, key) for key in self._FIGURES}))
        buffer = io.BytesIO()
        np.savez(buffer, **arrays)
        write_bytes(path, buffer.getvalue())

    def load(self, path: Path) -> None:
        try:
            with np.load(io.BytesIO(path.read_bytes())) as arrays:
                for key, value in json.loads(str(arrays["figures"])).items():
                    setattr(self, key, value)
                for kind, variables in self._arrays().items():
                    for index, variable in enumerate(variables):
                        variable.assign(arrays[f"{kind}_{index}"])
                self.best = [arrays[f"best_{i}"] for i in range(len(self.model.weights))]
        except (ValueError, KeyError, OSError, EOFError, zipfile.BadZipFile) as error:
            raise ModelError(
                f"{path} is damaged ({type(error).__name__}): delete it to train from the start"
            ) from None


@dataclasses.dataclass
class _Averaged:
    """Context in which the model holds the averaged weights, where there are any."""

    state: _State

    def __enter__(self) -> None:
        if self.state.average:
            self.kept = self.state.model.get_weights()
            self.state.model.set_weights([mean.numpy() for mean in self.state.average])

    def __exit__(self, *_: object) -> None:
        if self.state.average:
            self.state.model.set_weights(self.kept)


def _save_model(model: keras.Model, path: Path) -> None:
    with tempfile.TemporaryDirectory(dir=path.parent) as scratch:
        model.save(Path(scratch) / path.name)
        (Path(scratch) / path.name).replace(path)


def _history_csv(history: list[dict[str, float]]) -> str:
    rows = [",".join(history[0])]
    rows += [",".join(f"{value:.6g}" for value in row.values()) for row in history]
    return "\n".join(rows) + "\n"


def _plot_curves(history: list[dict[str, float]], path: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 3), layout="constrained")
    left, right = figure.subplots(1, 2)
    epochs = [row["epoch"] for row in history]
    for key, label in (("loss", "training"), ("validation_loss", "validation")):
        left.plot(epochs, [row[key] for row in history], label=label)
    right.plot(epochs, [100 * row["validation_accuracy"] for row in history])
    left.set(xlabel="epoch", ylabel="cross-entropy")
    right.set(xlabel="epoch", ylabel="validation accuracy (%)")
    left.legend()
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=120)
    write_bytes(path, buffer.getvalue())
