# SPDX-License-Identifier: Apache-2.0
"""Computations that always use single precision: layers, and means over many points."""

from typing import Any

from m3net_tf.networks.layers.configured import Layer
from m3net_tf.system.keras import keras, tf


class Float32Layer(Layer):
    """A layer that computes in single precision regardless of the policy.

    It casts its inputs; the next layer casts them again by its own policy.

    Attributes:
        why_float32: the reason why half precision does not work, set by each layer.
    """

    why_float32 = ""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{**kwargs, "dtype": "float32"})

    def get_config(self) -> dict[str, object]:
        """Arguments that rebuild the layer, without the type."""
        config = super().get_config()
        config.pop("dtype")
        return config


def mean_pool(x: tf.Tensor, size: tuple[int, int]) -> tf.Tensor:
    """Mean of a map (batch, F, T, C) over windows of (bins, frames), without padding.

    On a device it is much faster than a mean over axes. Some kernels sum in the map's own type, and
    a long sum in half precision saturates.
    """
    pooled = tf.nn.avg_pool2d(tf.cast(x, tf.float32), size, 1, "VALID")
    return tf.cast(pooled, x.dtype)


def average_pooling(x: tf.Tensor, size: tuple[int, int], name: str) -> tf.Tensor:
    """``mean_pool`` as a Keras layer, whose stride is the window: to (batch, F', T', C)."""
    return keras.layers.AveragePooling2D(size, dtype="float32", name=name)(x)
