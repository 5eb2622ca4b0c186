# SPDX-License-Identifier: Apache-2.0
"""Attention over channels."""

import math
from typing import Any

from m3net_tf.networks.layers.configured import Layer
from m3net_tf.networks.layers.precision import mean_pool
from m3net_tf.system.keras import keras, tf


@keras.utils.register_keras_serializable("m3net_tf")
class EfficientChannelAttention(Layer):
    """ECA: weight each channel by a 1-D convolution over its neighbours' global averages.

    Wang et al., "ECA-Net", CVPR 2020, as used in M3Net's section 2.2: no bias, sigmoid.

    Args:
        kernel_size: odd number of neighbouring channels; 0 means ECA-Net's rule:
            (log2(channels) + 1) / 2, rounded down, plus 1 if even.

    Shapes:
        (batch, frequency, time, channels) in and out.
    """

    def __init__(self, kernel_size: int = 0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.kernel_size = kernel_size

    def build(self, input_shape: tf.TensorShape) -> None:
        """Create the kernel; its default length depends on the number of channels."""
        width = self.kernel_size
        if not width:
            width = int((math.log2(input_shape[-1]) + 1) / 2)
            width += 1 - width % 2
        self.kernel = self.add_weight(
            "kernel", (1, width, 1, 1), initializer="glorot_uniform", trainable=True
        )
        super().build(input_shape)

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        _, bins, frames, channels = inputs.shape
        # Pooling over the whole map: on a device it is much faster than a mean.
        pooled = mean_pool(inputs, (bins, frames))  # (batch, 1, 1, C)
        # A 1 x C map of one channel, because TFLite Micro has no 1-D convolution.
        row = tf.reshape(pooled, [-1, 1, channels, 1])
        mixed = tf.nn.conv2d(row, tf.cast(self.kernel, row.dtype), strides=1, padding="SAME")
        gate = tf.reshape(tf.sigmoid(mixed), [-1, 1, 1, channels])
        return inputs * gate  # (batch, F, T, C)
