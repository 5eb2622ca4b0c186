# SPDX-License-Identifier: Apache-2.0
"""The training loop: seeded, validated and resumable after every epoch."""

from __future__ import annotations

import dataclasses
import functools
import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NotRequired

import numpy as np

from m3net_tf.artifacts import Provenance, naming, provenance, write_json, write_text
from m3net_tf.datasets import AudioDataset, split_facts
from m3net_tf.datasets.statements import SplitFacts
from m3net_tf.errors import ModelError
from m3net_tf.frontend import dequantize_features
from m3net_tf.keras import keras, tf
from m3net_tf.keras_internals import random_layers, reseed
from m3net_tf.locks import scratch_folder
from m3net_tf.models import build_model, learnt_figures
from m3net_tf.models.complexity import count_macs
from m3net_tf.progress import Log, Task, track
from m3net_tf.training.batches import TrainingClips, fresh_batches, stored_batches
from m3net_tf.training.before_after import AddedFigures, before_and_after
from m3net_tf.training.checks import input_shape
from m3net_tf.training.distillation import load_teacher
from m3net_tf.training.evaluation import (
    evaluate,
    predict,
    predict_originals,
    score,
    takes_lengths,
)
from m3net_tf.training.features import FeatureSet, compute_features, with_lengths
from m3net_tf.training.fine_tuning import StartedFrom, start_from
from m3net_tf.training.logbook import plot_curves, tensorboard, write_history
from m3net_tf.training.losses import has_sigmoids, label_loss
from m3net_tf.training.metrics import Evaluation, LabelFigures, MultiLabelFigures
from m3net_tf.training.recipe import Recipe, save_recipe
from m3net_tf.training.run import Run, design_of
from m3net_tf.training.run_metrics import RunMetrics
from m3net_tf.training.sections import TrainingSection
from m3net_tf.training.state import TrainingState, without_early_exits
from m3net_tf.training.steps import Step, make_step
from m3net_tf.training.stopping import AfterEpoch
from m3net_tf.unfinished import unfinished_prefix

__all__ = ["predict", "run_training"]

_LEARNT_CLIPS = 32


def run_training(
    recipe: Recipe,
    run: Run,
    dataset: AudioDataset,
    data_dir: Path | None,
    log: Log,
    after_epoch: AfterEpoch | None = None,
) -> RunMetrics:
    """Train from the start or the saved state, and write all of the run; see :func:`.start.train`.

    Args:
        recipe: settings of the training.
        run: folder that receives the results.
        dataset: the recipe's data set, already checked.
        data_dir: folder of the data set.
        log: receives progress lines.
        after_epoch: is called after each saved epoch.

    Returns:
        The metrics, as in ``metrics.json``.

    Raises:
        M3NetError: as :func:`.start.train`.
    """
    settings = recipe.training
    shape = input_shape(dataset.info, recipe.frontend)
    build = functools.partial(build_network, recipe, shape, dataset.info.multi_label)
    keras.utils.set_random_seed(settings.seed)
    with half_precision(mixed=settings.mixed_precision):
        model = build(len(dataset.info.labels))
    teacher = load_teacher(recipe, dataset, shape, data_dir, log)
    fine_tuning = start_from(model, recipe.fine_tuning, dataset, build, log)
    split = functools.partial(_features, recipe, takes_lengths(model), log)
    clips, validation = split(dataset, "train"), split(dataset, "validation")
    # Checks settings against the data, so it runs before anything is written.
    loss = label_loss(settings, clips, len(dataset.info.labels))
    state = _saved_state(run, model, settings, len(clips.clips), log)
    log(
        f"{model.name} {recipe.model.preset}: {model.count_params()} parameters, "
        f"{count_macs(model)} MACs, {len(clips.clips)} training clips"
    )
    save_recipe(recipe, run.recipe_path)
    run.remember_data_folder(data_dir)
    step = make_step(state, recipe, loss, teacher.model)
    stored = TrainingClips(clips, teacher.predictions, settings.sampling)
    _run_epochs(_Loop(state, step, stored, validation, dataset, recipe, log), run, after_epoch)
    final = _kept_network(state, functools.partial(build, len(dataset.info.labels)), settings)
    metrics = _training_facts(final, state, recipe, dataset)
    if fine_tuning:
        metrics["fine_tuning"] = fine_tuning
    if learnt := _learnt(final, validation, recipe):
        metrics["learnt"] = learnt
    metrics["validation"] = evaluate(final, validation, dataset.info.labels)[1]
    test_of = functools.partial(split, name="test")
    evaluation, metrics["test"] = evaluate(final, test_of(dataset), dataset.info.labels)
    if recipe.fine_tuning.add:
        metrics["added"] = before_and_after(recipe.fine_tuning, run, dataset, final, test_of)
    if isinstance(evaluation, Evaluation):
        write_text(run.folder / "confusion_matrix.csv", evaluation.to_csv())
    return _finished(run, final, state, metrics)


