# SPDX-License-Identifier: Apache-2.0
"""DiffRes's frame-importance network, made of stock layers that can be quantised to int8.

One-dimensional convolutions are 1 x k convolutions over a map of one row whose channels are the
bins, the only form that TFLite Micro supports.
"""

from m3net_tf.networks.layers.convolution import NORM_MOMENTUM
from m3net_tf.system.keras import keras, tf

KERNEL_SIZE = 5
LEAK = 0.01
CONV_POOL_BLOCKS = 3


def res_conv_1d(
    x: tf.Tensor,
    filters: int,
    name: str = "res_conv",
    *,
    last_activation: bool = True,
    reading: str = "paper",
) -> tf.Tensor:
    """ResConv1D (DiffRes, section 2.2.1, figure 3): two convolutions over time and a skip.

    (batch, 1, T, channels) to (batch, 1, T, filters). Each convolution is followed by batch
    normalisation and a leaky ReLU, of which the last may be omitted. Most blocks change the number
    of channels, but the paper's number of parameters leaves none for the skip. So the skip goes
    around the second convolution only. The reading ``released`` has a ReLU before each
    normalisation instead, as the released code.
    """
    for part in ("a", "b"):
        skip = x
        layer = f"{name}_{part}"
        x = keras.layers.Conv2D(filters, (1, KERNEL_SIZE), padding="same", name=f"{layer}_conv")(x)
        if reading == "released":
            x = keras.layers.ReLU(name=f"{layer}_relu")(x)
        x = keras.layers.BatchNormalization(momentum=NORM_MOMENTUM, name=f"{layer}_bn")(x)
        if reading == "paper" and (part == "a" or last_activation):
            x = keras.layers.LeakyReLU(LEAK, name=f"{layer}_relu")(x)
    return keras.layers.Add(name=f"{name}_skip")([x, skip])


def frame_importance(x: tf.Tensor, *, reading: str = "paper") -> tf.Tensor:
    """Score of each frame between 0 and 1 (DiffRes, equation 3 and table 6).

    (batch, F, T, 1) to (batch, T). Five ResConv1D reduce the channels: (128, 64), (64, 32),
    (32, 16), (16, 8), (8, 1), with 82 371 trainable parameters for 128 bins. The last leaky ReLU is
    omitted: with it no score could fall below one half. The reading ``released`` keeps it, because
    a normalisation follows it, and has other channels for 40 and 64 bins.
    """
    _, bins, frames, _ = x.shape
    divisors = (1, 2, 4, 4) if reading == "released" and bins in (40, 64) else (2, 4, 8, 16)
    widths = [max(1, bins // divisor) for divisor in divisors]
    x = keras.layers.Permute((3, 2, 1), name="importance_rows")(x)  # (1, T, F)
    for index, filters in enumerate(widths, start=1):
        x = res_conv_1d(x, filters, f"importance{index}", reading=reading)
    x = res_conv_1d(x, 1, "importance5", last_activation=False, reading=reading)  # (1, T, 1)
    x = keras.layers.Reshape((frames,), name="importance_logits")(x)
    return keras.layers.Activation("sigmoid", name="importance_scores")(x)


def conv_encoder(x: tf.Tensor, *, reading: str = "paper") -> tf.Tensor:
    """Encoder of the baseline ConvAvgPool (table 6): three ResConv1D that keep (batch, F, T, 1).

    493 824 trainable parameters for 128 bins. The reading ``released`` adds the input at the end.
    """
    bins, inputs = x.shape[1], x
    x = keras.layers.Permute((3, 2, 1), name="encoder_rows")(x)  # (1, T, F)
    for index in range(1, CONV_POOL_BLOCKS + 1):
        x = res_conv_1d(x, bins, f"encoder{index}", reading=reading)
    x = keras.layers.Permute((3, 2, 1), name="encoder_map")(x)  # (F, T, 1)
    return keras.layers.Add(name="encoder_skip")([x, inputs]) if reading == "released" else x
