# SPDX-License-Identifier: Apache-2.0
"""What some networks take beside maps, and give beside probabilities: lengths and early exits."""

from typing import Any

from m3net_tf.system.keras import keras, tf


def without_early_exits(model: keras.Model) -> keras.Model:
    """The network without early exits, which are used only in training; shares its weights."""
    if len(model.outputs) == 1:
        return model
    return keras.Model(model.input, model.outputs[0], name=model.name)


def takes_lengths(model: keras.Model) -> bool:
    """Whether a network has an input for clip lengths (SpectroMaskNet's ``lengths``)."""
    return isinstance(model.input, dict)


def feed(model: keras.Model, maps: tf.Tensor, lengths: tf.Tensor | None) -> Any:
    """Inputs of a network: the maps, or a dict of maps and lengths.

    Frames after a clip's length are padding. All maps of a data set have the same shape. Padding
    each batch only to its longest clip would save time but not change results, because a network
    with lengths ignores padding.
    """
    return {"features": maps, "lengths": lengths} if takes_lengths(model) else maps
