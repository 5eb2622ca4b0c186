# SPDX-License-Identifier: Apache-2.0
"""Convolution blocks made of stock Keras layers, which quantisation tools support."""

from m3net_tf.networks.layers.precision import average_pooling
from m3net_tf.system.errors import ConfigError
from m3net_tf.system.keras import keras, tf

Pair = tuple[int, int]
NORM_MOMENTUM = 0.9
"""Keras's 0.99 needs hundreds of steps to settle: longer than an epoch of a small data set."""


def conv_block(
    x: tf.Tensor,
    filters: int,
    kernel: Pair = (3, 3),
    strides: Pair = (1, 1),
    name: str = "conv",
    *,
    time_padding: bool = True,
) -> tf.Tensor:
    """Standard convolution, batch normalisation, ReLU; kernel and strides in (frequency, time).

    (batch, F, T, channels) to (batch, ceil(F / strides[0]), ceil(T / strides[1]), filters). Without
    ``time_padding``, :func:`pad_frequency` takes the place of padding.
    """
    x, padding = (x, "same") if time_padding else pad_frequency(x, kernel[0], strides[0], name)
    x = keras.layers.Conv2D(filters, kernel, strides, padding=padding, name=f"{name}_conv")(x)
    x = keras.layers.BatchNormalization(momentum=NORM_MOMENTUM, name=f"{name}_bn")(x)
    return keras.layers.ReLU(name=f"{name}_relu")(x)


def pad_frequency(x: tf.Tensor, kernel: int, stride: int, name: str) -> tuple[tf.Tensor, str]:
    """Pad a map (batch, F, T, channels) in frequency as "same" does, and not in time.

    No column of the output then depends on padding: when the window moves on in time, the columns
    stay the same, and a network that streams computes the new ones alone
    (docs/design/streaming.md). Returns the map, and "valid", the padding of the layer that reads
    it.
    """
    bins = x.shape[1]
    missing = max((-(-bins // stride) - 1) * stride + kernel - bins, 0)
    if missing:
        ends = (missing // 2, missing - missing // 2)
        x = keras.layers.ZeroPadding2D((ends, (0, 0)), name=f"{name}_pad")(x)
    return x, "valid"


def three_channels(x: tf.Tensor) -> tf.Tensor:
    """A map (batch, F, T, 1 or 3) for an image network: a single channel is repeated.

    Raises:
        ConfigError: the map has another number of channels.
    """
    count = x.shape[-1]
    if count not in (1, 3):
        raise ConfigError(
            f"an image network takes a map of 1 or 3 channels, not {count}: change the front end"
        )
    return x if count == 3 else keras.layers.Concatenate(name="three_channels")([x] * 3)


def classifier(x: tf.Tensor, classes: int, dropout: float = 0.0) -> tf.Tensor:
    """Global average pooling, dense layer, softmax: (batch, F, T, C) to (batch, classes).

    It uses the operators that suit a Cortex-M best: a pooling layer is about thirty times as fast
    as a mean, and a 1 x 1 convolution, unlike a dense layer, gives the same bytes in TFLite and in
    TFLite Micro.
    """
    x = average_pooling(x, x.shape[1:3], "pool")  # (batch, 1, 1, C)
    if dropout:
        x = keras.layers.Dropout(dropout, name="dropout")(x)
    x = keras.layers.Conv2D(classes, 1, name="dense")(x)  # (batch, 1, 1, classes)
    x = keras.layers.Flatten(name="logits")(x)
    return keras.layers.Softmax(name="probabilities")(x)


def ds_conv(
    x: tf.Tensor,
    filters: int,
    kernel: Pair = (3, 3),
    strides: Pair = (1, 1),
    name: str = "ds",
    *,
    depthwise_norm: bool = False,
    time_padding: bool = True,
) -> tf.Tensor:
    """Depthwise separable convolution: depthwise, pointwise, batch normalisation, ReLU.

    This is M3Net's DSConv (section 2.2, figure 2). With ``depthwise_norm`` it is DS-CNN's block,
    which also has normalisation and ReLU after the depthwise part ("Hello Edge", section 4.3).
    Kernel, strides, shapes and ``time_padding`` are as for :func:`conv_block`.
    """
    # Keras requires equal strides in both directions. It would silently ignore unequal ones.
    if strides[0] != strides[1]:
        raise ValueError(f"{name}: a depthwise convolution needs equal strides, not {strides}")
    x, padding = (x, "same") if time_padding else pad_frequency(x, kernel[0], strides[0], name)
    x = keras.layers.DepthwiseConv2D(kernel, strides, padding=padding, name=f"{name}_dw")(x)
    if depthwise_norm:
        x = keras.layers.BatchNormalization(momentum=NORM_MOMENTUM, name=f"{name}_dw_bn")(x)
        x = keras.layers.ReLU(name=f"{name}_dw_relu")(x)
    x = keras.layers.Conv2D(filters, 1, name=f"{name}_pw")(x)
    x = keras.layers.BatchNormalization(momentum=NORM_MOMENTUM, name=f"{name}_bn")(x)
    return keras.layers.ReLU(name=f"{name}_relu")(x)
