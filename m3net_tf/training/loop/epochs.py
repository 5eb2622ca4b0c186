# SPDX-License-Identifier: Apache-2.0
"""Epochs of a training: batches, steps, validation, and what is saved after each."""

import dataclasses
import math
import time
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from m3net_tf.system.errors import ModelError
from m3net_tf.system.keras import tf
from m3net_tf.system.keras_internals import random_layers, reseed
from m3net_tf.system.progress import Log, Task, track
from m3net_tf.training.clips.features import FeatureSet
from m3net_tf.training.clips.source import Clips
from m3net_tf.training.loop.batches import (
    TrainingClips,
    fresh_batches,
    sharded_batches,
    stored_batches,
)
from m3net_tf.training.loop.distribution import current_share
from m3net_tf.training.loop.head import fit_classifier
from m3net_tf.training.loop.logbook import Logbook
from m3net_tf.training.loop.state import TrainingState
from m3net_tf.training.loop.steps import Batch, Step
from m3net_tf.training.loop.stopping import AfterEpoch
from m3net_tf.training.loop.validation import validate
from m3net_tf.training.recipe import Recipe
from m3net_tf.training.run import Run
from m3net_tf.training.scoring.evaluation import score


@dataclasses.dataclass(frozen=True)
class Loop:
    """The parts of a training that every epoch uses."""

    state: TrainingState
    step: Step
    training: TrainingClips
    validation: FeatureSet
    clips: Clips
    recipe: Recipe
    log: Log


def run_epochs(loop: Loop, run: Run, after_epoch: AfterEpoch | None = None) -> None:
    """Train to the last epoch, saving state and history after each."""
    state = loop.state
    settings = loop.recipe.training
    writes = current_share().writes
    logbook = Logbook(run.folder, tensorboard=settings.tensorboard)
    steps, done = (count * state.steps_per_epoch for count in (settings.epochs, state.epoch))
    with track(loop.log, "training", steps, "steps", done=done) as task:
        row: dict[str, float] = {}
        while True:
            if state.history:  # also before the first epoch after a kill between state and history
                if writes:
                    logbook.write(state.history, row)
                if after_epoch:
                    after_epoch(state.history, state.ended)
            if state.ended:
                break
            if loop.recipe.fine_tuning.fit_head and not state.epoch:
                row = _fit_head(loop, task)
            else:
                with xla_errors(loop.recipe):
                    row = _run_epoch(loop, task)
            state.save(run.state_path, run.previous_state_path)
    if state.epoch < settings.epochs:
        loop.log(
            f"no better epoch than {state.best_epoch} for {settings.early_stopping}: ended early"
        )


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


def _run_epoch(loop: Loop, task: Task) -> dict[str, float]:
    """Run one pass over the training clips and a validation; return the epoch's figures."""
    state = loop.state
    settings = loop.recipe.training
    start = time.perf_counter()
    rng = np.random.default_rng([settings.seed, state.epoch])
    for layer in random_layers(state.model):  # depend only on seed and epoch, for a later resume
        reseed(layer, int(rng.integers(2**31)))
    # Workers with batches of their own draw masks and mixtures of their own.
    own = current_share().worker if loop.clips.shards else 0
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
    return _close_epoch(loop, loss, start)


def _fit_head(loop: Loop, task: Task) -> dict[str, float]:
    """Fit the head on the body's embeddings in place of an epoch; return its figures."""
    state = loop.state
    start = time.perf_counter()
    clips = loop.training.features
    probabilities = fit_classifier(state.network, clips, loop.recipe)
    state.restart_average()
    task.advance(state.steps_per_epoch)
    labels, sigmoids = loop.clips.dataset.info.labels, clips.matrix is not None
    _, loss = score(probabilities, clips, labels, sigmoids=sigmoids)
    return _close_epoch(loop, loss, start)


def _close_epoch(loop: Loop, loss: float, start: float) -> dict[str, float]:
    """Validate, and record the epoch; return its figures.

    Args:
        loss: mean over the epoch's steps.
        start: time at its start, in seconds.
    """
    state = loop.state
    recipe = loop.recipe
    labels = loop.clips.dataset.info.labels
    with state.averaged():
        validated, learnt = validate(state.inference_model, loop.validation, labels, recipe)
        row = {
            "epoch": state.epoch + 1,
            "loss": loss,
            **validated,
            "learning_rate": float(state.optimizer.learning_rate.numpy()),
            "seconds": round(time.perf_counter() - start, 2),
            **learnt,
        }
        state.close_epoch(row)
    kind = " mAP" if "validation_map" in row else ""
    figures = "".join(f"{key} {value:.3f}  " for key, value in learnt.items())
    loop.log(
        f"epoch {state.epoch}/{recipe.training.epochs}  loss {loss:.4f}  "
        f"validation{kind} {100 * state.last_score:.1f} %  best {100 * state.best_score:.1f} %  "
        f"{figures}{row['seconds']:.1f} s"
    )
    return row


def _batches(loop: Loop, rng: np.random.Generator) -> Iterator[Batch]:
    """The batches of the next epoch; from shards, only this worker's."""
    recipe, epoch, clips = loop.recipe, loop.state.epoch, loop.clips
    if clips.shards:
        steps = loop.state.steps_per_epoch
        return sharded_batches(loop.training, clips.dataset, clips.shards, recipe, epoch, steps)
    if recipe.augmentation.fresh:
        return fresh_batches(loop.training, clips.dataset, recipe, epoch)
    return stored_batches(loop.training, recipe.training.step_clips, rng)
