# SPDX-License-Identifier: Apache-2.0
"""SpectroMaskNet's LocalAttention."""

from m3net_tf.networks.layers.masked import GroupNorm, PointNorm
from m3net_tf.networks.models.spectromasknet.global_attention import squeeze_excite
from m3net_tf.system.keras import keras, tf


def local_feature_enhancement(x: tf.Tensor, expansion: int, name: str = "lfe") -> tf.Tensor:
    """LFE: 1 x 1 to more channels, ReLU, depthwise 3 x 3, ReLU, 1 x 1 back; same shape."""
    channels = x.shape[-1]
    # Without a bias, padded frames stay zero, as at the map's edge, for the depthwise part.
    y = keras.layers.Conv2D(channels * expansion, 1, use_bias=False, name=f"{name}_expand")(x)
    y = keras.layers.ReLU(name=f"{name}_expand_relu")(y)
    y = keras.layers.DepthwiseConv2D(3, padding="same", name=f"{name}_dw")(y)
    y = keras.layers.ReLU(name=f"{name}_dw_relu")(y)
    return keras.layers.Conv2D(channels, 1, name=f"{name}_restore")(y)


def local_attention(
    x: tf.Tensor,
    *,
    attention: str = "local",
    kernel: int = 7,
    expansion: int = 12,
    reduction: int = 8,
    groups: int = 4,
    valid: tf.Tensor | None = None,
    name: str = "local",
) -> tf.Tensor:
    """LocalAttention: LayerNorm, 7 x 7 DSConv, SCA, LFE, gate, residual.

    "Local branch design", figures 2 to 4. Layer normalisation is over the channels of each point as
    in ConvNeXt and NAFNet, the module's origins; group normalisation follows the DSConv.

    Args:
        x: map of shape (batch, F, T, C), zero in padded frames, as is the result.
        attention: ``local`` (SCA, LFE and gate), ``se`` (squeeze and excitation instead) or
            ``none``: table 4.
        kernel: size of the square depthwise kernel.
        expansion: factor of LFE's inner channels.
        reduction: factor of SCA's hidden layer.
        valid: (batch, 1, T, 1), 1 for a clip's own frames.
    """
    channels = x.shape[-1]
    y = PointNorm(name=f"{name}_ln")(x)
    if valid is not None:
        y = keras.layers.Multiply(name=f"{name}_ln_keep")([y, valid])
    y = keras.layers.DepthwiseConv2D(kernel, padding="same", use_bias=False, name=f"{name}_dw")(y)
    y = keras.layers.Conv2D(channels, 1, use_bias=False, name=f"{name}_pw")(y)
    y = GroupNorm(groups, name=f"{name}_norm")(y, valid=valid)
    y = keras.layers.ReLU(name=f"{name}_relu")(y)
    if attention == "local":
        y = squeeze_excite(y, reduction, valid, f"{name}_sca")
        y = local_feature_enhancement(y, expansion, f"{name}_lfe")
        gate = keras.layers.Conv2D(channels, 1, name=f"{name}_gate_conv")(y)
        gate = keras.layers.Activation("sigmoid", name=f"{name}_gate")(gate)
        y = keras.layers.Multiply(name=f"{name}_gated")([y, gate])
    elif attention == "se":
        y = squeeze_excite(y, reduction, valid, f"{name}_se")
    y = keras.layers.Add(name=f"{name}_skip")([y, x])
    if valid is not None:
        y = keras.layers.Multiply(name=f"{name}_keep")([y, valid])
    return y
