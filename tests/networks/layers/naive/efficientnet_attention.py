# SPDX-License-Identifier: Apache-2.0
"""EfficientNet-B2 with attention over time in stock Keras layers."""

from __future__ import annotations

from collections.abc import Sequence

from m3net_tf.system.keras import keras, tf


def efficientnet_attention(input_shape: tuple[int, int, int], classes: int) -> keras.Model:
    """EfficientNet-B2 with attention over time in four heads.

    Args:
        input_shape: (bins, frames, 3).
        classes: number of classes.
    """
    inputs = keras.Input(input_shape)
    x = keras.layers.Rescaling(255.0)(inputs)
    network = keras.applications.EfficientNetB2(include_top=False, weights=None, input_tensor=x)
    return keras.Model(inputs, attention_head(network.output, classes))


def attention_head(x: tf.Tensor, classes: int) -> tf.Tensor:
    """Attention over time in four heads: map (batch, F, T, C) to (batch, classes)."""
    x = keras.layers.Lambda(lambda y: tf.reduce_mean(y, axis=1))(x)  # (T, C)
    attention = keras.layers.Dense(4 * classes, "sigmoid", name="attention")(x)
    scores = keras.layers.Dense(4 * classes, name="class_scores")(x)

    def attend(both: Sequence[tf.Tensor]) -> tf.Tensor:
        weights = both[0] / tf.reduce_sum(both[0], axis=1, keepdims=True)
        pooled = tf.reduce_sum(weights * both[1], axis=1)
        return tf.transpose(tf.reshape(pooled, (-1, 4, classes)), (0, 2, 1))  # (classes, 4)

    heads = keras.layers.Lambda(attend)([attention, scores])
    logits = keras.layers.Dense(1, use_bias=False, name="heads")(heads)
    return keras.layers.Softmax()(keras.layers.Reshape((classes,))(logits))
