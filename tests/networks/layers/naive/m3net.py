# SPDX-License-Identifier: Apache-2.0
"""M3Net in stock Keras layers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from m3net_tf.networks.models.m3net import Stage
from m3net_tf.system.errors import ConfigError
from m3net_tf.system.keras import keras, tf


def m3net(
    input_shape: tuple[int, int, int],
    classes: int,
    *,
    sfp: Sequence[Stage],
    tail: Sequence[Stage],
    image: tuple[int, int] | None = None,
    dropout: float = 0.0,
    depthwise_norm: bool = False,
) -> keras.Model:
    """M3Net with ``tf.reverse`` in Lambda layers as mirrors and Conv1D as ECA.

    Args:
        input_shape: (bins, frames, channels).
        classes: number of classes.
        sfp: convolutions before the mirror attention.
        tail: convolutions after it.
        image: (height, width) that the input of three channels must have.
        dropout: share of the pooled features dropped in training.
        depthwise_norm: also normalise inside the DSConvs.

    Raises:
        ConfigError: the input does not have the shape that ``image`` requires.
    """
    if image and input_shape != (*image, 3):
        raise ConfigError(f"the naive M3Net takes {(*image, 3)}, not {input_shape}: resize first")
    inputs = x = keras.Input(input_shape)
    for index, stage in enumerate(sfp, start=1):
        x = _stage(x, stage, f"sfp{index}", depthwise_norm)
    channels = x.shape[-1]
    hmf = keras.layers.Lambda(lambda y: tf.reverse(y, [2]))(x)
    vmf = keras.layers.Lambda(lambda y: tf.reverse(y, [1]))(x)
    mfp = keras.layers.Concatenate()([hmf, vmf])
    mfp = _ds_conv(mfp, channels, 3, 1, "mfp_align", depthwise_norm)
    mfp = keras.layers.Add()([mfp, x])
    mfp = _ds_conv(mfp, channels, 3, 1, "mfp_out", depthwise_norm)
    dfp = keras.layers.Lambda(lambda y: tf.reverse(y, [1, 2]))(x)
    dfp = _ds_conv(dfp, channels, 3, 1, "dfp_cb", depthwise_norm)
    width = int((np.log2(channels) + 1) / 2)
    width += 1 - width % 2
    gate = keras.layers.GlobalAveragePooling2D()(dfp)
    gate = keras.layers.Reshape((channels, 1))(gate)
    gate = keras.layers.Conv1D(
        1, width, padding="same", use_bias=False, activation="sigmoid", name="dfp_eca"
    )(gate)
    gate = keras.layers.Reshape((1, 1, channels))(gate)
    dfp = keras.layers.Multiply()([dfp, gate])
    x = keras.layers.Add()([keras.layers.Multiply()([mfp, dfp]), x])
    for index, stage in enumerate(tail, start=1):
        x = _stage(x, stage, f"tail{index}", depthwise_norm)
    x = keras.layers.GlobalAveragePooling2D()(x)
    x = keras.layers.Dropout(dropout)(x)
    return keras.Model(inputs, keras.layers.Dense(classes, "softmax", name="dense")(x))


def _stage(x: tf.Tensor, stage: Stage, name: str, depthwise_norm: bool) -> tf.Tensor:
    if stage.separable:
        x = _ds_conv(x, stage.filters, stage.kernel, stage.strides, name, depthwise_norm)
    else:
        x = keras.layers.Conv2D(
            stage.filters, stage.kernel, stage.strides, padding="same", name=f"{name}_conv"
        )(x)
        x = keras.layers.BatchNormalization(name=f"{name}_bn")(x)
        x = keras.layers.ReLU()(x)
    return keras.layers.MaxPooling2D(stage.pool)(x) if stage.pool > 1 else x


def _ds_conv(
    x: tf.Tensor, filters: int, kernel: Any, strides: Any, name: str, depthwise_norm: bool
) -> tf.Tensor:
    x = keras.layers.DepthwiseConv2D(kernel, strides, padding="same", name=f"{name}_dw")(x)
    if depthwise_norm:
        x = keras.layers.BatchNormalization(name=f"{name}_dw_bn")(x)
        x = keras.layers.ReLU()(x)
    x = keras.layers.Conv2D(filters, 1, name=f"{name}_pw")(x)
    x = keras.layers.BatchNormalization(name=f"{name}_bn")(x)
    return keras.layers.ReLU()(x)
