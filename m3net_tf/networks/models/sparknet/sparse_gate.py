# SPDX-License-Identifier: Apache-2.0
"""Sparse binarisation: converts a map to gates, few of which are open.

Svirsky et al., "Sparse Binarization for Fast Keyword Spotting", Interspeech 2024, section 2.
Sequences are maps of one row, (batch, 1, T, channels), the only form that TFLite Micro supports.
"""

import math
from typing import Any

from m3net_tf.networks.layers.configured import Configured
from m3net_tf.networks.layers.convolution import NORM_MOMENTUM
from m3net_tf.system.keras import keras, tf
from m3net_tf.system.keras_internals import RandomLayer


@keras.utils.register_keras_serializable("m3net_tf")
class SparseGate(Configured, RandomLayer):
    """Gates z = min(max(mu + 1/2 + noise, 0), 1), with noise only in training.

    Gaussian noise drives mu away from the middle, where a gate would be open in one step and closed
    in the next. The mean probability that a gate is not closed, P(mu + 1/2 + noise > 0), is one of
    the network's losses.

    Args:
        noise: standard deviation of the noise.
        weight: weight of that loss relative to the classification loss; 0 omits it.
        seed: seed of the noise; default: drawn from the global seed.

    Shapes:
        mu in [-1, 1] of any shape to gates of the same shape.
    """

    def __init__(
        self, noise: float = 0.5, weight: float = 0.01, seed: int | None = None, **kwargs: Any
    ) -> None:
        super().__init__(seed=seed, **kwargs)
        self.noise = noise
        self.weight = weight
        self.seed = seed

    def call(self, inputs: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        x = inputs
        if training:
            if self.weight:
                middle = (tf.cast(x, tf.float32) + 0.5) / (self.noise * math.sqrt(2.0))
                self.add_loss(self.weight * tf.reduce_mean(0.5 + 0.5 * tf.math.erf(middle)))
            x += self.normal(tf.shape(x), self.noise, inputs.dtype)
        # Not clip_by_value: TFLite Micro does not support its operator RELU_0_TO_1.
        return tf.minimum(tf.nn.relu(x + 0.5), 1.0)


def time_channel_conv(
    x: tf.Tensor, filters: int, kernel: int, *, residual: bool, name: str = "tcs"
) -> tf.Tensor:
    """Time-channel separable convolution: first over time per channel, then over channels.

    (batch, 1, T, channels) to (batch, 1, T, filters); the kernel is in frames. ``residual`` adds
    the block's input through a 1 x 1 convolution and normalisation.
    """
    y = keras.layers.DepthwiseConv2D(
        (1, kernel), padding="same", use_bias=False, name=f"{name}_dw"
    )(x)
    y = keras.layers.Conv2D(filters, 1, use_bias=False, name=f"{name}_pw")(y)
    y = keras.layers.BatchNormalization(momentum=NORM_MOMENTUM, name=f"{name}_bn")(y)
    if residual:
        skip = keras.layers.Conv2D(filters, 1, use_bias=False, name=f"{name}_skip_conv")(x)
        skip = keras.layers.BatchNormalization(momentum=NORM_MOMENTUM, name=f"{name}_skip_bn")(skip)
        y = keras.layers.Add(name=f"{name}_skip")([y, skip])
    return keras.layers.ReLU(name=f"{name}_relu")(y)
