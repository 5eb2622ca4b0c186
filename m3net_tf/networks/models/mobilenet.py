# SPDX-License-Identifier: Apache-2.0
"""MobileNet on log-mel patches, the network of YAMNet and of the trained bodies for sounds.

A. Howard et al., "MobileNets: Efficient Convolutional Neural Networks for Mobile Vision
Applications", arXiv:1704.04861, table 1. YAMNet (github.com/tensorflow/models,
research/audioset/yamnet) has this network over patches of 96 frames by 64 mel bins.
"""

import dataclasses
from collections.abc import Sequence

from m3net_tf.networks.layers import classifier, conv_block, ds_conv
from m3net_tf.system.keras import keras


@dataclasses.dataclass(frozen=True)
class Design:
    """Design of the network.

    Attributes:
        stem: channels of the first convolution, which has stride 2.
        channels: channels of each depthwise separable block.
        strides: stride of each block.
        dropout: share of the pooled features dropped in training.
    """

    stem: int
    channels: Sequence[int]
    strides: Sequence[int]
    dropout: float = 0.0


def build(input_shape: tuple[int, int, int], classes: int, design: Design) -> keras.Model:
    """Build the network: a strided convolution, blocks, pooling, dense layer.

    Raises:
        ValueError: ``channels`` and ``strides`` differ in length.
    """
    inputs = keras.Input(input_shape, name="features")  # (F, T, 1)
    x = conv_block(inputs, design.stem, (3, 3), (2, 2), name="stem")
    blocks = zip(design.channels, design.strides, strict=True)
    for number, (channels, stride) in enumerate(blocks, 1):
        x = ds_conv(x, channels, (3, 3), (stride, stride), f"block{number}", depthwise_norm=True)
    return keras.Model(inputs, classifier(x, classes, design.dropout), name="mobilenet")
