# SPDX-License-Identifier: Apache-2.0
"""The training loop: seeded, validated and resumable after every epoch."""

import dataclasses
import functools
import math
import time
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from m3net_tf.audio.datasets import AudioDataset
from m3net_tf.audio.shards import Shards
from m3net_tf.networks.models import build_model
from m3net_tf.networks.models.complexity import count_macs
from m3net_tf.system.errors import ConfigError, ModelError
from m3net_tf.system.keras import keras, tf
from m3net_tf.system.keras_internals import random_layers, reseed
from m3net_tf.system.progress import Log, Task, track
from m3net_tf.training.batches import (
    TrainingClips,
    fresh_batches,
    sharded_batches,
    stored_batches,
)
from m3net_tf.training.checks import input_shape
from m3net_tf.training.distillation import load_teacher
from m3net_tf.training.distribution import current_share, shared_predictions
from m3net_tf.training.evaluation import score, takes_lengths
from m3net_tf.training.features import (
    FeatureSet,
    compute_features,
    labelled_clips,
    with_lengths,
)
from m3net_tf.training.fine_tuning import start_from
from m3net_tf.training.logbook import tensorboard, write_history
from m3net_tf.training.losses import has_sigmoids, label_loss
from m3net_tf.training.recipe import Recipe, save_recipe
from m3net_tf.training.results import Trained, learnt
from m3net_tf.training.run import DataSource, Run
from m3net_tf.training.sections import TrainingSection
from m3net_tf.training.state import TrainingState
from m3net_tf.training.steps import Batch, Step, make_step
from m3net_tf.training.stopping import AfterEpoch


def run_epochs(
    recipe: Recipe,
    run: Run,
    dataset: AudioDataset,
    source: DataSource,
    log: Log,
    after_epoch: AfterEpoch | None = None,
) -> Trained:
    """Train to the last epoch from the start or the saved state, which is saved after each epoch.

    Each worker of a training calls this function; only the first one writes files.

    Args:
        dataset: the recipe's data set, already checked.

    Raises:
        M3NetError: as :func:`.start.train`.
    """
    settings, share = recipe.training, current_share()
    shape = input_shape(dataset.info, recipe.frontend)
    build = functools.partial(build_network, recipe, shape, dataset.info.multi_label)
    keras.utils.set_random_seed(settings.seed)
    with half_precision(settings):
        model = build(len(dataset.info.labels))
    teacher = load_teacher(recipe, dataset, shape, source.folder, log)
    fine_tuning = start_from(model, recipe.fine_tuning, dataset, build, log)
    split = functools.partial(_features, recipe, takes_lengths(model), log, source.shards)
    clips, validation = split(dataset, "train"), split(dataset, "validation")
    # Checks settings against the data, so it runs before anything is written.
    loss = label_loss(settings, clips, len(dataset.info.labels))
    if settings.accumulate > 1 and len(clips.clips) < settings.step_clips:
        raise ConfigError(
            f"training.accumulate is {settings.accumulate} with batches of {settings.batch_size}, "
            f"but there are {len(clips.clips)} training clips: lower one of them"
        )
    state = TrainingState(model, settings, len(clips.clips))
    state.resume(run.state_path, run.previous_state_path, log)
    log(
        f"{model.name} {recipe.model.preset}: {model.count_params()} parameters, "
        f"{count_macs(model)} MACs, {len(clips.clips)} training clips"
    )
    if share.writes:
        save_recipe(recipe, run.recipe_path)
        run.remember_data(source)
    step = make_step(state, recipe, loss, teacher.model, own_batches=source.shards is not None)
    stored = TrainingClips(clips, teacher.predictions, settings.sampling)
    loop = _Loop(state, step, stored, validation, dataset, recipe, log, source.shards)
    _run_epochs(loop, run, after_epoch)
    final = functools.partial(build, len(dataset.info.labels))
    return Trained(state, recipe, dataset, fine_tuning, final, split, validation)


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
    shards: Shards | None = None


def _run_epochs(loop: _Loop, run: Run, after_epoch: AfterEpoch | None = None) -> None:
    """Train to the last epoch, saving state and history after each."""
    state, settings, writes = loop.state, loop.recipe.training, current_share().writes

    def saved() -> None:
        if writes:
            write_history(state.history, run.folder / "history.csv")
        if after_epoch:
            after_epoch(state.history, state.ended)

    if state.history:  # the process may have been killed after it had saved the state alone
        saved()
    steps, done = (count * state.steps_per_epoch for count in (settings.epochs, state.epoch))
    with (
        tensorboard(run.folder / "tensorboard", enabled=settings.tensorboard and writes) as write,
        track(loop.log, "training", steps, "steps", done=done) as task,
    ):
        while not state.ended:
            with xla_errors(loop.recipe):
                row = _run_epoch(loop, task)
            state.save(run.state_path, run.previous_state_path)
            write(row)
            saved()
    if state.epoch < settings.epochs:
        loop.log(
            f"no better epoch than {state.best_epoch} for {settings.early_stopping}: ended early"
        )