def _finished(run: Run, final: keras.Model, state: TrainingState, metrics: _Metrics) -> RunMetrics:
    """Write network, curves and metrics; the saved state is no longer needed."""
    _save_model(final, run.model_path)
    plot_curves(state.history, run.folder / "curves.png")
    write_json(run.metrics_path, metrics)  # last, because it marks the run as finished
    run.state_path.unlink(missing_ok=True)
    return run.metrics()


class _TrainedData(SplitFacts):
    """The data set: its split, notes on the copy, classes, and hashes of the clip lists."""

    notes: list[str]
    labels: list[str]
    clip_list_sha256: dict[str, str]


class _Metrics(Provenance):
    """Content of ``metrics.json``, which :class:`RunMetrics` reads.

    Attributes:
        recipe: all sections of the recipe.
        dataset: the data set.
        parameters: of the network.
        macs: multiplications of one run of the network.
        design_sha256: hash of the network's design.
        epochs: number of epochs.
        best_epoch: the epoch whose weights are kept.
        devices: number of devices that shared each batch.
        training_s: seconds of all epochs.
        fine_tuning: the weights at the start; absent if they were random.
        added: the added clips; absent if there are none.
        learnt: figures that the network has learnt; absent if it has none.
        validation: figures of the validation split.
        test: figures of the test split.
    """

    recipe: Mapping[str, Any]
    dataset: _TrainedData
    parameters: int
    macs: int
    design_sha256: str
    epochs: int
    best_epoch: int
    devices: int
    training_s: float
    fine_tuning: NotRequired[StartedFrom]
    added: NotRequired[AddedFigures]
    learnt: NotRequired[dict[str, float]]
    validation: NotRequired[LabelFigures | MultiLabelFigures]
    test: NotRequired[LabelFigures | MultiLabelFigures]


@dataclasses.dataclass(frozen=True)
class _Loop:
    """The parts of a training that every epoch uses."""

    state: TrainingState
    step: Step
    clips: TrainingClips
    validation: FeatureSet
    dataset: AudioDataset
    recipe: Recipe
    log: Log


def _saved_state(
    run: Run, model: keras.Model, settings: TrainingSection, clips: int, log: Log
) -> TrainingState:
    """The state of an interrupted training, or of a new one."""
    state = TrainingState(model, settings, clips)
    if run.state_path.exists():
        state.load(run.state_path)
        log(f"resuming after epoch {state.epoch}")
    return state


def _run_epochs(loop: _Loop, run: Run, after_epoch: AfterEpoch | None = None) -> None:
    """Train to the last epoch, saving state and history after each."""
    state, settings = loop.state, loop.recipe.training

    def saved() -> None:
        write_history(state.history, run.folder / "history.csv")
        if after_epoch:
            after_epoch(state.history, state.ended)

    if state.history:  # the process may have been killed after it had saved the state alone
        saved()
    steps, done = (count * state.steps_per_epoch for count in (settings.epochs, state.epoch))
    with (
        tensorboard(run.folder / "tensorboard", enabled=settings.tensorboard) as write,
        track(loop.log, "training", steps, "steps", done=done) as task,
    ):
        while not state.ended:
            row = _run_epoch(loop, task)
            state.save(run.state_path)
            write(row)
            saved()
    if state.epoch < settings.epochs:
        loop.log(
            f"no better epoch than {state.best_epoch} for {settings.early_stopping}: ended early"
        )


def _kept_network(
    state: TrainingState, build: Callable[[], keras.Model], settings: TrainingSection
) -> keras.Model:
    """The network with the kept weights, in single precision."""
    state.use_kept()
    if not settings.mixed_precision:
        return state.inference_model
    single = build()
    state.model.trainable = True  # frozen layers would return their weights in another order
    single.set_weights(state.model.get_weights())
    return without_early_exits(single)


def _training_facts(
    final: keras.Model, state: TrainingState, recipe: Recipe, dataset: AudioDataset
) -> _Metrics:
    """Metrics without evaluation: recipe, data set, costs and duration."""
    return {
        "recipe": recipe.to_dict(),
        "dataset": {
            **split_facts(dataset),
            "notes": list(dataset.info.notes),
            "labels": list(dataset.info.labels),
            "clip_list_sha256": dataset.clip_list_hash(),
        },
        "parameters": final.count_params(),
        "macs": count_macs(final),
        "design_sha256": design_of(recipe),
        "epochs": state.epoch,
        "best_epoch": state.best_epoch,
        "devices": tf.distribute.get_strategy().num_replicas_in_sync,
        "training_s": round(sum(row["seconds"] for row in state.history), 1),
        **provenance(),
    }


