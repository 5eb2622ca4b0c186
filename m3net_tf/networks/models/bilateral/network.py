# SPDX-License-Identifier: Apache-2.0
"""The bilateral raw-audio network: a deep narrow and a shallow wide branch over the waveform.

Sun et al., "End-to-End Audio Pattern Recognition Network for Overcoming Feature Limitations in
Human-Machine Interaction", 2025. The authors publish neither code nor sizes;
docs/design/decisions.md lists the choices that the paper leaves open.

The waveform is a map of one row, (batch, 1, samples, 1): the front end's ``waveform`` features, and
the only form in which TFLite Micro supports convolutions over a sequence. A clip shorter than 4 s
is padded with zeros, a longer one is truncated (``datasets.audio.fit_length``, rule ``pad``).

The layers ``semantic``, ``detail``, ``fusion`` and ``pool`` give the features for the t-SNE of
figure 7: ``keras.Model(model.input, model.get_layer("detail").output)``.
"""

import dataclasses
from typing import Annotated, Literal, NamedTuple

from msgspec import Meta

from m3net_tf.networks.layers.convolution import classifier
from m3net_tf.networks.layers.precision import average_pooling
from m3net_tf.networks.models.bilateral.garm import audio_refinement
from m3net_tf.networks.models.bilateral.guided_aggregation import fuse
from m3net_tf.networks.models.bilateral.macem import audio_context_embedding
from m3net_tf.networks.models.bilateral.sequence import (
    UnrolledBiLSTM,
    bidirectional_lstm,
    conv1d_block,
)
from m3net_tf.networks.models.bilateral.transformer import transformer_encoder
from m3net_tf.system.conversion import AtLeastOne
from m3net_tf.system.errors import ConfigError
from m3net_tf.system.keras import keras, tf

STEM_KERNEL = 7
DETAIL_KERNEL = 3
FD_MODULES = {"A": "ab", "B": "bb", "R": "a"}
"""Kinds of MACEM in the fast downsampling modules of the semantic branch (section 3.1)."""


@dataclasses.dataclass(frozen=True)
class Design:
    """Design of the bilateral network: its sizes and its ablations.

    Attributes:
        fd_modules: the semantic branch's FD modules in order, one letter ``A``, ``B`` or ``R``
            each.
        semantic_filters: output channels of each of them.
        detail_filters: output channels of the detail branch's strided convolutions: the plain
            ones, then the two of FD-C.
        token_filters: channels of both branches' sequences from the encoders on; an even number.
        token_step: stride of a convolution that shortens the sequence before the encoders and the
            BiLSTM, whose cost grows with its length; 1 in the paper.
        stem_step: factor on the stride of each branch's first convolution, whose kernel then
            covers two strides. The first maps are the largest.
        unrolled_lstm: unroll the BiLSTM (:class:`UnrolledBiLSTM`), which gives the same int8 bytes
            on every platform; for short sequences.
        heads: attention heads of the encoder; divides ``token_filters``.
        dropout: share of the pooled features dropped in training.
        semantic: False gives the detail branch alone (table 6).
        detail: False gives the semantic branch alone (table 6).
        macem_a: False omits MACEM-A from every FD module (table 6).
        macem_b: False omits MACEM-B from every FD module (table 6).
        garm: False omits GARM from FD-C (table 6).
        fusion: ``gam``, ``sum`` or ``concat`` (table 7).
        early_exits: also classify after the last two convolution stages and at the end of each
            branch, for self-distillation.

    Raises:
        ConfigError: both branches are off, or an argument has an invalid value.
    """

    fd_modules: str = "AABBR"
    semantic_filters: tuple[int, ...] = (16, 32, 64, 128, 256)
    detail_filters: tuple[int, ...] = (64, 64, 128, 128, 256)
    token_filters: Annotated[int, Meta(ge=2, multiple_of=2)] = 128
    token_step: AtLeastOne = 1
    stem_step: AtLeastOne = 1
    unrolled_lstm: bool = False
    heads: AtLeastOne = 4
    dropout: float = 0.0
    semantic: bool = True
    detail: bool = True
    macem_a: bool = True
    macem_b: bool = True
    garm: bool = True
    fusion: Literal["gam", "sum", "concat"] = "gam"
    early_exits: bool = False

    def __post_init__(self) -> None:
        semantic, detail = len(self.semantic_filters), len(self.detail_filters)
        unknown = sorted(set(self.fd_modules) - set(FD_MODULES))
        if unknown or len(self.fd_modules) != semantic:
            raise ConfigError(
                f"model.fd_modules is {self.fd_modules!r}: give one of the letters "
                f"{', '.join(FD_MODULES)} for each of the {semantic} semantic_filters"
            )
        if semantic != detail or detail < 2:
            raise ConfigError(
                f"model.semantic_filters has {semantic} values and model.detail_filters {detail}: "
                "give both the same number, at least 2: each value halves a branch's sequence once"
            )
        if not (self.semantic or self.detail):
            raise ConfigError("model.semantic and model.detail are both off: leave one on")


