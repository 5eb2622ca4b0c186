# SPDX-License-Identifier: Apache-2.0
"""SpectroMaskNet in stock Keras layers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from m3net_tf.system.keras import keras, tf


def spectromasknet(
    input_shape: tuple[int, int, int],
    classes: int,
    *,
    modules: Sequence[int] = (2, 3, 3, 2),
    channels: Sequence[int] = (16, 32, 48, 64),
    strides: Sequence[int] = (1, 2, 2, 1),
    mask_block: float = 10.0,
    mask_ratio: float = 0.5,
    expansion: int = 12,
    reduction: int = 8,
    groups: int = 4,
) -> keras.Model:
    """SpectroMaskNet with random masks of a fixed size: GroupNormalization, LayerNormalization.

    Args:
        input_shape: (bins, frames, channels).
        classes: number of classes.
        modules: attention modules in each stage.
        channels: channels of each stage.
        strides: stride of the first convolution of each stage.
        mask_block: size of a masked cell in bins and frames.
        mask_ratio: share of masked cells.
        expansion: factor of the inner channels of local feature enhancement.
        reduction: factor by which the hidden layer of channel attention is smaller.
        groups: groups of the normalisation.
    """
    inputs = keras.Input(input_shape)
    block = int(mask_block)

    def mask(x: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        if not training:
            return x
        batch, (bins, frames) = tf.shape(x)[0], x.shape[1:3]
        keep = tf.random.uniform((batch, -(-bins // block), -(-frames // block))) >= mask_ratio
        keep = tf.repeat(tf.repeat(keep, block, axis=1), block, axis=2)[:, :bins, :frames]
        return x * tf.cast(keep, x.dtype)[..., None]

    pooled = []
    for branch in ("complete", "masked"):
        x = inputs if branch == "complete" else keras.layers.Lambda(mask)(inputs)
        edge = 7 if branch == "complete" else 3
        for number, (count, width, stride) in enumerate(
            zip(modules, channels, strides, strict=True), start=1
        ):
            name = f"{branch}{number}"
            x = keras.layers.ZeroPadding2D(edge // 2)(x)
            x = keras.layers.Conv2D(width, edge, stride, use_bias=False, name=f"{name}_in_conv")(x)
            x = _group_norm(x, groups, f"{name}_in_norm")
            x = keras.layers.ReLU()(x)
            for index in range(1, count + 1):
                if branch == "complete":
                    x = _global_attention(x, reduction, groups, f"{name}_{index}")
                else:
                    x = _local_attention(x, expansion, reduction, groups, f"{name}_{index}")
        pooled.append(keras.layers.GlobalAveragePooling2D()(x))
    fused = _Blend(name="fusion")(pooled)
    return keras.Model(inputs, keras.layers.Dense(classes, "softmax", name="dense")(fused))


class _Blend(keras.layers.Layer):
    """The sum lambda a + (1 - lambda) b with a learned lambda."""

    def build(self, input_shape: Any) -> None:
        self.share = self.add_weight(
            "lambda",
            (),
            initializer=keras.initializers.Constant(0.5),
            regularizer=keras.regularizers.L2(1e-4),
        )
        super().build(input_shape)

    def call(self, inputs: Sequence[tf.Tensor]) -> tf.Tensor:
        return self.share * inputs[0] + (1.0 - self.share) * inputs[1]


def _group_norm(x: tf.Tensor, groups: int, name: str) -> tf.Tensor:
    channels = x.shape[-1]
    groups = next(n for n in range(min(groups, channels), 0, -1) if channels % n == 0)
    return keras.layers.GroupNormalization(groups, name=name)(x)


def _channel_attention(x: tf.Tensor, reduction: int, name: str) -> tf.Tensor:
    channels = x.shape[-1]
    gate = keras.layers.GlobalAveragePooling2D(keepdims=True)(x)
    gate = keras.layers.Dense(max(4, channels // reduction), "relu", name=f"{name}_reduce")(gate)
    return keras.layers.Dense(channels, "sigmoid", name=f"{name}_restore")(gate)


def _global_attention(x: tf.Tensor, reduction: int, groups: int, name: str) -> tf.Tensor:
    channels = x.shape[-1]
    y = x
    for index in (1, 2):
        y = keras.layers.Conv2D(
            channels, 7, padding="same", use_bias=False, name=f"{name}_conv{index}"
        )(y)
        y = _group_norm(y, groups, f"{name}_norm{index}")
        y = keras.layers.ReLU()(y) if index == 1 else y
    a_c = _channel_attention(y, reduction, f"{name}_att_c")  # (1, 1, C)
    a_t = keras.layers.Lambda(lambda z: tf.reduce_mean(z, axis=1))(y)  # (T, C)
    a_t = keras.layers.Conv1D(
        1, 7, padding="same", activation="sigmoid", name=f"{name}_att_t_conv"
    )(a_t)
    a_t = keras.layers.Reshape((1, y.shape[2], 1))(a_t)
    a_f = keras.layers.Lambda(lambda z: tf.reduce_mean(z, axis=2))(y)  # (F, C)
    a_f = keras.layers.Conv1D(
        1, 7, padding="same", activation="sigmoid", name=f"{name}_att_f_conv"
    )(a_f)
    a_f = keras.layers.Reshape((y.shape[1], 1, 1))(a_f)
    for gate in (a_c, a_t, a_f):
        y = keras.layers.Multiply()([y, gate])
    return keras.layers.ReLU()(keras.layers.Add()([y, x]))


def _local_attention(
    x: tf.Tensor, expansion: int, reduction: int, groups: int, name: str
) -> tf.Tensor:
    channels = x.shape[-1]
    y = keras.layers.LayerNormalization(name=f"{name}_ln")(x)
    y = keras.layers.DepthwiseConv2D(7, padding="same", use_bias=False, name=f"{name}_dw")(y)
    y = keras.layers.Conv2D(channels, 1, use_bias=False, name=f"{name}_pw")(y)
    y = _group_norm(y, groups, f"{name}_norm")
    y = keras.layers.ReLU()(y)
    y = keras.layers.Multiply()([y, _channel_attention(y, reduction, f"{name}_sca")])
    y = keras.layers.Conv2D(
        channels * expansion, 1, use_bias=False, activation="relu", name=f"{name}_lfe_expand"
    )(y)
    y = keras.layers.DepthwiseConv2D(3, padding="same", activation="relu", name=f"{name}_lfe_dw")(y)
    y = keras.layers.Conv2D(channels, 1, name=f"{name}_lfe_restore")(y)
    gate = keras.layers.Conv2D(channels, 1, activation="sigmoid", name=f"{name}_gate_conv")(y)
    return keras.layers.Add()([keras.layers.Multiply()([y, gate]), x])
