# SPDX-License-Identifier: Apache-2.0
"""Copies a network with wrapped layers for fine-tuning, and back."""

import dataclasses
from collections.abc import Callable

from m3net_tf.system.keras import keras, tf


def _nothing() -> None:
    """Do nothing."""


@dataclasses.dataclass(frozen=True)
class Wrapped:
    """A network during fine-tuning.

    Attributes:
        strip: returns the plain network with the trained weights.
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
    """Copy a network, layer by layer; it keeps its weights.

    ``wrap`` returns a copied layer or a wrapper around it. Returns the copy, and the weights of its
    layers by name, in the layers' original order, which some wrappers change.
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
    """A network with the same layers and other weights, by the layers' names."""
    plain = keras.models.clone_model(model)
    for name, values in weights.items():
        plain.get_layer(name).set_weights([value.numpy() for value in values])
    return plain
