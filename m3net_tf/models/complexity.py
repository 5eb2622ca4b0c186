# SPDX-License-Identifier: Apache-2.0
"""What an inference of a network costs, counted layer by layer."""

from __future__ import annotations

import math

from m3net_tf.keras import keras
from m3net_tf.layers import EfficientChannelAttention


def count_macs(model: keras.Model) -> int:
    """Multiply-accumulates of one inference in convolutions, dense layers, LSTMs and attention.

    A layer of ours that multiplies has a method ``macs(input_shape, output_shape)``.
    """
    total = 0
    for layer in model.layers:
        if isinstance(layer, keras.layers.DepthwiseConv2D):
            total += math.prod(layer.output_shape[1:]) * math.prod(layer.kernel_size)
        elif isinstance(layer, keras.layers.Conv2D):
            fan_in = math.prod(layer.kernel_size) * layer.input_shape[-1] // layer.groups
            total += math.prod(layer.output_shape[1:]) * fan_in
        elif isinstance(layer, keras.layers.Dense):
            total += math.prod(layer.kernel.shape)
        elif isinstance(layer, keras.layers.LSTM):
            steps, channels = layer.input_shape[1:]
            total += steps * 4 * layer.units * (channels + layer.units)
        elif hasattr(layer, "macs"):
            total += layer.macs(layer.input_shape, layer.output_shape)
        elif isinstance(layer, EfficientChannelAttention):
            total += layer.input_shape[-1] * layer.kernel.shape[1]
    return total
