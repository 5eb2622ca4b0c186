# SPDX-License-Identifier: Apache-2.0
"""The papers' networks as one first writes them: stock Keras layers, one after the other.

They are marks to measure by (:mod:`m3net_tf.bench.training`), no networks to choose. Each has
the parameters of its counterpart in :mod:`m3net_tf.models`, under the same layers' names, and with
the same weights gives the same answers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from m3net_tf.errors import ConfigError
from m3net_tf.keras import keras, tf
from m3net_tf.models import presets_of
from m3net_tf.models.diffres.warp import frames_after
from m3net_tf.models.m3net import Stage
from m3net_tf.positions import positional_encoding

_LEAK = 0.01


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
    """M3Net: mirrors by ``tf.reverse`` in Lambdas, ECA by Conv1D.

    Args:
        input_shape: (bins, frames, channels).
        classes: number of classes.
        sfp: convolutions before the mirror attention.
        tail: convolutions after it.
        image: (height, width) that the three-channel input has already.
        dropout: share of the pooled features dropped in training.
        depthwise_norm: normalise inside the DSConvs too.

    Raises:
        ConfigError: the input is not of the form that ``image`` asks for.
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
        strides: step of the convolution that opens each stage.
        mask_block: edge of a masked cell in bins and frames.
        mask_ratio: share of the cells that is masked.
        expansion: factor of the inner channels of local feature enhancement.
        reduction: factor of the hidden layer of channel attentions.
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
    """lambda a + (1 - lambda) b."""

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
    """The bilateral network on Conv1D, Bidirectional(LSTM) and MultiHeadAttention.

    Args:
        input_shape: (1, samples, 1).
        classes: number of classes.
        fd_modules: kinds of the FD modules.
        semantic_filters: channels out of each of them.
        detail_filters: channels out of the detail branch's strided convolutions.
        token_filters: channels of the sequences from the encoders on.
        token_step: steps of the sequence that become one before the encoders.
        stem_step: how many times further than the paper's the first convolution of each branch
            steps; its kernel covers two steps then.
        unrolled_lstm: taken, and of no effect: the naive LSTM is Keras's own.
        heads: heads of their attention.
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


def efficientnet_attention(input_shape: tuple[int, int, int], classes: int) -> keras.Model:
    """EfficientNet-B2 and attention over time in four heads.

    Args:
        input_shape: (bins, frames, 3).
        classes: number of classes.
    """
    inputs = keras.Input(input_shape)
    x = keras.layers.Rescaling(255.0)(inputs)
    network = keras.applications.EfficientNetB2(include_top=False, weights=None, input_tensor=x)
    return keras.Model(inputs, attention_head(network.output, classes))


def attention_head(x: tf.Tensor, classes: int) -> tf.Tensor:
    """Attention over time in four heads: map (batch, F, T, C) to (batch, classes)."""
    x = keras.layers.Lambda(lambda y: tf.reduce_mean(y, axis=1))(x)  # (T, C)
    attention = keras.layers.Dense(4 * classes, "sigmoid", name="attention")(x)
    scores = keras.layers.Dense(4 * classes, name="class_scores")(x)

    def attend(both: Sequence[tf.Tensor]) -> tf.Tensor:
        weights = both[0] / tf.reduce_sum(both[0], axis=1, keepdims=True)
        pooled = tf.reduce_sum(weights * both[1], axis=1)
        return tf.transpose(tf.reshape(pooled, (-1, 4, classes)), (0, 2, 1))  # (classes, 4)

    heads = keras.layers.Lambda(attend)([attention, scores])
    logits = keras.layers.Dense(1, use_bias=False, name="heads")(heads)
    return keras.layers.Softmax()(keras.layers.Reshape((classes,))(logits))


def diffres(
    input_shape: tuple[int, int, int],
    classes: int,
    *,
    classifier: Mapping[str, Any],
    reduction: float = 0.5,
    feature_range: Mapping[str, float] | None = None,
) -> keras.Model:
    """DiffRes by the paper's matrices in front of EfficientNet-B2 or M3Net.

    Args:
        input_shape: (bins, frames, 1).
        classes: number of classes.
        classifier: the preset's entry for what stands behind it.
        reduction: share of the frames that goes, delta.
        feature_range: ``feature_min`` and ``feature_max`` of the front end, natural logarithm.

    Raises:
        ConfigError: another classifier is asked for.
    """
    behind = classifier["name"]
    if behind not in ("efficientnet_attention", "m3net"):
        raise ConfigError(
            f"the naive DiffRes has efficientnet_attention or m3net behind it, not {behind}: "
            "choose a preset"
        )
    inputs = keras.Input(input_shape)
    layer = DiffResLayer(reduction, warp_by_matrix, **(feature_range or {}))
    warped = layer([inputs, frame_scores(inputs)])
    if behind == "m3net":
        network = m3net(warped.shape[1:], classes, **preset_arguments(classifier))
    else:
        network = efficientnet_attention(warped.shape[1:], classes)
    return keras.Model(inputs, network(warped))


def preset_arguments(entry: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of a network that is named by ``name``, ``preset`` and, if wanted, changes."""
    preset = presets_of(entry["name"])[entry["preset"]]
    return {**preset.arguments, **entry.get("arguments", {})}


