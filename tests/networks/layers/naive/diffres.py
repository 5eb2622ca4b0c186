# SPDX-License-Identifier: Apache-2.0
"""DiffRes: its score network and its layer, in front of a classifier."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from m3net_tf.networks.layers.diffres.warp import frames_after
from m3net_tf.networks.models import presets_of
from m3net_tf.networks.positions import positional_encoding
from m3net_tf.system.errors import ConfigError
from m3net_tf.system.keras import keras, tf
from naive.efficientnet_attention import efficientnet_attention
from naive.m3net import m3net
from naive.warp import Warp, warp_by_matrix

_LEAK = 0.01


def diffres(
    input_shape: tuple[int, int, int],
    classes: int,
    *,
    classifier: Mapping[str, Any],
    reduction: float = 0.5,
    feature_range: Mapping[str, float] | None = None,
) -> keras.Model:
    """DiffRes in matrix form in front of EfficientNet-B2 or M3Net.

    Args:
        input_shape: (bins, frames, 1).
        classes: number of classes.
        classifier: the preset's entry for the network behind it.
        reduction: share of the frames that is removed, delta.
        feature_range: ``feature_min`` and ``feature_max`` of the front end, natural logarithm.

    Raises:
        ConfigError: the classifier is a different network.
    """
    behind = classifier["name"]
    if behind not in ("efficientnet_attention", "m3net"):
        raise ConfigError(
            f"the naive DiffRes has efficientnet_attention or m3net behind it, not {behind}: "
            "choose a preset"
        )
    inputs = keras.Input(input_shape)
    layer = DiffResLayer(reduction, warp_by_matrix, **(feature_range or {}))
    warped = layer([inputs, frame_scores(inputs)])
    if behind == "m3net":
        network = m3net(warped.shape[1:], classes, **preset_arguments(classifier))
    else:
        network = efficientnet_attention(warped.shape[1:], classes)
    return keras.Model(inputs, network(warped))


def preset_arguments(entry: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of a network given by ``name``, ``preset`` and optional ``arguments``."""
    preset = presets_of(entry["name"])[entry["preset"]]
    return {**preset.arguments, **entry.get("arguments", {})}


def frame_scores(x: tf.Tensor) -> tf.Tensor:
    """DiffRes's score network with Conv1D: map (batch, F, T, 1) to (batch, T)."""
    _, bins, frames, _ = x.shape
    x = keras.layers.Permute((2, 1))(keras.layers.Reshape((bins, frames))(x))  # (T, F)
    for index, filters in enumerate((bins // 2, bins // 4, bins // 8, bins // 16, 1), start=1):
        for part in ("a", "b"):
            skip, name = x, f"importance{index}_{part}"
            x = keras.layers.Conv1D(filters, 5, padding="same", name=f"{name}_conv")(x)
            x = keras.layers.BatchNormalization(name=f"{name}_bn")(x)
            if (index, part) != (5, "b"):
                x = keras.layers.LeakyReLU(_LEAK)(x)
        x = keras.layers.Add()([x, skip])
    return keras.layers.Activation("sigmoid")(keras.layers.Reshape((frames,))(x))


class DiffResLayer(keras.layers.Layer):
    """DiffRes behind its score network: rescale, penalise scores of empty frames, warp.

    Args:
        reduction: share of the frames that is removed, delta.
        warp: :func:`warp_by_loop` or :func:`warp_by_matrix`.
        feature_min: natural logarithm of the mel power that is the feature -1.
        feature_max: natural logarithm of the mel power that is the feature 127/128.

    Shapes:
        [features (batch, F, T, 1), scores (batch, T)] to (batch, F, t, 3).
    """

    def __init__(
        self, reduction: float, warp: Warp, feature_min: float = -14.0, feature_max: float = 5.0
    ) -> None:
        super().__init__()
        self.reduction = reduction
        self.warp = warp
        self.lowest = feature_min
        self.step = (feature_max - feature_min) / 255.0 * 128.0

    def call(self, inputs: Sequence[tf.Tensor]) -> tf.Tensor:
        """Warp the features."""
        features, scores = inputs
        _, bins, frames, _ = features.shape
        left = frames_after(frames, self.reduction)
        scores = scores / tf.reduce_sum(scores, axis=1, keepdims=True) * left
        scores = scores / tf.maximum(tf.reduce_max(scores, axis=1, keepdims=True), 1.0)
        power = tf.exp((features[..., 0] + 1.0) * self.step + self.lowest)
        power = tf.transpose(power, (0, 2, 1))  # (batch, T, F)
        energy = tf.sqrt(tf.reduce_mean(tf.square(power), axis=2))
        empty = tf.cast(energy < 1e-4, tf.float32)
        excess = tf.reduce_sum(empty * tf.nn.relu(scores / self.reduction - 0.5), axis=1)
        guide = tf.math.divide_no_nan(excess, tf.reduce_sum(empty, axis=1))
        self.add_loss(tf.reduce_mean(guide))
        positions = tf.constant(positional_encoding(frames, bins))  # (T, F)
        mean, largest, encoding = self.warp(power, scores, left, positions)
        maps = [self._logarithm(mean), self._logarithm(largest), encoding]
        return tf.stack([tf.transpose(channel, (0, 2, 1)) for channel in maps], axis=-1)

    def _logarithm(self, power: tf.Tensor) -> tf.Tensor:
        floored = tf.maximum(tf.math.log(power + 1e-37), self.lowest)
        return (floored - self.lowest) / self.step - 1.0
