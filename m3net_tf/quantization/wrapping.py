# SPDX-License-Identifier: Apache-2.0
"""A copy of a network whose layers are wrapped for a fine-tuning, and the way back."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from m3net_tf.keras import keras, tf


def _nothing() -> None:
    """What most wrappers need around their training."""


@dataclasses.dataclass(frozen=True)
class Wrapped:
    """A network in fine-tuning.

    Attributes:
        model: the network that is trained.
        strip: gives the plain network with what was learnt.
        begin: called before the first step.
        close_epoch: called after each epoch.
    """

    model: keras.Model
    strip: Callable[[], keras.Model]
    begin: Callable[[], None] = _nothing
    close_epoch: Callable[[], None] = _nothing


def copy_wrapped(
    model: keras.Model, wrap: Callable[[keras.layers.Layer], keras.layers.Layer]
) -> tuple[keras.Model, dict[str, list[tf.Variable]]]:
    """Copy a network, layer by layer.

    Args:
        model: the network; it keeps its weights.
        wrap: gives what stands in the copy for a copied layer: that layer itself, or a wrapper
            around it.

    Returns:
        The copy, and the weights of its layers by the layers' names, in the layers' own order,
        which some wrappers change.
    """
    weights: dict[str, list[tf.Variable]] = {}

    def copied(layer: keras.layers.Layer) -> keras.layers.Layer:
        twin = type(layer).from_config(layer.get_config())
        if layer.weights:
            twin.build(layer.input_shape)
            twin.set_weights(layer.get_weights())
            weights[layer.name] = list(twin.weights)
        return wrap(twin)

    return keras.models.clone_model(model, clone_function=copied), weights


def plain_copy(model: keras.Model, weights: dict[str, list[tf.Variable]]) -> keras.Model:
    """A network of the same layers with other weights, by the layers' names."""
    plain = keras.models.clone_model(model)
    for name, values in weights.items():
        plain.get_layer(name).set_weights([value.numpy() for value in values])
    return plain