def frame_scores(x: tf.Tensor) -> tf.Tensor:
    """DiffRes's score network on Conv1D: map (batch, F, T, 1) to (batch, T)."""
    _, bins, frames, _ = x.shape
    x = keras.layers.Permute((2, 1))(keras.layers.Reshape((bins, frames))(x))  # (T, F)
    for index, filters in enumerate((bins // 2, bins // 4, bins // 8, bins // 16, 1), start=1):
        for part in ("a", "b"):
            skip, name = x, f"importance{index}_{part}"
            x = keras.layers.Conv1D(filters, 5, padding="same", name=f"{name}_conv")(x)
            x = keras.layers.BatchNormalization(name=f"{name}_bn")(x)
            if (index, part) != (5, "b"):
                x = keras.layers.LeakyReLU(_LEAK)(x)
        x = keras.layers.Add()([x, skip])
    return keras.layers.Activation("sigmoid")(keras.layers.Reshape((frames,))(x))


Warp = Callable[[tf.Tensor, tf.Tensor, int, tf.Tensor], tuple[tf.Tensor, tf.Tensor, tf.Tensor]]


class DiffResLayer(keras.layers.Layer):
    """Rescale, penalise scores of empty frames, warp: all of DiffRes behind its score network.

    Args:
        reduction: share of the frames that goes, delta.
        warp: :func:`warp_by_loop` or :func:`warp_by_matrix`.
        feature_min: natural logarithm of the mel power that is the feature -1.
        feature_max: that of the feature 127/128.

    Shapes:
        [features (batch, F, T, 1), scores (batch, T)] to (batch, F, t, 3).
    """

    def __init__(
        self, reduction: float, warp: Warp, feature_min: float = -14.0, feature_max: float = 5.0
    ) -> None:
        super().__init__()
        self.reduction = reduction
        self.warp = warp
        self.lowest = feature_min
        self.step = (feature_max - feature_min) / 255.0 * 128.0

    def call(self, inputs: Sequence[tf.Tensor]) -> tf.Tensor:
        """Warp."""
        features, scores = inputs
        _, bins, frames, _ = features.shape
        left = frames_after(frames, self.reduction)
        scores = scores / tf.reduce_sum(scores, axis=1, keepdims=True) * left
        scores = scores / tf.maximum(tf.reduce_max(scores, axis=1, keepdims=True), 1.0)
        power = tf.exp((features[..., 0] + 1.0) * self.step + self.lowest)
        power = tf.transpose(power, (0, 2, 1))  # (batch, T, F)
        energy = tf.sqrt(tf.reduce_mean(tf.square(power), axis=2))
        empty = tf.cast(energy < 1e-4, tf.float32)
        excess = tf.reduce_sum(empty * tf.nn.relu(scores / self.reduction - 0.5), axis=1)
        guide = tf.math.divide_no_nan(excess, tf.reduce_sum(empty, axis=1))
        self.add_loss(tf.reduce_mean(guide))
        positions = tf.constant(positional_encoding(frames, bins))  # (T, F)
        mean, largest, encoding = self.warp(power, scores, left, positions)
        maps = [self._logarithm(mean), self._logarithm(largest), encoding]
        return tf.stack([tf.transpose(one, (0, 2, 1)) for one in maps], axis=-1)

    def _logarithm(self, power: tf.Tensor) -> tf.Tensor:
        floored = tf.maximum(tf.math.log(power + 1e-37), self.lowest)
        return (floored - self.lowest) / self.step - 1.0


def warp_by_loop(
    power: tf.Tensor, scores: tf.Tensor, frames_out: int, positions: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """The warp as the paper tells it: clip by clip, frame by frame, then row by row.

    Args:
        power: shape (batch, T, F).
        scores: rescaled scores of shape (batch, T).
        frames_out: rows t.
        positions: positional encoding, shape (T, F).

    Returns:
        Sums, maxima and encoding, each (batch, t, F).
    """

    def clip(given: tuple[tf.Tensor, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        frames, weights = given
        count = frames.shape[0]
        columns = tf.TensorArray(tf.float32, count)

        def frame(
            j: tf.Tensor, row: tf.Tensor, room: tf.Tensor, columns: tf.TensorArray
        ) -> tuple[tf.Tensor, ...]:
            here = tf.minimum(weights[j], room)
            rest = weights[j] - here
            column = tf.one_hot(row, frames_out) * here + tf.one_hot(row + 1, frames_out) * rest
            full = tf.logical_and(weights[j] >= room, row < frames_out - 1)
            return (
                j + 1,
                tf.where(full, row + 1, row),
                tf.where(full, 1.0 - rest, room - here),
                columns.write(j, column),
            )

        *_, columns = tf.while_loop(
            lambda j, *_: j < count, frame, (tf.constant(0), tf.constant(0), 1.0, columns)
        )
        matrix = tf.transpose(columns.stack())  # (t, T)

        def row(weights: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
            weighted = frames * weights[:, None]
            encoded = tf.reduce_sum(positions * weights[:, None], axis=0)
            return tf.reduce_sum(weighted, axis=0), tf.reduce_max(weighted, axis=0), encoded

        return tf.map_fn(row, matrix, fn_output_signature=(tf.float32,) * 3)

    return tf.map_fn(clip, (power, scores), fn_output_signature=(tf.float32,) * 3)


def warp_by_matrix(
    power: tf.Tensor, scores: tf.Tensor, frames_out: int, positions: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """The warp by equation 5 and appendix A.5 (equations 9 to 12); arguments as the loop's."""
    ends = tf.cumsum(scores, axis=1)[:, None]  # (batch, 1, T)
    rows = tf.range(frames_out, dtype=tf.float32)[:, None]
    last = rows == frames_out - 1  # it also takes what rounding puts above t
    inside = tf.logical_and(ends > rows, tf.logical_or(ends <= rows + 1.0, last))
    matrix = tf.where(inside, scores[:, None], 0.0)  # W_0, (batch, t, T)
    lack = tf.cumsum(1.0 - tf.reduce_sum(matrix, axis=2, keepdims=True), axis=1)
    edges = tf.sign(matrix)
    edges = tf.pad(edges[..., 1:] - edges[..., :-1], [[0, 0], [0, 0], [1, 0]])
    added = lack * tf.nn.relu(-edges)
    taken = tf.pad(lack[:, :-1] * tf.nn.relu(edges[:, 1:]), [[0, 0], [1, 0], [0, 0]])
    matrix = added - taken + matrix
    largest = tf.reduce_max(matrix[..., None] * power[:, None], axis=2)
    return tf.matmul(matrix, power), largest, tf.matmul(matrix, positions)


NETWORKS: dict[str, Callable[..., keras.Model]] = {
    "m3net": m3net,
    "spectromasknet": spectromasknet,
    "bilateral": bilateral,
    "diffres": diffres,
}
"""The naive network to each paper's network."""
