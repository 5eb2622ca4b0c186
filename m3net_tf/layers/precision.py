# SPDX-License-Identifier: Apache-2.0
"""Parts that stay out of mixed precision: layers, and means over many points."""

from __future__ import annotations

from typing import Any

from m3net_tf.keras import keras, tf


class Float32Layer(keras.layers.Layer):
    """A layer that computes in single precision whatever the policy.

    Its inputs are cast on the way in; the next layer casts what it gets by its own policy.

    Attributes:
        why_float32: what half precision would break; each such layer says it.
    """

    why_float32 = ""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{**kwargs, "dtype": "float32"})

    def get_config(self) -> dict[str, Any]:
        """Arguments that rebuild the layer; the type is none of them."""
        config = super().get_config()
        config.pop("dtype")
        return config


def mean_pool(x: tf.Tensor, size: tuple[int, int]) -> tf.Tensor:
    """Mean over windows of a map, unpadded: on a device far quicker than a mean over axes.

    Some kernels add up in the map's own type, and a long sum in half precision stops growing.

    Args:
        x: map of shape (batch, F, T, C).
        size: the window's bins and frames.
    """
    pooled = tf.nn.avg_pool2d(tf.cast(x, tf.float32), size, 1, "VALID")
    return tf.cast(pooled, x.dtype)


def average_pooling(x: tf.Tensor, size: tuple[int, int], name: str) -> tf.Tensor:
    """Keras's own layer of the means of ``mean_pool``: (batch, F, T, C) to (batch, F', T', C).

    Args:
        x: map of shape (batch, F, T, C).
        size: the window's bins and frames, which is the step, too.
        name: the layer's name.
    """
    return keras.layers.AveragePooling2D(size, dtype="float32", name=name)(x)
