# SPDX-License-Identifier: Apache-2.0
"""DiffRes's frame-importance network, made of stock layers that can be quantised to int8.

One-dimensional convolutions are 1 x k convolutions over a map of one row whose channels are the
bins, the only form that TFLite Micro supports.
"""

from __future__ import annotations

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

    Each convolution is followed by batch normalisation and a leaky ReLU. Most blocks change the
    number of channels, but the paper's number of parameters leaves none for the skip. So the skip
    goes around the second convolution only.

    Args:
        x: rows of shape (batch, 1, T, channels).
        last_activation: False omits the second leaky ReLU.
        reading: ``released`` has a ReLU before each normalisation instead, as the released code.

    Returns:
        Rows of shape (batch, 1, T, filters).
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


def frame_importance(
    x: tf.Tensor, name: str = "importance", *, reading: str = "paper"
) -> tf.Tensor:
    """Score of each frame between 0 and 1 (DiffRes, equation 3 and table 6).

    Five ResConv1D reduce the channels: (128, 64), (64, 32), (32, 16), (16, 8), (8, 1), with 82 371
    trainable parameters for 128 bins. The last leaky ReLU is omitted: with it no score could fall
    below one half.

    Args:
        x: feature map of shape (batch, F, T, 1).
        reading: ``paper`` or ``released``, which keeps the last activation, because a normalisation
            follows it, and has other channels for 40 and 64 bins.

    Returns:
        Scores of shape (batch, T).
    """
    _, bins, frames, _ = x.shape
    divisors = (1, 2, 4, 4) if reading == "released" and bins in (40, 64) else (2, 4, 8, 16)
    widths = [max(1, bins // divisor) for divisor in divisors]
    x = keras.layers.Permute((3, 2, 1), name=f"{name}_rows")(x)  # (1, T, F)
    for index, filters in enumerate(widths, start=1):
        x = res_conv_1d(x, filters, f"{name}{index}", reading=reading)
    x = res_conv_1d(x, 1, f"{name}5", last_activation=False, reading=reading)  # (1, T, 1)
    x = keras.layers.Reshape((frames,), name=f"{name}_logits")(x)
    return keras.layers.Activation("sigmoid", name=f"{name}_scores")(x)


def conv_encoder(x: tf.Tensor, name: str = "encoder", *, reading: str = "paper") -> tf.Tensor:
    """Encoder of the baseline ConvAvgPool (table 6): three ResConv1D that keep the number of bins.

    493 824 trainable parameters for 128 bins.

    Args:
        x: feature map of shape (batch, F, T, 1).
        reading: ``paper``, or ``released``, which adds the input at the end.

    Returns:
        Map of the same shape.
    """
    bins, inputs = x.shape[1], x
    x = keras.layers.Permute((3, 2, 1), name=f"{name}_rows")(x)  # (1, T, F)
    for index in range(1, CONV_POOL_BLOCKS + 1):
        x = res_conv_1d(x, bins, f"{name}{index}", reading=reading)
    x = keras.layers.Permute((3, 2, 1), name=f"{name}_map")(x)  # (F, T, 1)
    return keras.layers.Add(name=f"{name}_skip")([x, inputs]) if reading == "released" else x