def build_network(
    recipe: Recipe, shape: tuple[int, int, int], multi_label: bool, classes: int
) -> keras.Model:
    """The untrained network of a recipe.

    Args:
        recipe: recipe.
        shape: (bins, frames, 1) of its features.
        multi_label: whether clips have several labels.
        classes: number of classes.
    """
    return build_model(
        recipe.model.name,
        recipe.model.preset,
        input_shape=shape,
        classes=classes,
        overrides=recipe.model.arguments,
        feature_range={
            key: getattr(recipe.frontend, key) for key in ("feature_min", "feature_max", "log")
        },
        head="sigmoid" if has_sigmoids(recipe.training, multi_label=multi_label) else "softmax",
    )


@contextmanager
def half_precision(*, mixed: bool) -> Iterator[None]:
    """Context whose new layers compute in half precision if ``mixed``."""
    if not mixed:
        yield
        return
    before = keras.mixed_precision.global_policy()
    half = "float16" if tf.config.list_physical_devices("GPU") else "bfloat16"
    keras.mixed_precision.set_global_policy(f"mixed_{half}")
    try:
        yield
    finally:
        keras.mixed_precision.set_global_policy(before)


def _features(
    recipe: Recipe, with_own_lengths: bool, log: Log, dataset: AudioDataset, name: str
) -> FeatureSet:
    """Features of a split; training clips include their augmented copies."""
    augmentation = recipe.augmentation if name == "train" else None
    features = compute_features(
        dataset,
        name,
        recipe.frontend,
        augmentation,
        recipe.training.seed,
        log,
        recipe.training.features,
    )
    if not with_own_lengths:
        return features
    return with_lengths(features, dataset, recipe.frontend, augmentation)


def _run_epoch(loop: _Loop, task: Task) -> dict[str, float]:
    """Run one pass over the training clips and a validation; return the epoch's figures."""
    state, validation, recipe = loop.state, loop.validation, loop.recipe
    settings = recipe.training
    start = time.perf_counter()
    rng = np.random.default_rng([settings.seed, state.epoch])
    _reseed_dropout(state.model, rng)
    if recipe.augmentation.fresh:
        batches = fresh_batches(loop.clips, loop.dataset, recipe, state.epoch)
    else:
        batches = stored_batches(loop.clips, settings.batch_size, rng)
    losses = []
    for batch in batches:
        seed = tf.constant(rng.integers(2**31, size=2), tf.int32)
        losses.append(loop.step(batch, seed, tf.constant(state.plateau_factor, tf.float32)))
        task.advance()
    loss = float(np.mean([value.numpy() for value in losses]))
    if not math.isfinite(loss):
        raise ModelError(
            f"the loss is {loss} in epoch {state.epoch + 1}: lower training.learning_rate"
        )
    name, figure = ("accuracy", "") if validation.matrix is None else ("map", " mAP")
    with state.averaged():
        outputs = predict_originals(state.inference_model, validation)
        labels, many = loop.dataset.info.labels, validation.matrix is not None
        sigmoids = has_sigmoids(settings, multi_label=many)
        validation_score, validation_loss = score(outputs, validation, labels, sigmoids=sigmoids)
        row = {
            "epoch": state.epoch + 1,
            "loss": loss,
            "validation_loss": validation_loss,
            f"validation_{name}": validation_score,
            "learning_rate": float(state.optimizer.learning_rate.numpy()),
            "seconds": round(time.perf_counter() - start, 2),
        }
        learnt = _learnt(state.inference_model, validation, recipe)
        row.update(learnt)
        state.close_epoch(row)
    figures = "".join(f"{key} {value:.3f}  " for key, value in learnt.items())
    loop.log(
        f"epoch {state.epoch}/{settings.epochs}  loss {loss:.4f}  "
        f"validation{figure} {100 * validation_score:.1f} %  best {100 * state.best_score:.1f} %  "
        f"{figures}{row['seconds']:.1f} s"
    )
    return row


def _learnt(model: keras.Model, validation: FeatureSet, recipe: Recipe) -> dict[str, float]:
    """Learnt figures of the network, computed on the first validation clips."""
    maps = tf.constant(dequantize_features(validation.clean[:_LEARNT_CLIPS]))
    return learnt_figures(recipe.model.name, model, maps)


def _reseed_dropout(model: keras.Model, rng: np.random.Generator) -> None:
    """Make random layers depend only on seed and epoch, so that training can resume."""
    for layer in random_layers(model):
        reseed(layer, int(rng.integers(2**31)))


def _save_model(model: keras.Model, path: Path) -> None:
    with naming(path), scratch_folder(unfinished_prefix(path.name), path.parent) as scratch:
        model.save(scratch / path.name)
        (scratch / path.name).replace(path)
