# SPDX-License-Identifier: Apache-2.0
"""Layers that several networks share. Maps are (batch, frequency, time, channel)."""

from m3net_tf.networks.layers.convolution import classifier, conv_block, ds_conv
from m3net_tf.networks.layers.diffres import DiffRes
from m3net_tf.networks.layers.mirror import Mirror
from m3net_tf.networks.layers.mirror_attention import MirrorAttention

__all__ = [
    "DiffRes",
    "Mirror",
    "MirrorAttention",
    "classifier",
    "conv_block",
    "ds_conv",
]
