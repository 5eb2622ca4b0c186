# SPDX-License-Identifier: Apache-2.0
"""The bilateral raw-audio network: a deep narrow and a shallow wide branch over the waveform.

Sun et al., "End-to-End Audio Pattern Recognition Network for Overcoming Feature Limitations in
Human-Machine Interaction", 2025. The authors publish neither code nor size; what the paper leaves
open was chosen as docs/decisions.md says.

The waveform is a map of one row, (batch, 1, samples, 1): the front end's ``waveform`` features as
they are, and the only form in which TFLite Micro convolves a sequence. A clip shorter than the 4 s
gets zeros at its end, a longer one loses its end (``datasets.audio.fit_length``, rule ``pad``).

For t-SNE of the branches (figure 7) the layers ``semantic``, ``detail``, ``fusion`` and ``pool``
have the features: ``keras.Model(model.input, model.get_layer("detail").output)``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from m3net_tf.errors import ConfigError
from m3net_tf.keras import keras, tf
from m3net_tf.layers.convolution import classifier
from m3net_tf.layers.garm import audio_refinement
from m3net_tf.layers.guided_aggregation import fuse
from m3net_tf.layers.macem import audio_context_embedding
from m3net_tf.layers.precision import average_pooling
from m3net_tf.layers.sequence import UnrolledBiLSTM, bidirectional_lstm, conv1d_block
from m3net_tf.layers.transformer import transformer_encoder
from m3net_tf.models.registry import Preset

STEM_KERNEL = 7
DETAIL_KERNEL = 3
FD_MODULES = {"A": "ab", "B": "bb", "R": "a"}
"""Kinds of MACEM in each fast downsampling module of the semantic branch (section 3.1)."""


def fast_downsampling(
    x: tf.Tensor, filters: int, kind: str, name: str, *, macem_a: bool = True, macem_b: bool = True
) -> tf.Tensor:
    """FD-A, FD-B or FD-R: a convolution, one of stride 2, then up to two MACEMs.

    Args:
        x: sequence of shape (batch, 1, T, channels).
        filters: channels out.
        kind: ``A``, ``B`` or ``R``.
        name: prefix of the layers' names.
        macem_a: False leaves every MACEM-A out (table 6).
        macem_b: False leaves every MACEM-B out (table 6).

    Returns:
        Sequence of shape (batch, 1, ceil(T / 2), filters).
    """
    wanted = {"a": macem_a, "b": macem_b}
    x = conv1d_block(x, x.shape[-1], name=f"{name}_gather")  # (1, T, channels)
    x = conv1d_block(x, filters, stride=2, name=f"{name}_down")  # (1, T/2, filters)
    for index, letter in enumerate(FD_MODULES[kind], start=1):
        if wanted[letter]:
            x = audio_context_embedding(x, letter, name=f"{name}_macem{index}{letter}")
    return x


def build(
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
    encoder_layers: int = 1,
    heads: int = 4,
    encoder_dropout: float = 0.1,
    dropout: float = 0.0,
    semantic: bool = True,
    detail: bool = True,
    macem_a: bool = True,
    macem_b: bool = True,
    garm: bool = True,
    fusion: str = "gam",
    early_exits: bool = False,
) -> keras.Model:
    """Build the network from top to bottom as in the paper's figure 1.

    Args:
        input_shape: (1, samples, 1); the paper's 4 s at 22.05 kHz are 88 200 samples.
        classes: number of classes.
        fd_modules: the semantic branch's FD modules in their order, a letter ``A``, ``B`` or
            ``R`` each.
        semantic_filters: channels out of each of them.
        detail_filters: channels out of the detail branch's strided convolutions: the plain ones,
            then the two of FD-C.
        token_filters: channels of both branches' sequences from the encoders on; an even number.
        token_step: steps of the sequence that a strided convolution makes one before the encoders
            and the BiLSTM, whose cost grows with its length; the paper's network has 1.
        stem_step: how many times further than the paper's the first convolution of each branch
            steps; its kernel covers two steps then. The first maps are the largest.
        unrolled_lstm: write the BiLSTM out step by step (:class:`UnrolledBiLSTM`), which gives the
            same int8 bytes everywhere; for few steps.
        encoder_layers: layers of each branch's Transformer encoder.
        heads: heads of its attention; divides ``token_filters``.
        encoder_dropout: share dropped in it in training.
        dropout: share of the pooled features dropped in training.
        semantic: False gives the detail branch alone (table 6).
        detail: False gives the semantic branch alone (table 6).
        macem_a: False leaves MACEM-A out of every FD module (table 6).
        macem_b: False leaves MACEM-B out of every FD module (table 6).
        garm: False leaves GARM out of FD-C (table 6).
        fusion: ``gam``, ``sum`` or ``concat`` (table 7).
        early_exits: also classify after each of the last two stages of each branch's
            convolutions and at each branch's end, for self-distillation.

    Returns:
        Keras model, (batch, 1, samples, 1) to (batch, classes) probabilities. With
        ``early_exits`` to a list of such, the network's own first, then the exits from shallow to
        deep; ``keras.Model(model.input, model.outputs[0])`` is the same network without them.

    Raises:
        ConfigError: the input is no waveform, both branches are off, or an argument names what
            does not exist.
    """
    _check(input_shape, fd_modules, semantic_filters, detail_filters, token_filters, token_step)
    if stem_step < 1:
        raise ConfigError(f"model.stem_step is {stem_step}: give 1 or more")
    if not (semantic or detail):
        raise ConfigError("model.semantic and model.detail are both off: leave one on")
    encoder: dict[str, Any] = {"layers": encoder_layers, "heads": heads, "dropout": encoder_dropout}
    inputs = keras.Input(input_shape, name="features")  # (1, L, 1)
    branches, exits = [], []

    if semantic:
        kernel = max(STEM_KERNEL, 2 * stem_step)
        x = conv1d_block(
            inputs, semantic_filters[0], kernel, stride=stem_step, name="semantic_up"
        )  # (1, L / stem_step, filters)
        for index, (kind, filters) in enumerate(
            zip(fd_modules, semantic_filters, strict=True), start=1
        ):
            name = f"semantic_fd{index}"
            x = fast_downsampling(x, filters, kind, name, macem_a=macem_a, macem_b=macem_b)
            exits.append((f"semantic{index}", x))  # (1, L/2^index, filters)
        x = conv1d_block(
            x, token_filters, token_step, stride=token_step, name="semantic_narrow"
        )  # (1, L/32, C)
        x = transformer_encoder(x, name="semantic_encoder", **encoder)
        x = keras.layers.Activation("linear", name="semantic")(x)
        exits = [*exits[-2:], ("semantic", x)]
        branches.append(x)

    if detail:
        x, found = inputs, []
        plain = len(detail_filters) - 2
        for index, filters in enumerate(detail_filters, start=1):
            step = 2 * stem_step if index == 1 else 2
            kernel = DETAIL_KERNEL if step == 2 else 2 * step
            x = conv1d_block(x, filters, kernel, stride=step, name=f"detail_down{index}")
            if index > plain and garm:  # FD-C
                x = audio_refinement(x, name=f"detail_garm{index}")
            found.append((f"detail{index}", x))  # (1, L/2^index, filters)
        if token_step > 1:
            x = conv1d_block(x, x.shape[-1], token_step, stride=token_step, name="detail_shorten")
        if unrolled_lstm:
            x = UnrolledBiLSTM(token_filters // 2, name="detail_bilstm")(x)  # (1, L/32, C)
        else:
            x = bidirectional_lstm(x, token_filters // 2, name="detail_bilstm")
        x = transformer_encoder(x, name="detail_encoder", **encoder)
        x = keras.layers.Activation("linear", name="detail")(x)
        exits += [*found[-2:], ("detail", x)]
        branches.append(x)

    x = fuse(branches[0], branches[1], fusion, name="fused") if len(branches) == 2 else branches[0]
    x = keras.layers.Activation("linear", name="fusion")(x)
    outputs = classifier(x, classes, dropout)
    if early_exits:
        outputs = [outputs, *(_early_exit(x, classes, f"exit_{name}") for name, x in exits)]
    return keras.Model(inputs, outputs, name="bilateral")


def _early_exit(x: tf.Tensor, classes: int, name: str) -> tf.Tensor:
    """A classifier of its own over what the network knows so far."""
    x = average_pooling(x, x.shape[1:3], f"{name}_pool")  # (1, 1, C)
    x = keras.layers.Conv2D(classes, 1, name=f"{name}_dense")(x)
    x = keras.layers.Flatten(name=f"{name}_logits")(x)
    return keras.layers.Softmax(name=f"{name}_probabilities")(x)


def _check(
    input_shape: tuple[int, int, int],
    fd_modules: str,
    semantic_filters: Sequence[int],
    detail_filters: Sequence[int],
    token_filters: int,
    token_step: int,
) -> None:
    if input_shape[0] != 1 or input_shape[2] != 1:
        raise ConfigError(
            f"the bilateral network takes a waveform of shape (1, samples, 1), not {input_shape}: "
            "set frontend.kind: waveform"
        )
    unknown = sorted(set(fd_modules) - set(FD_MODULES))
    if unknown or len(fd_modules) != len(semantic_filters):
        raise ConfigError(
            f"model.fd_modules is {fd_modules!r}: give one of the letters "
            f"{', '.join(FD_MODULES)} for each of the {len(semantic_filters)} semantic_filters"
        )
    if len(semantic_filters) != len(detail_filters) or len(detail_filters) < 2:
        raise ConfigError(
            f"model.semantic_filters has {len(semantic_filters)} values and model.detail_filters "
            f"{len(detail_filters)}: give both as many, at least 2, as both branches halve the "
            "sequence once for each"
        )
    if token_filters % 2 or token_filters < 2:
        raise ConfigError(f"model.token_filters is {token_filters}: give an even number")
    if token_step < 1:
        raise ConfigError(f"model.token_step is {token_step}: give 1 or more")


# An eighth of the channels, and of the steps from the BiLSTM and the encoders on, so that two cores
# can train it.
_SMALL = {
    "semantic_filters": (4, 8, 12, 16, 32),
    "detail_filters": (8, 12, 16, 24, 32),
    "token_filters": 32,
    "token_step": 8,
}

# For microcontrollers, whose operators each cost some 150 B of arena: a second of sound, long first
# steps (a window of 8 ms every 4 ms in s), fewer FD modules, few tokens.
_S = {
    "fd_modules": "AR",
    "semantic_filters": (8, 16),
    "detail_filters": (8, 16),
    "token_filters": 16,
    "token_step": 17,
    "stem_step": 64,
    "unrolled_lstm": True,
    "heads": 1,
}
_M = {
    **_S,
    "fd_modules": "ABR",
    "semantic_filters": (8, 16, 32),
    "detail_filters": (8, 16, 32),
    "token_filters": 32,
    "token_step": 16,
    "stem_step": 16,
    "heads": 4,
}
_L = {
    **_M,
    "fd_modules": "AABR",
    "semantic_filters": (16, 24, 32, 64),
    "detail_filters": (16, 24, 32, 64),
    "token_filters": 64,
    "token_step": 8,
}

PRESETS = {
    "paper": Preset(
        input_shape=(1, 88_200, 1),
        classes=50,
        parameters=10_114_994,
        macs=38_395_729_792,
        summary="the paper's network, on 4 s of waveform at 22.05 kHz",
    ),
    "small": Preset(
        input_shape=(1, 88_200, 1),
        classes=8,
        parameters=230_624,
        macs=824_171_728,
        summary="the same form with an eighth of the channels, to be trained on two cores",
        arguments=_SMALL,
    ),
    "s": Preset(
        input_shape=(1, 16_000, 1),
        classes=12,
        parameters=58_792,
        macs=3_140_928,
        summary="64 kB of arena, 200 kB of weights: a second of sound, 4 ms steps",
        arguments=_S,
    ),
    "m": Preset(
        input_shape=(1, 16_000, 1),
        classes=12,
        parameters=216_864,
        macs=22_651_264,
        summary="192 kB of arena, 500 kB of weights: the same with 1 ms steps, three FD modules",
        arguments=_M,
    ),
    "l": Preset(
        input_shape=(1, 16_000, 1),
        classes=12,
        parameters=845_588,
        macs=64_844_288,
        summary="512 kB of arena, 1.5 MB of weights: twice the channels of m, four FD modules",
        arguments=_L,
    ),
}
