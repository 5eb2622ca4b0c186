# SPDX-License-Identifier: Apache-2.0
"""Learning rate schedules."""

import math

from m3net_tf.system.keras import tf
from m3net_tf.training.recipe.sections import TrainingSection


def learning_rate(settings: TrainingSection, step: tf.Tensor, steps_per_epoch: int) -> tf.Tensor:
    """Learning rate of a step under schedules that depend only on the step.

    Args:
        step: number of completed steps, a float32 scalar.

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


def one_cycle(step: tf.Tensor | float, steps: int, peak: float) -> tf.Tensor:
    """Learning rate of a step: half a cosine up to the peak, then half a cosine down.

    Smith, "A disciplined approach to neural network hyper-parameters: part 1", 2018, with the form
    and the defaults of PyTorch's ``OneCycleLR`` (two phases, cosine), which the bilateral network's
    paper uses (section 4.1.2). Momentum is constant.

    Args:
        step: number of completed steps, a number or a scalar tensor; steps after the last one get
            its rate.
    """
    first = peak / 25.0
    final = first / 1e4
    top = max(0.3 * steps - 1.0, 0.0)  # step of the peak, possibly between two whole steps
    last = max(steps - 1.0, top)
    step = tf.minimum(tf.cast(step, tf.float32), last)
    up = _wave(first, peak, step / top) if top else peak
    down = _wave(peak, final, (step - top) / (last - top)) if last > top else final
    return tf.where(step < top, up, down)


def _wave(start: float, end: float, share: tf.Tensor) -> tf.Tensor:
    return end + 0.5 * (start - end) * (1.0 + tf.cos(math.pi * share))
