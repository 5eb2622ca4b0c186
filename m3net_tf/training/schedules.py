# SPDX-License-Identifier: Apache-2.0
"""Optimisers and learning rate schedules."""

from __future__ import annotations

import math

from m3net_tf.system.keras import keras, tf
from m3net_tf.training.one_cycle import one_cycle
from m3net_tf.training.sections import TrainingSection

_NEVER_DECAYED = ("bias", "gamma", "beta")  # attention's biases are matrices


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


def learning_rate(settings: TrainingSection, step: tf.Tensor, steps_per_epoch: int) -> tf.Tensor:
    """Learning rate of a step under schedules that depend only on the step.

    Args:
        settings: schedule and its parameters.
        step: number of completed steps, a float32 scalar.
        steps_per_epoch: steps per epoch.

    Returns:
        The rate, a float32 scalar; for ``plateau`` the peak, which the trainer divides.
    """
    peak, floor = settings.learning_rate, settings.learning_rate_floor
    if settings.schedule == "one_cycle":
        return one_cycle(step, settings.epochs * steps_per_epoch, peak)
    warm_up_epochs = settings.warm_up_epochs
    if warm_up_epochs is None:
        warm_up_epochs = float(settings.schedule == "cosine" and settings.epochs > 1)
    rate = tf.constant(peak)
    if settings.schedule == "cosine":
        total = float(settings.epochs * steps_per_epoch)
        rate = floor + (peak - floor) * (0.5 * (1.0 + tf.cos(math.pi * step / total)))
    elif settings.schedule == "step":
        epochs_since = tf.floor(step / steps_per_epoch) - (settings.step_start - 1.0)
        reductions = tf.maximum(tf.floor(epochs_since / settings.step_every) + 1.0, 0.0)
        rate = peak * tf.pow(settings.step_factor, reductions)
    if warm_up_epochs:
        rate = tf.minimum(1.0, (step + 1.0) / (warm_up_epochs * steps_per_epoch)) * rate
    return rate
