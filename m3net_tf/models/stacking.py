# SPDX-License-Identifier: Apache-2.0
"""A front part and any network of ours behind it, as one network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from m3net_tf.errors import ConfigError, require_known_keys
from m3net_tf.keras import keras, tf
from m3net_tf.models.registry import build_model

_CLASSIFIER_KEYS = ("name", "preset", "arguments")


def put_in_front(
    inputs: tf.Tensor,
    x: tf.Tensor,
    classifier: Mapping[str, Any],
    classes: int,
    *,
    name: str,
    refused: Sequence[str] = (),
) -> keras.Model:
    """Join a front part and the classifier that takes what it gives.

    Args:
        inputs: the front part's input.
        x: its output, a map of shape (batch, F, T, channels).
        classifier: network behind it: ``name``, ``preset`` and, if wanted, ``arguments``.
        classes: number of classes.
        name: name of the whole, and of the network that must not be its own classifier.
        refused: further networks that make no sense behind it.

    Returns:
        Keras model whose layers are the front part's and the classifier's.

    Raises:
        ConfigError: the classifier is unknown, refused, or lacks a key.
    """
    require_known_keys(classifier, _CLASSIFIER_KEYS, "in section 'model.classifier'")
    for key in ("name", "preset"):
        if key not in classifier:
            raise ConfigError(f"section 'model.classifier' lacks {key!r}: name a network")
    if classifier["name"] == name:
        raise ConfigError(f"model.classifier is {name} itself: name the network behind it")
    if classifier["name"] in refused:
        raise ConfigError(
            f"model.classifier is {classifier['name']}, which cannot stand behind {name}: name "
            "another network"
        )
    network = build_model(
        classifier["name"],
        classifier["preset"],
        input_shape=tuple(x.shape[1:]),
        classes=classes,
        overrides=classifier.get("arguments"),
    )
    # Called layer by layer, so that the classifier's layers are this network's own: counted,
    # quantised and trained like those of any other network.
    joined = keras.Model(inputs, network.call(x), name=name)
    weights = joined.get_weights()
    model = keras.Model.from_config(joined.get_config())  # forgets the classifier's own input
    model.set_weights(weights)
    return model
