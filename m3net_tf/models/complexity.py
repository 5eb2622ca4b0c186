# SPDX-License-Identifier: Apache-2.0
"""Counts the multiply-accumulates of one inference layer by layer."""

from __future__ import annotations

import math

from m3net_tf.errors import ModelError
from m3net_tf.keras import keras
from m3net_tf.layers.masked import GroupNorm, PointNorm
from m3net_tf.models.bc_resnet.broadcasted import SubSpectralNorm
from m3net_tf.models.efficientnet_attention.attention_pooling import AttentionHeads
from m3net_tf.models.learnable_frontend.compression import PCEN
from m3net_tf.models.m3net.channel_attention import EfficientChannelAttention
from m3net_tf.models.spectromasknet.block_mask import BlockMask
from m3net_tf.models.spectromasknet.fusion import WeightedFusion

_SCALE_ONLY = (
    keras.layers.BatchNormalization,
    keras.layers.LayerNormalization,
    keras.layers.Normalization,
    AttentionHeads,
    BlockMask,
    GroupNorm,
    PCEN,
    PointNorm,
    SubSpectralNorm,
    WeightedFusion,
)
"""Layers whose weights only scale, shift or select: not counted."""


def count_macs(model: keras.Model) -> int:
    """Multiply-accumulates of one inference in convolutions, dense layers, LSTMs and attention.

    A custom layer that multiplies has a method ``macs(input_shape, output_shape)``.

    Raises:
        ModelError: a layer has weights whose cost is unknown.
    """
    return sum(_macs_of(layer) for layer in model.layers)


def _macs_of(layer: keras.layers.Layer) -> int:
    if isinstance(layer, keras.layers.DepthwiseConv2D):
        return math.prod(layer.output_shape[1:]) * math.prod(layer.kernel_size)
    if isinstance(layer, keras.layers.Conv2D) and not isinstance(
        layer, keras.layers.Conv2DTranspose
    ):
        fan_in = math.prod(layer.kernel_size) * layer.input_shape[-1] // layer.groups
        return math.prod(layer.output_shape[1:]) * fan_in
    if isinstance(layer, keras.layers.Dense):
        return math.prod(layer.output_shape[1:]) * layer.input_shape[-1]
    if isinstance(layer, keras.layers.LSTM):
        steps, channels = layer.input_shape[1:]
        return steps * 4 * layer.units * (channels + layer.units)
    if hasattr(layer, "macs"):
        return layer.macs(layer.input_shape, layer.output_shape)
    if isinstance(layer, EfficientChannelAttention):
        return layer.input_shape[-1] * layer.kernel.shape[1]
    if layer.weights and not isinstance(layer, _SCALE_ONLY):
        raise ModelError(
            f"layer {layer.name!r} ({type(layer).__name__}) has weights of unknown cost: give it a "
            "method macs(input_shape, output_shape)"
        )
    return 0
