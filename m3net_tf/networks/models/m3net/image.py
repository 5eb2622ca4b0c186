# SPDX-License-Identifier: Apache-2.0
"""Converts a feature map to the image that is the input of M3Net in the paper."""

from typing import Any

import numpy as np

from m3net_tf.networks.layers.configured import Layer
from m3net_tf.system.errors import ConfigError
from m3net_tf.system.keras import keras, tf

DELTA_REACH = 4


@keras.utils.register_keras_serializable("m3net_tf")
class SpectrogramImage(Layer):
    """Resize a one-channel map bilinearly and give it three channels.

    M3Net, "Training Details": the input is 256 x 256 x 3 although a mel map has one channel. The
    paper does not describe the conversion, so it is an option (docs/design/decisions.md).

    Args:
        channels: ``delta`` (the map, its first and second derivative over time), ``replicate``
            (the map three times) or ``colormap`` (a perceptual colour map as red, green, blue).

    Shapes:
        (batch, bins, frames, 1) in [-1, 1) to (batch, height, width, 3).

    Raises:
        ConfigError: the map has more than one channel.
    """

    def __init__(self, height: int, width: int, channels: str = "delta", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.height = height
        self.width = width
        self.channels = channels

    def build(self, input_shape: tf.TensorShape) -> None:
        if input_shape[-1] != 1:
            raise ConfigError(
                f"an image needs a map with 1 channel, not {input_shape[-1]}: remove model.image"
            )
        super().build(input_shape)

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Add the channels, then resize."""
        if self.channels == "delta":
            delta = _delta(inputs)
            inputs = tf.concat([inputs, delta, _delta(delta)], axis=-1)
        elif self.channels == "colormap":
            inputs = _colour(inputs)
        else:
            inputs = tf.concat([inputs] * 3, axis=-1)
        return tf.image.resize(inputs, (self.height, self.width))  # (batch, height, width, 3)


def _delta(x: tf.Tensor) -> tf.Tensor:
    """Slope over time, fitted to four frames on either side; edge frames are repeated."""
    first, last = x[:, :, :1], x[:, :, -1:]
    padded = tf.concat([first] * DELTA_REACH + [x] + [last] * DELTA_REACH, axis=2)
    reach = np.arange(-DELTA_REACH, DELTA_REACH + 1, dtype=np.float32)
    kernel = tf.constant((reach / np.sum(reach**2)).reshape(1, -1, 1, 1), x.dtype)
    return tf.nn.conv2d(padded, kernel, 1, "VALID")


def _colour(x: tf.Tensor) -> tf.Tensor:
    """Map values of [-1, 1) to matplotlib's viridis, scaled to [-1, 1]."""
    from matplotlib import colormaps

    table = tf.constant(2.0 * colormaps["viridis"](np.arange(256))[:, :3] - 1.0, x.dtype)
    index = tf.cast(tf.clip_by_value(tf.floor(x * 128.0) + 128.0, 0.0, 255.0), tf.int32)
    return tf.gather(table, index[..., 0])
