# SPDX-License-Identifier: Apache-2.0
"""Losses: cross-entropy with the labels and divergence from a teacher."""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from m3net_tf.system.errors import ConfigError
from m3net_tf.system.keras import keras, tf
from m3net_tf.training.clips.features import FeatureSet
from m3net_tf.training.loss.self_distillation import cross_entropy, self_distillation_loss, soften
from m3net_tf.training.network import has_sigmoids
from m3net_tf.training.recipe.sections import DistillationSection, TrainingSection

LabelLoss = Callable[[tf.Tensor, Any], tf.Tensor]


def label_loss(settings: TrainingSection, train_set: FeatureSet, classes: int) -> LabelLoss:
    """The loss as a function of targets (batch, classes) and a network's outputs.

    A list of outputs comes from early exits (:mod:`.self_distillation`). Targets may be mixed; then
    a clip's class weight is mixed in the same way.

    Raises:
        ConfigError: class weights with several labels per clip or binary cross-entropy.
    """
    smoothing = settings.label_smoothing
    if has_sigmoids(settings, multi_label=train_set.matrix is not None):
        if settings.class_weights != "none":
            raise ConfigError(
                f"training.class_weights is {settings.class_weights!r}, which needs one label per "
                "clip and loss cross_entropy: set it to none"
            )
        return lambda targets, predictions: tf.reduce_mean(
            keras.losses.binary_crossentropy(targets, predictions, label_smoothing=smoothing)
        )
    weights = None
    if settings.class_weights == "balanced":
        weights = tf.constant(balanced_weights(train_set.labels, classes))[:, None]

    def loss(targets: tf.Tensor, predictions: Any) -> tf.Tensor:
        clip_weights = None if weights is None else tf.matmul(targets, weights)[:, 0]
        if not isinstance(predictions, list):
            return cross_entropy(targets, predictions, smoothing, clip_weights)
        return self_distillation_loss(
            targets,
            predictions,
            temperature=settings.exit_temperature,
            weight=settings.exit_weight,
            label_smoothing=smoothing,
            clip_weights=clip_weights,
        )

    return loss


def balanced_weights(labels: npt.NDArray[np.int32], classes: int) -> npt.NDArray[np.float32]:
    """Weight of each class, inversely proportional to its number of clips, shape (classes,).

    The mean weight of a clip is 1. Classes without clips have weight 0.
    """
    counts = np.bincount(labels, minlength=classes)
    present = np.count_nonzero(counts)
    weights = len(labels) / (present * np.maximum(counts, 1))
    return np.where(counts > 0, weights, 0.0).astype(np.float32)


def teacher_loss(
    labels: tf.Tensor,
    teacher: tf.Tensor,
    predictions: tf.Tensor,
    settings: DistillationSection,
    *,
    sigmoids: bool = False,
) -> tf.Tensor:
    """Weighted sum of the loss of the labels and the divergence from a teacher, a scalar.

    Hinton et al., "Distilling the Knowledge in a Neural Network", 2015, section 2: both outputs
    are softened, and the squared temperature preserves the size of the gradients. With sigmoids
    each class is a separate binary decision.

    Args:
        labels: loss of the labels, a scalar.
        teacher: the teacher's probabilities, shape (batch, classes).
        predictions: the network's probabilities, of the same shape.
    """
    teacher = tf.stop_gradient(teacher)
    if sigmoids:  # yes and no as two classes
        teacher, predictions = (tf.stack([p, 1.0 - p], axis=-1) for p in (teacher, predictions))
    target = soften(teacher, settings.temperature)
    difference = target - soften(predictions, settings.temperature)
    divergence = tf.reduce_mean(tf.reduce_sum(tf.exp(target) * difference, axis=-1))
    return (1.0 - settings.weight) * labels + settings.weight * settings.temperature**2 * divergence
