# SPDX-License-Identifier: Apache-2.0
"""SpectroMaskNet's GlobalAttention, and the channel attention that both branches share."""

from m3net_tf.networks.layers.masked import GroupNorm, MapMean
from m3net_tf.system.keras import keras, tf

ATTENTION_KERNEL = 7
"""Kernel size of the one-dimensional convolutions, which the paper does not give."""
SMALLEST_HIDDEN = 4
"""16 channels / 8 would give two hidden units, which ReLU kills in one run of four."""


def channel_gate(
    x: tf.Tensor, reduction: int = 8, valid: tf.Tensor | None = None, name: str = "se"
) -> tf.Tensor:
    """Weight of each channel: mean, 1 x 1 to fewer channels, ReLU, 1 x 1 back, sigmoid.

    This implements squeeze-and-excitation (Hu et al., CVPR 2018), GlobalAttention's A_c and
    LocalAttention's SCA.

    Args:
        x: map of shape (batch, F, T, C), zero in padded frames.
        reduction: the hidden layer has C / reduction channels, at least 4.
        valid: (batch, 1, T, 1), 1 for a clip's own frames.

    Returns:
        Weights in (0, 1), shape (batch, 1, 1, C).
    """
    channels = x.shape[-1]
    weights = MapMean(name=f"{name}_pool")(x, valid=valid)  # (batch, 1, 1, C)
    hidden = max(SMALLEST_HIDDEN, channels // reduction)
    weights = keras.layers.Conv2D(hidden, 1, name=f"{name}_reduce")(weights)
    weights = keras.layers.ReLU(name=f"{name}_relu")(weights)
    weights = keras.layers.Conv2D(channels, 1, name=f"{name}_restore")(weights)
    return keras.layers.Activation("sigmoid", name=f"{name}_gate")(weights)


def squeeze_excite(
    x: tf.Tensor, reduction: int = 8, valid: tf.Tensor | None = None, name: str = "se"
) -> tf.Tensor:
    """Weight a map's channels by :func:`channel_gate`; same shape."""
    gate = channel_gate(x, reduction, valid, name)
    return keras.layers.Multiply(name=f"{name}_out")([x, gate])


def three_way_attention(
    x: tf.Tensor, reduction: int = 8, valid: tf.Tensor | None = None, name: str = "att"
) -> tf.Tensor:
    """X' = X * (A_c x A_t x A_f), "Global branch design"; arguments as in :func:`channel_gate`.

    A_t is a convolution along time of the mean over frequency, A_f a convolution along frequency of
    the mean over time. Each has a single output channel, as the outer product requires.
    """
    a_c = channel_gate(x, reduction, valid, f"{name}_c")  # (batch, 1, 1, C)
    a_t = MapMean(time=False, name=f"{name}_t_pool")(x)  # (batch, 1, T, C)
    a_t = keras.layers.Conv2D(1, (1, ATTENTION_KERNEL), padding="same", name=f"{name}_t_conv")(a_t)
    a_t = keras.layers.Activation("sigmoid", name=f"{name}_t_gate")(a_t)  # (batch, 1, T, 1)
    a_f = MapMean(frequency=False, name=f"{name}_f_pool")(x, valid=valid)  # (batch, F, 1, C)
    a_f = keras.layers.Conv2D(1, (ATTENTION_KERNEL, 1), padding="same", name=f"{name}_f_conv")(a_f)
    a_f = keras.layers.Activation("sigmoid", name=f"{name}_f_gate")(a_f)  # (batch, F, 1, 1)
    a_tf = keras.layers.Multiply(name=f"{name}_tf")([a_f, a_t])  # (batch, F, T, 1)
    x = keras.layers.Multiply(name=f"{name}_channels")([x, a_c])
    return keras.layers.Multiply(name=f"{name}_out")([x, a_tf])


def global_attention(
    x: tf.Tensor,
    *,
    attention: str = "global",
    kernel: int = 7,
    reduction: int = 8,
    groups: int = 4,
    valid: tf.Tensor | None = None,
    name: str = "global",
) -> tf.Tensor:
    """GlobalAttention: two 7 x 7 convolutions, attention, residual; (batch, F, T, C) in and out.

    "Internal details of modules" and "Global branch design". The convolutional path is the basic
    block of a residual network, as in the paper's baseline ResNet-SE, with 7 x 7 kernels; only this
    reproduces the published number of parameters.

    Args:
        x: zero in padded frames, as is the result.
        attention: ``global`` (channel, time and frequency), ``se`` (squeeze and excitation) or
            ``none``: table 4.
        kernel: size of both square kernels.
        reduction: factor of the channel attention's hidden layer.
        valid: (batch, 1, T, 1), 1 for a clip's own frames.
    """
    y = x
    for index in (1, 2):
        y = keras.layers.Conv2D(
            x.shape[-1], kernel, padding="same", use_bias=False, name=f"{name}_conv{index}"
        )(y)
        y = GroupNorm(groups, name=f"{name}_norm{index}")(y, valid=valid)
        if index == 1:
            y = keras.layers.ReLU(name=f"{name}_relu1")(y)
    if attention == "global":
        y = three_way_attention(y, reduction, valid, f"{name}_att")
    elif attention == "se":
        y = squeeze_excite(y, reduction, valid, f"{name}_se")
    y = keras.layers.Add(name=f"{name}_skip")([y, x])
    return keras.layers.ReLU(name=f"{name}_relu2")(y)
