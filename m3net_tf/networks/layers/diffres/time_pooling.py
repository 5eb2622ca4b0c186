# SPDX-License-Identifier: Apache-2.0
"""Pooling over time: means over chosen frames, and the baselines of DiffRes (section 3.1)."""

from typing import Any

import numpy as np

from m3net_tf.networks.layers.configured import Layer
from m3net_tf.system.keras import keras, tf


def mean_over_frames(values: tf.Tensor, chosen: tf.Tensor) -> tf.Tensor:
    """Mean of each clip's chosen frames, (batch, T) to (batch,); 0 for clips without any."""
    weights = tf.cast(chosen, values.dtype)
    count = tf.reduce_sum(weights, axis=1)
    return tf.math.divide_no_nan(tf.reduce_sum(values * weights, axis=1), count)


class _FewerFrames(Layer):
    """(batch, frequency, T, channels) to (batch, frequency, frames_out, channels)."""

    def __init__(self, frames_out: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.frames_out = frames_out


@keras.utils.register_keras_serializable("m3net_tf")
class AdaptiveAveragePooling(_FewerFrames):
    """Average over time to a given number of frames (AvgPool).

    Frame i is the mean of the frames from floor(i T / t) to, excluding, ceil((i + 1) T / t).
    Neighbours share a frame if T / t is not a whole number.
    """

    def build(self, input_shape: tf.TensorShape) -> None:
        super().build(input_shape)
        frames = input_shape[2]
        self._table = np.zeros((frames, self.frames_out), np.float32)
        for i in range(self.frames_out):
            first, end = i * frames // self.frames_out, -(-(i + 1) * frames // self.frames_out)
            self._table[first:end, i] = 1.0 / (end - first)

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        # A 1 x 1 convolution over frames as channels: one fast kernel in float and in int8.
        rows = tf.transpose(inputs, (0, 1, 3, 2))  # (batch, F, C, T)
        kernel = tf.constant(self._table[None, None], rows.dtype)
        return tf.transpose(tf.nn.conv2d(rows, kernel, 1, "VALID"), (0, 1, 3, 2))


@keras.utils.register_keras_serializable("m3net_tf")
class FrameSampling(_FewerFrames):
    """Keep frames at regular steps (change hop): frame i is frame floor(i T / t) of the input.

    If T / t is a whole number, the result equals the map of a front end with T / t times the hop.
    """

    def build(self, input_shape: tf.TensorShape) -> None:
        super().build(input_shape)
        frames = input_shape[2]
        self._kept = [i * frames // self.frames_out for i in range(self.frames_out)]

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        return tf.gather(inputs, self._kept, axis=2)
