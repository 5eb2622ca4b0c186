# SPDX-License-Identifier: Apache-2.0
"""Losses of a training: cross-entropy with the labels, and divergence from a teacher."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from m3net_tf.errors import ConfigError
from m3net_tf.keras import keras, tf
from m3net_tf.training.features import FeatureSet
from m3net_tf.training.sections import DistillationSection, TrainingSection
from m3net_tf.training.self_distillation import cross_entropy, self_distillation_loss, soften

LabelLoss = Callable[[tf.Tensor, Any], tf.Tensor]


def label_loss(settings: TrainingSection, train_set: FeatureSet, classes: int) -> LabelLoss:
    """Function of targets (batch, classes) and of a network's answers that gives their loss.

    Several answers are those of early exits (:mod:`.self_distillation`). Targets may be mixed; a
    mixed clip's class weight is mixed alike.

    Raises:
        ConfigError: class weights where clips have several labels.
    """
    smoothing = settings.label_smoothing
    if train_set.matrix is not None:
        if settings.class_weights != "none":
            raise ConfigError(
                f"training.class_weights is {settings.class_weights!r}, which needs one label a "
                "clip: set it to none"
            )
        return lambda targets, answers: tf.reduce_mean(
            keras.losses.binary_crossentropy(targets, answers, label_smoothing=smoothing)
        )
    weights = None
    if settings.class_weights == "balanced":
        weights = tf.constant(balanced_weights(train_set.labels, classes))[:, None]

    def loss(targets: tf.Tensor, answers: Any) -> tf.Tensor:
        clip_weights = None if weights is None else tf.matmul(targets, weights)[:, 0]
        if not isinstance(answers, list):
            return cross_entropy(targets, answers, smoothing, clip_weights)
        return self_distillation_loss(
            targets,
            answers,
            temperature=settings.exit_temperature,
            weight=settings.exit_weight,
            label_smoothing=smoothing,
            clip_weights=clip_weights,
        )

    return loss


def balanced_weights(labels: npt.NDArray[np.int32], classes: int) -> npt.NDArray[np.float32]:
    """Weight of each class in inverse proportion to its clips, shape (classes,).

    A clip's weight is 1 on average. Classes without a clip have weight 0.
    """
    counts = np.bincount(labels, minlength=classes)
    present = np.count_nonzero(counts)
    weights = len(labels) / (present * np.maximum(counts, 1))
    return np.where(counts > 0, weights, 0.0).astype(np.float32)


def teacher_loss(
    labels: tf.Tensor,
    teacher: tf.Tensor,
    answers: tf.Tensor,
    settings: DistillationSection,
    *,
    multi_label: bool = False,
) -> tf.Tensor:
    """Weighted sum of the labels' loss and the answers' divergence from a teacher's.

    Hinton et al., "Distilling the Knowledge in a Neural Network", 2015, section 2: both answers
    are softened, and the square of the temperature keeps the gradients' size. With several labels
    a clip each class is a choice of its own between yes and no.

    Args:
        labels: loss against the labels, a scalar.
        teacher: the teacher's probabilities, shape (batch, classes).
        answers: the network's, of the same shape.
        settings: share of the teacher and temperature.
        multi_label: whether the probabilities are sigmoids.

    Returns:
        A scalar.
    """
    teacher = tf.stop_gradient(teacher)
    if multi_label:  # yes and no as two classes
        teacher, answers = (tf.stack([p, 1.0 - p], axis=-1) for p in (teacher, answers))
    target = soften(teacher, settings.temperature)
    difference = target - soften(answers, settings.temperature)
    divergence = tf.reduce_mean(tf.reduce_sum(tf.exp(target) * difference, axis=-1))
    return (1.0 - settings.weight) * labels + settings.weight * settings.temperature**2 * divergence
