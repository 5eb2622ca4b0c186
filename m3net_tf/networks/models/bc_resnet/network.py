# SPDX-License-Identifier: Apache-2.0
"""BC-ResNet, the most accurate of the small keyword networks.

Kim et al., "Broadcasted Residual Learning for Efficient Keyword Spotting", Interspeech 2021,
table 1: BC-ResNet-tau has tau times the channels of BC-ResNet-1. Its input has 40 log-mel bins at a
hop of 10 ms.
"""

import dataclasses

from m3net_tf.networks.layers import classifier
from m3net_tf.networks.layers.convolution import NORM_MOMENTUM
from m3net_tf.networks.models.bc_resnet.broadcasted import broadcasted_residual
from m3net_tf.system.conversion import AtLeastOne
from m3net_tf.system.errors import ConfigError
from m3net_tf.system.keras import keras

BASE_FILTERS = 8
STEM, LAST = 2.0, 4.0
STAGES = ((1.0, 2, 1, 1), (1.5, 2, 2, 2), (2.0, 4, 2, 4), (2.5, 4, 1, 8))
"""Channels in multiples of 8 tau, blocks, stride in frequency, dilation in time (table 1)."""
FEWEST_BINS = 33
"""Three halvings leave 5 bins, the height of the last depthwise convolution."""


@dataclasses.dataclass(frozen=True)
class Design:
    """Design of BC-ResNet.

    Attributes:
        tau: width multiplier.
        bands: number of frequency bands of the sub-spectral normalisation.
        dropout: share of the channels dropped in each block in training.
    """

    tau: float = 1.0
    bands: AtLeastOne = 5
    dropout: float = 0.1


def build(input_shape: tuple[int, int, int], classes: int, design: Design) -> keras.Model:
    """Build BC-ResNet: a convolution, four stages of BC-ResBlocks, a convolution over all bins.

    Maps need at least 33 bins; the paper's have 40.

    Raises:
        ConfigError: too few bins, or a width that gives no channels.
    """
    if input_shape[0] < FEWEST_BINS:
        raise ConfigError(
            f"BC-ResNet takes maps of at least {FEWEST_BINS} bins, not {input_shape[0]}: change "
            "frontend.mel_bins"
        )
    if BASE_FILTERS * design.tau < 1:
        raise ConfigError(f"model.tau is {design.tau}: give at least {1 / BASE_FILTERS}")

    def width(multiple: float) -> int:
        return int(BASE_FILTERS * design.tau * multiple)

    inputs = keras.Input(input_shape, name="features")  # (F, T, channels)
    x = keras.layers.Conv2D(
        width(STEM), 5, (2, 1), padding="same", use_bias=False, name="stem_conv"
    )(inputs)
    x = keras.layers.BatchNormalization(momentum=NORM_MOMENTUM, name="stem_bn")(x)
    x = keras.layers.ReLU(name="stem_relu")(x)  # (F/2, T, 16 tau)
    for stage, (multiple, blocks, stride, dilation) in enumerate(STAGES, start=1):
        for block in range(1, blocks + 1):
            x = broadcasted_residual(
                x,
                width(multiple),
                stride=stride if block == 1 else 1,
                dilation=dilation,
                bands=design.bands,
                dropout=design.dropout,
                name=f"stage{stage}_{block}",
            )  # finally (F/8, T, 20 tau)
    x = keras.layers.ZeroPadding2D((0, 2), name="last_pad")(x)
    x = keras.layers.DepthwiseConv2D(5, use_bias=False, name="last_dw")(x)  # (F/8 - 4, T, 20 tau)
    x = keras.layers.Conv2D(width(LAST), 1, use_bias=False, name="last_conv")(x)
    x = keras.layers.BatchNormalization(momentum=NORM_MOMENTUM, name="last_bn")(x)
    x = keras.layers.ReLU(name="last_relu")(x)  # (F/8 - 4, T, 32 tau)
    return keras.Model(inputs, classifier(x, classes), name="bc_resnet")
