# SPDX-License-Identifier: Apache-2.0
"""The bilateral network in stock Keras layers."""

from __future__ import annotations

from collections.abc import Sequence

from m3net_tf.networks.positions import positional_encoding
from m3net_tf.system.keras import keras, tf

_LEAK = 0.01


def bilateral(
    input_shape: tuple[int, int, int],
    classes: int,
    *,
    fd_modules: str = "AABBR",
    semantic_filters: Sequence[int] = (16, 32, 64, 128, 256),
    detail_filters: Sequence[int] = (64, 64, 128, 128, 256),
    token_filters: int = 128,
    token_step: int = 1,
    stem_step: int = 1,
    unrolled_lstm: bool = False,
    heads: int = 4,
) -> keras.Model:
    """The bilateral network with Conv1D, Bidirectional(LSTM) and MultiHeadAttention.

    Args:
        input_shape: (1, samples, 1).
        classes: number of classes.
        fd_modules: kinds of the FD modules, one letter each.
        semantic_filters: output channels of each FD module.
        detail_filters: output channels of the detail branch's strided convolutions.
        token_filters: channels of the sequences from the encoders on.
        token_step: factor by which the sequence is shortened before the encoders.
        stem_step: factor on the stride of each branch's first convolution in the paper; its kernel
            then covers two strides.
        unrolled_lstm: accepted and ignored: the LSTM is Keras's own.
        heads: attention heads of the encoders.
    """
    inputs = keras.Input(input_shape)
    wave = keras.layers.Reshape((input_shape[1], 1))(inputs)  # (L, 1)
    s = _conv_1d_block(wave, semantic_filters[0], max(7, 2 * stem_step), stem_step, "semantic_up")
    for index, (kind, filters) in enumerate(zip(fd_modules, semantic_filters, strict=True), 1):
        name = f"semantic_fd{index}"
        s = _conv_1d_block(s, s.shape[-1], 3, 1, f"{name}_gather")
        s = _conv_1d_block(s, filters, 3, 2, f"{name}_down")
        for number, letter in enumerate({"A": "ab", "B": "bb", "R": "a"}[kind], start=1):
            s = _macem(s, letter, f"{name}_macem{number}{letter}")
    s = _conv_1d_block(s, token_filters, token_step, token_step, "semantic_narrow")
    s = _encoder(s, heads, "semantic_encoder1")
    d = wave
    for index, filters in enumerate(detail_filters, start=1):
        step = 2 * stem_step if index == 1 else 2
        kernel = 3 if step == 2 else 2 * step
        d = _conv_1d_block(d, filters, kernel, step, f"detail_down{index}")
        if index > len(detail_filters) - 2:
            d = _garm(d, f"detail_garm{index}")
    if token_step > 1:
        d = _conv_1d_block(d, d.shape[-1], token_step, token_step, "detail_shorten")
    d = keras.layers.Bidirectional(
        keras.layers.LSTM(token_filters // 2, return_sequences=True), name="detail_bilstm"
    )(d)
    d = _encoder(d, heads, "detail_encoder1")
    guide = keras.layers.GlobalAveragePooling1D(keepdims=True)(d)
    for index in (1, 2):
        guide = keras.layers.Dense(token_filters, name=f"fused_conv{index}")(guide)
        guide = keras.layers.LeakyReLU(_LEAK)(guide)
    guide = keras.layers.Activation("sigmoid")(guide)
    x = keras.layers.Add()([keras.layers.Multiply()([s, guide]), s])
    x = keras.layers.GlobalAveragePooling1D()(x)
    return keras.Model(inputs, keras.layers.Dense(classes, "softmax", name="dense")(x))


def _conv_1d(
    x: tf.Tensor, filters: int, kernel: int, name: str, stride: int = 1, dilation: int = 1
) -> tf.Tensor:
    return keras.layers.Conv1D(
        filters, kernel, stride, padding="same", dilation_rate=dilation, name=name
    )(x)


def _conv_1d_block(x: tf.Tensor, filters: int, kernel: int, stride: int, name: str) -> tf.Tensor:
    x = _conv_1d(x, filters, kernel, f"{name}_conv", stride)
    x = keras.layers.BatchNormalization(name=f"{name}_bn")(x)
    return keras.layers.LeakyReLU(_LEAK)(x)


def _pooled_paths(x: tf.Tensor, name: str) -> list[tf.Tensor]:
    """Mean and maximum over time, each through the same two dense layers."""
    channels = x.shape[-1]
    squeeze = keras.layers.Dense(max(channels // 8, 4), "relu", name=f"{name}_squeeze")
    expand = keras.layers.Dense(channels, name=f"{name}_expand")
    average = keras.layers.GlobalAveragePooling1D(keepdims=True)(x)
    largest = keras.layers.GlobalMaxPooling1D(keepdims=True)(x)
    return [expand(squeeze(average)), expand(squeeze(largest))]  # each (1, C)


def _weigh_channels(x: tf.Tensor, name: str) -> tf.Tensor:
    scores = keras.layers.Add()(_pooled_paths(x, f"{name}_channels"))
    return keras.layers.Multiply()([x, keras.layers.Activation("sigmoid")(scores)])


def _macem(x: tf.Tensor, kind: str, name: str) -> tf.Tensor:
    channels = x.shape[-1]
    scales = [
        keras.layers.LeakyReLU(_LEAK)(_conv_1d(x, channels, kernel, f"{name}_scale{kernel}"))
        for kernel in (1, 7, 15)
    ]
    if kind == "a":
        m = _conv_1d(keras.layers.Concatenate()(scales), channels, 7, f"{name}_narrow")
    else:
        m = keras.layers.Add()(scales)
    m = _weigh_channels(keras.layers.ReLU()(m), name)
    q = keras.layers.Add()([m, _conv_1d(x, channels, 7, f"{name}_skip")])
    return keras.layers.LeakyReLU(_LEAK)(q)


def _garm(x: tf.Tensor, name: str) -> tf.Tensor:
    channels = x.shape[-1]
    scales = []
    for kernel, dilation in ((1, 1), (15, 3), (15, 9)):
        scale = _conv_1d(x, channels, kernel, f"{name}_scale{dilation}", dilation=dilation)
        scales.append(keras.layers.LeakyReLU(_LEAK)(scale))
    k = _conv_1d(keras.layers.Add()(scales), channels, 1, f"{name}_mix")
    n = _weigh_channels(keras.layers.ReLU()(k), name)
    joined = keras.layers.Concatenate()(_pooled_paths(n, f"{name}_refined"))  # (1, 2 C)
    scores = _conv_1d(joined, channels, 7, f"{name}_refined_halve")
    n = keras.layers.Multiply()([n, keras.layers.Activation("sigmoid")(scores)])
    q = keras.layers.Add()([n, _conv_1d(x, channels, 7, f"{name}_skip")])
    return keras.layers.LeakyReLU(_LEAK)(q)


def _encoder(x: tf.Tensor, heads: int, name: str, dropout: float = 0.1) -> tf.Tensor:
    """One layer of the Transformer's encoder over (T, C)."""
    _, tokens, channels = x.shape
    waves = positional_encoding(tokens, channels)
    x = keras.layers.Lambda(lambda y: y + waves)(x)
    mixed = keras.layers.MultiHeadAttention(heads, channels // heads, name=f"{name}_attention")(
        x, x
    )
    x = keras.layers.Add()([x, keras.layers.Dropout(dropout)(mixed)])
    x = keras.layers.LayerNormalization(epsilon=1e-5, name=f"{name}_attention_norm")(x)
    hidden = keras.layers.Dense(4 * channels, "relu", name=f"{name}_mlp_in")(x)
    hidden = keras.layers.Dense(channels, name=f"{name}_mlp_out")(hidden)
    x = keras.layers.Add()([x, keras.layers.Dropout(dropout)(hidden)])
    return keras.layers.LayerNormalization(epsilon=1e-5, name=f"{name}_mlp_norm")(x)
