# SPDX-License-Identifier: Apache-2.0
"""Joins a first part and a classifier to one network."""

import dataclasses
from collections.abc import Sequence

from m3net_tf.networks.models.registry import build_model
from m3net_tf.system.errors import ConfigError
from m3net_tf.system.keras import keras, tf


@dataclasses.dataclass(frozen=True)
class Classifier:
    """The network behind a first part.

    Attributes:
        arguments: arguments of the network that differ from the preset's.
    """

    name: str
    preset: str
    arguments: dict[str, object] | None = None


def put_in_front(
    inputs: tf.Tensor,
    x: tf.Tensor,
    classifier: Classifier,
    classes: int,
    *,
    name: str,
    refused: Sequence[str] = (),
) -> keras.Model:
    """Join a first part and the classifier of its output.

    Args:
        inputs: input of the first part.
        x: its output, a map of shape (batch, F, T, channels).
        classifier: the network that follows.
        name: name of the joined network, which cannot be its own classifier.
        refused: other networks that cannot be the classifier.

    Raises:
        ConfigError: the classifier is unknown or refused.
    """
    if classifier.name == name or classifier.name in refused:
        raise ConfigError(
            f"model.arguments.classifier.name is {classifier.name}, which cannot follow {name}: "
            "name another network"
        )
    network = build_model(
        classifier.name,
        classifier.preset,
        input_shape=tuple(x.shape[1:]),
        classes=classes,
        overrides=classifier.arguments,
    )
    # Called layer by layer, so that the classifier's layers belong to this network and are counted,
    # quantised and trained like any others.
    joined = keras.Model(inputs, network.call(x), name=name)
    weights = joined.get_weights()
    model = keras.Model.from_config(joined.get_config())  # drops the classifier's own input
    model.set_weights(weights)
    return model