def build(input_shape: tuple[int, int, int], classes: int, design: Design) -> keras.Model:
    """Build the network from top to bottom as in the paper's figure 1.

    The input is a waveform, (1, samples, 1); the paper's 4 s at 22.05 kHz are 88 200 samples. With
    ``early_exits`` the network gives a list: its own output, then the exits from shallow to deep;
    ``keras.Model(model.input, model.outputs[0])`` is the network without exits.

    Raises:
        ConfigError: the input is not a waveform.
    """
    if input_shape[0] != 1 or input_shape[2] != 1:
        raise ConfigError(
            f"the bilateral network takes a waveform of shape (1, samples, 1), not {input_shape}: "
            "set frontend.kind: waveform"
        )
    inputs = keras.Input(input_shape, name="features")  # (1, L, 1)
    branches = []
    if design.semantic:
        branches.append(_semantic_branch(inputs, design))
    if design.detail:
        branches.append(_detail_branch(inputs, design))
    x = branches[0].tokens
    if len(branches) == 2:
        x = fuse(x, branches[1].tokens, design.fusion, name="fused")
    x = keras.layers.Activation("linear", name="fusion")(x)
    outputs = classifier(x, classes, design.dropout)
    if design.early_exits:
        exits = [exit_ for branch in branches for exit_ in branch.exits]
        outputs = [outputs, *(_early_exit(x, classes, f"exit_{name}") for name, x in exits)]
    return keras.Model(inputs, outputs, name="bilateral")


def fast_downsampling(
    x: tf.Tensor, filters: int, kind: str, name: str, design: Design
) -> tf.Tensor:
    """FD-A, FD-B or FD-R: a convolution, a convolution of stride 2, then up to two MACEMs.

    (batch, 1, T, channels) to (batch, 1, ceil(T / 2), filters).
    """
    enabled = {"a": design.macem_a, "b": design.macem_b}
    x = conv1d_block(x, x.shape[-1], name=f"{name}_gather")  # (1, T, channels)
    x = conv1d_block(x, filters, stride=2, name=f"{name}_down")  # (1, T/2, filters)
    for index, letter in enumerate(FD_MODULES[kind], start=1):
        if enabled[letter]:
            x = audio_context_embedding(x, letter, name=f"{name}_macem{index}{letter}")
    return x


class _Branch(NamedTuple):
    """A branch's output, (batch, 1, tokens, token_filters), and the features of its early exits."""

    tokens: tf.Tensor
    exits: list[tuple[str, tf.Tensor]]


def _semantic_branch(inputs: tf.Tensor, design: Design) -> _Branch:
    """The deep, narrow branch: FD modules, then a Transformer encoder."""
    filters, step = design.semantic_filters, design.stem_step
    x = conv1d_block(
        inputs, filters[0], max(STEM_KERNEL, 2 * step), stride=step, name="semantic_up"
    )  # (1, L / stem_step, filters)
    stages = []
    for index, (kind, width) in enumerate(zip(design.fd_modules, filters, strict=True), start=1):
        x = fast_downsampling(x, width, kind, f"semantic_fd{index}", design)
        stages.append((f"semantic{index}", x))  # (1, L/2^index, filters)
    x = conv1d_block(
        x,
        design.token_filters,
        design.token_step,
        stride=design.token_step,
        name="semantic_narrow",
    )  # (1, L/32, C)
    return _encoded(x, "semantic", stages, design)


def _detail_branch(inputs: tf.Tensor, design: Design) -> _Branch:
    """The shallow, wide branch: strided convolutions, FD-C, a BiLSTM, a Transformer encoder."""
    x, stages = inputs, []
    plain_convolutions = len(design.detail_filters) - 2
    for index, filters in enumerate(design.detail_filters, start=1):
        step = 2 * design.stem_step if index == 1 else 2
        kernel = DETAIL_KERNEL if step == 2 else 2 * step
        x = conv1d_block(x, filters, kernel, stride=step, name=f"detail_down{index}")
        if index > plain_convolutions and design.garm:  # FD-C
            x = audio_refinement(x, name=f"detail_garm{index}")
        stages.append((f"detail{index}", x))  # (1, L/2^index, filters)
    step, units = design.token_step, design.token_filters // 2
    if step > 1:
        x = conv1d_block(x, x.shape[-1], step, stride=step, name="detail_shorten")
    if design.unrolled_lstm:
        x = UnrolledBiLSTM(units, name="detail_bilstm")(x)  # (1, L/32, C)
    else:
        x = bidirectional_lstm(x, units, name="detail_bilstm")
    return _encoded(x, "detail", stages, design)


def _encoded(
    x: tf.Tensor, name: str, stages: list[tuple[str, tf.Tensor]], design: Design
) -> _Branch:
    x = transformer_encoder(x, design.heads, name=f"{name}_encoder")
    x = keras.layers.Activation("linear", name=name)(x)
    return _Branch(x, [*stages[-2:], (name, x)])


def _early_exit(x: tf.Tensor, classes: int, name: str) -> tf.Tensor:
    """A separate classifier on intermediate features."""
    x = average_pooling(x, x.shape[1:3], f"{name}_pool")  # (1, 1, C)
    x = keras.layers.Conv2D(classes, 1, name=f"{name}_dense")(x)
    x = keras.layers.Flatten(name=f"{name}_logits")(x)
    return keras.layers.Softmax(name=f"{name}_probabilities")(x)
