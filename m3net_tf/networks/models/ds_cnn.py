# SPDX-License-Identifier: Apache-2.0
"""DS-CNN, the keyword network of MLPerf Tiny and a baseline for small networks.

Zhang et al., "Hello Edge: Keyword Spotting on Microcontrollers", arXiv:1711.07128, section 4.3,
with the size and the dropout of MLPerf Tiny's keyword benchmark.
"""

import dataclasses

from m3net_tf.networks.layers import classifier, conv_block, ds_conv
from m3net_tf.system.keras import keras


@dataclasses.dataclass(frozen=True)
class Design:
    """Design of DS-CNN.

    Attributes:
        stem_dropout: share dropped after the first convolution, in training.
        dropout: share of the pooled features dropped in training.
    """

    filters: int = 64
    blocks: int = 4
    stem_dropout: float = 0.2
    dropout: float = 0.4


def build(input_shape: tuple[int, int, int], classes: int, design: Design) -> keras.Model:
    """Build DS-CNN: a strided convolution, depthwise separable blocks, pooling, dense layer.

    Designed for maps of 10 cepstral coefficients by 49 frames.
    """
    inputs = keras.Input(input_shape, name="features")  # (F, T, channels)
    x = conv_block(inputs, design.filters, (4, 10), (2, 2), name="stem")  # (F/2, T/2, filters)
    x = keras.layers.Dropout(design.stem_dropout, name="stem_dropout")(x)
    for index in range(1, design.blocks + 1):
        x = ds_conv(x, design.filters, name=f"ds{index}", depthwise_norm=True)
    return keras.Model(inputs, classifier(x, classes, design.dropout), name="ds_cnn")
