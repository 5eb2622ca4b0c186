# SPDX-License-Identifier: Apache-2.0
"""Converts a feature map to the image that is the input of M3Net in the paper."""

from typing import Any

import numpy as np

from m3net_tf.networks.layers.configured import Layer
from m3net_tf.system.errors import ConfigError
from m3net_tf.system.keras import keras, tf

DELTA_REACH = 4
_COLUMNS = 32  # of an image, computed at once


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

    def call(self, inputs: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        """Add the channels, then resize."""
        if training and self.channels != "colormap" and inputs.dtype == tf.float32:
            inputs = self._resized_in_time(inputs)
        else:
            inputs = _with_channels(inputs, self.channels)
        return tf.image.resize(inputs, (self.height, self.width))  # (batch, height, width, 3)

    def _resized_in_time(self, inputs: tf.Tensor) -> tf.Tensor:
        """The map with its channels, (batch, bins, width, 3), in a third of the time on a CPU.

        Derivatives and resizing are linear, so a matrix gives all columns of the image. Each of
        them depends on a few frames: a product for some columns reads these alone.
        """
        _, bins, frames, _ = inputs.shape
        with tf.init_scope():
            units = tf.reshape(tf.eye(frames), (1, frames, frames, 1))
            units = tf.image.resize(_with_channels(units, self.channels), (frames, self.width))
            matrix = units[0].numpy()  # (frames, width, 3)
        rows = tf.reshape(inputs, (-1, frames))
        parts = []
        for first in range(0, self.width, _COLUMNS):
            part = matrix[:, first : first + _COLUMNS].reshape(frames, -1)
            read = np.flatnonzero(part.any(axis=1))
            read_from, read_to = read[0], read[-1] + 1
            parts.append(tf.matmul(rows[:, read_from:read_to], part[read_from:read_to]))
        return tf.reshape(tf.concat(parts, axis=1), (-1, bins, self.width, 3))


def _with_channels(x: tf.Tensor, channels: str) -> tf.Tensor:
    """The three channels of a map (batch, bins, frames, 1)."""
    if channels == "delta":
        delta = _delta(x)
        return tf.concat([x, delta, _delta(delta)], axis=-1)
    return _colour(x) if channels == "colormap" else tf.concat([x] * 3, axis=-1)


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
