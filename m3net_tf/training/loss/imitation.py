# SPDX-License-Identifier: Apache-2.0
"""A network learns the vectors of a teacher's file, beside the labels or instead of them.

A dense layer that only the training has predicts the vector from what the network's classifier
reads. The loss is the mean squared error of standardised values: each value of the vector counts
equally, however large it is, and 1 is the loss of a network that knows nothing. A cosine would
depend mostly on the few values that vary most.
"""

import math
from typing import Any

from m3net_tf.networks.models.interface import without_early_exits
from m3net_tf.system.errors import ConfigError
from m3net_tf.system.keras import keras, tf
from m3net_tf.training.loss.losses import LabelLoss
from m3net_tf.training.recipe.sections import DistillationSection


def imitating(network: keras.Model, size: int) -> keras.Model:
    """A network with one output more: its prediction of a teacher's vector of ``size`` values.

    Raises:
        ConfigError: the network's classifier reads no single vector.
    """
    with_weights = [layer for layer in without_early_exits(network).layers if layer.weights]
    classifier = with_weights[-1]
    features = classifier.input
    one_tensor = isinstance(classifier, (keras.layers.Dense, keras.layers.Conv2D))
    if not one_tensor or math.prod(features.shape[1:-1]) != 1:
        raise ConfigError(
            f"distillation.teacher needs one vector before the classes, which {network.name} does "
            "not have: choose another network"
        )
    flat = keras.layers.Flatten(name="imitation_input", dtype="float32")(features)
    vector = keras.layers.Dense(size, name="imitation", dtype="float32")(flat)
    return keras.Model(network.input, [*network.outputs, vector], name=network.name)


def imitation_loss(
    targets: tf.Tensor,
    vectors: tf.Tensor,
    outputs: list[tf.Tensor],
    label_loss: LabelLoss,
    settings: DistillationSection,
) -> tf.Tensor:
    """Weighted sum of the losses of the labels and of the imitation, a scalar.

    Args:
        targets: of the labels, shape (batch, classes).
        vectors: the teacher's, standardised, shape (batch, size).
        outputs: of a network that :func:`imitating` made.
    """
    *exits, predicted = outputs
    error = tf.reduce_mean(tf.math.squared_difference(vectors, predicted))
    if settings.weight == 1:
        return error
    probabilities: Any = exits if len(exits) > 1 else exits[0]
    labels = label_loss(targets, probabilities)
    return (1.0 - settings.weight) * labels + settings.weight * error
