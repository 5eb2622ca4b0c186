# SPDX-License-Identifier: Apache-2.0
"""One optimiser step: masks and mixtures, gradients, learning rate, moving average."""

import functools
from collections.abc import Callable
from typing import NotRequired, TypedDict

from m3net_tf.audio.frontend.config import FEATURE_SCALE
from m3net_tf.networks.layers.training_form import training_form
from m3net_tf.system.keras import keras, tf
from m3net_tf.training.augmentation.maps import augment_batch
from m3net_tf.training.loop.distribution import current_share
from m3net_tf.training.loop.gradients import (
    GradientsOf,
    accumulated,
    learn,
    loss_and_gradients,
)
from m3net_tf.training.loop.schedules import learning_rate
from m3net_tf.training.loop.state import TrainingState
from m3net_tf.training.loss.losses import LabelLoss
from m3net_tf.training.network import has_sigmoids
from m3net_tf.training.recipe import Recipe


class Batch(TypedDict):
    """A batch of training clips.

    Attributes:
        features: int8 or float32, shape (batch, bins, frames).
        labels: class indices, shape (batch,), or 0 and 1, shape (batch, classes).
        lengths: frames of the clips, shape (batch,), for networks that use them.
        predictions: a teacher's probabilities for the original clips, shape (batch, classes).
        vectors: what a teacher's file gives for the clips as stored, shape (batch, size).
    """

    features: tf.Tensor
    labels: tf.Tensor
    lengths: NotRequired[tf.Tensor]
    predictions: NotRequired[tf.Tensor]
    vectors: NotRequired[tf.Tensor]


Step = Callable[[Batch, tf.Tensor, tf.Tensor], tf.Tensor]


def make_step(
    state: TrainingState,
    recipe: Recipe,
    label_loss: LabelLoss,
    teacher: keras.Model | None = None,
    *,
    own_batches: bool = False,
) -> Step:
    """The compiled training step.

    Args:
        teacher: network whose output for the same augmented batch is a target.
        own_batches: whether each worker process gets batches of its own instead of the same ones,
            of which it computes a part.

    Returns:
        Function of a batch, a seed (2,) and a factor on the learning rate that returns the loss.
    """
    settings, optimizer = recipe.training, state.optimizer
    classes = state.inference_model.output_shape[-1]
    strategy = tf.distribute.get_strategy()
    share = current_share()
    parts = share.replicas // share.workers if own_batches else share.replicas
    as_stock = settings.stock_layers or settings.xla or tf.config.list_logical_devices("GPU")
    network = state.model if as_stock else training_form(state.model)
    gradients_of: GradientsOf = functools.partial(
        loss_and_gradients, state, network, recipe, label_loss
    )
    if settings.xla:
        gradients_of = tf.function(
            gradients_of, jit_compile=True, autograph=False, reduce_retracing=True
        )
    if settings.accumulate > 1:
        weights = state.model.trainable_variables
        gradients_of = functools.partial(accumulated, gradients_of, weights, settings.accumulate)
    learn_part = functools.partial(learn, state, gradients_of, parts)

    # No tensor decides a branch or a loop in here, so rewriting Python's own would only take time.
    def step(batch: Batch, seed: tf.Tensor, factor: tf.Tensor) -> tf.Tensor:
        features, labels = batch["features"], batch["labels"]
        scale = FEATURE_SCALE if features.dtype == tf.int8 else 1.0
        maps = tf.cast(features, tf.float32)[..., None] * scale
        multi_label = labels.shape.rank == 2
        targets = tf.cast(labels, tf.float32) if multi_label else tf.one_hot(labels, classes)
        maps, targets, predictions, lengths = augment_batch(batch, maps, targets, recipe, seed)
        if teacher is not None:
            predictions = teacher(maps, training=False)
        done = tf.cast(optimizer.iterations, tf.float32)
        rate = learning_rate(settings, done, state.steps_per_epoch) * factor
        optimizer.learning_rate.assign(tf.maximum(rate, settings.learning_rate_floor))
        sigmoids = has_sigmoids(settings, multi_label=multi_label)
        vectors = batch.get("vectors")
        losses = strategy.run(learn_part, (sigmoids, maps, targets, predictions, lengths, vectors))
        loss = strategy.reduce(tf.distribute.ReduceOp.MEAN, losses, axis=None)
        state.average_weights(done)
        return loss

    compiled: Step = tf.function(step, reduce_retracing=True, autograph=False)
    return compiled