def build_network(
    recipe: Recipe, shape: tuple[int, int, int], multi_label: bool, classes: int
) -> keras.Model:
    """The untrained network of a recipe.

    Args:
        shape: (bins, frames, 1) of its features.
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
def half_precision(settings: TrainingSection) -> Iterator[None]:
    """Context whose new layers compute in half precision under ``mixed_precision``."""
    if not settings.mixed_precision:
        yield
        return
    before = keras.mixed_precision.global_policy()
    half = settings.half_precision
    if half == "auto":
        half = "float16" if tf.config.list_physical_devices("GPU") else "bfloat16"
    keras.mixed_precision.set_global_policy(f"mixed_{half}")
    try:
        yield
    finally:
        keras.mixed_precision.set_global_policy(before)


def _features(
    recipe: Recipe,
    with_own_lengths: bool,
    log: Log,
    shards: Shards | None,
    dataset: AudioDataset,
    name: str,
) -> FeatureSet:
    """Features of a split; training clips include their augmented copies.

    Training clips from shards have none: each epoch computes them from the sound.
    """
    augmentation = recipe.augmentation if name == "train" else None
    if shards and augmentation:
        features = labelled_clips(dataset, name)
    else:
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


@contextmanager
def xla_errors(recipe: Recipe) -> Iterator[None]:
    """Name ``training.xla`` in errors of operations that XLA cannot compile."""
    try:
        yield
    except (tf.errors.InvalidArgumentError, tf.errors.UnimplementedError) as error:
        if not recipe.training.xla:
            raise
        reason = str(error.message).strip().splitlines()[0][:200]
        raise ModelError(
            f"training.xla is true, but {recipe.model.name} cannot be compiled ({reason}): set it "
            "to false"
        ) from None


def _batches(loop: _Loop, rng: np.random.Generator) -> Iterator[Batch]:
    """The batches of the next epoch; from shards, only this worker's."""
    recipe, epoch = loop.recipe, loop.state.epoch
    if loop.shards:
        steps = loop.state.steps_per_epoch
        return sharded_batches(loop.clips, loop.dataset, loop.shards, recipe, epoch, steps)
    if recipe.augmentation.fresh:
        return fresh_batches(loop.clips, loop.dataset, recipe, epoch)
    return stored_batches(loop.clips, recipe.training.step_clips, rng)


def _run_epoch(loop: _Loop, task: Task) -> dict[str, float]:
    """Run one pass over the training clips and a validation; return the epoch's figures."""
    state, validation, recipe = loop.state, loop.validation, loop.recipe
    settings = recipe.training
    start = time.perf_counter()
    rng = np.random.default_rng([settings.seed, state.epoch])
    for layer in random_layers(state.model):  # depend only on seed and epoch, for a later resume
        reseed(layer, int(rng.integers(2**31)))
    # Workers with batches of their own draw masks and mixtures of their own.
    own = current_share().worker if loop.shards else 0
    losses = []
    for batch in _batches(loop, rng):
        seed = tf.constant(rng.integers(2**31, size=2) ^ [0, own], tf.int32)
        losses.append(loop.step(batch, seed, tf.constant(state.plateau_factor, tf.float32)))
        task.advance()
    loss = float(np.mean([value.numpy() for value in losses]))
    if not math.isfinite(loss):
        raise ModelError(
            f"the loss is {loss} in epoch {state.epoch + 1}: lower training.learning_rate"
        )
    name, figure = ("accuracy", "") if validation.matrix is None else ("map", " mAP")
    with state.averaged():
        outputs = shared_predictions(state.inference_model, validation)
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
        learnt_now = learnt(state.inference_model, validation, recipe)
        row.update(learnt_now)
        state.close_epoch(row)
    figures = "".join(f"{key} {value:.3f}  " for key, value in learnt_now.items())
    loop.log(
        f"epoch {state.epoch}/{settings.epochs}  loss {loss:.4f}  "
        f"validation{figure} {100 * validation_score:.1f} %  best {100 * state.best_score:.1f} %  "
        f"{figures}{row['seconds']:.1f} s"
    )
    return row
