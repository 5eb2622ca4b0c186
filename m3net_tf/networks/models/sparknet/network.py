# SPDX-License-Identifier: Apache-2.0
"""SparkNet, the keyword network with the fewest multiplications for its accuracy.

Svirsky et al., "Sparse Binarization for Fast Keyword Spotting", Interspeech 2024: time-channel
separable convolutions compute a gate for each frame and coefficient, and a linear layer classifies
the share of time that each gate is open. The paper gives no sizes. With kernels of 11, 15, 19 and
29 frames, a convolution in the skip of each of the last three blocks, and as many gates as
coefficients, the network has its 4 636 and 11 500 trainable parameters for 16 and 32 channels.
"""

import dataclasses

from m3net_tf.networks.layers import classifier
from m3net_tf.networks.layers.convolution import NORM_MOMENTUM
from m3net_tf.networks.models.sparknet.sparse_gate import SparseGate, time_channel_conv
from m3net_tf.system.conversion import AtLeastOne, NotNegative, Positive
from m3net_tf.system.errors import ConfigError
from m3net_tf.system.keras import keras

KERNELS = (11, 15, 19, 29)


@dataclasses.dataclass(frozen=True)
class Design:
    """Design of SparkNet.

    Attributes:
        filters: channels C of the convolutions.
        noise: standard deviation of the gates' noise in training.
        sparsity: weight of the share of open gates in the loss.
    """

    filters: AtLeastOne = 32
    noise: Positive = 0.5
    sparsity: NotNegative = 0.01


def build(input_shape: tuple[int, int, int], classes: int, design: Design) -> keras.Model:
    """Build SparkNet: four convolutions over time, gates, their mean over time, a linear layer.

    The paper's maps have 32 cepstral coefficients by 101 frames.

    Raises:
        ConfigError: a map with several channels.
    """
    bins, _, channels = input_shape
    if channels != 1:
        raise ConfigError(
            f"SparkNet needs maps with one channel, not {channels}: change the front end"
        )
    inputs = keras.Input(input_shape, name="features")  # (F, T, 1)
    x = keras.layers.Permute((3, 2, 1), name="rows")(inputs)  # (1, T, F)
    for index, kernel in enumerate(KERNELS, start=1):
        x = time_channel_conv(x, design.filters, kernel, residual=index > 1, name=f"tcs{index}")
    # (1, T, C), and a gate for each bin and frame:
    x = keras.layers.Conv2D(bins, 1, name="gate_conv")(x)  # (1, T, F)
    x = keras.layers.BatchNormalization(momentum=NORM_MOMENTUM, name="gate_bn")(x)
    x = keras.layers.Activation("tanh", name="gate_tanh")(x)
    x = SparseGate(design.noise, design.sparsity, name="gates")(x)  # (1, T, F)
    return keras.Model(inputs, classifier(x, classes), name="sparknet")
