# SPDX-License-Identifier: Apache-2.0
"""A DS-CNN over time without padding: MLPerf Tiny's streaming wake word, and ours.

``mlperf`` is of MLPerf Tiny 1.3, benchmark/training/streaming_wakeword at 1afd2c9. Layers and sizes
as in the published str_ww_ref_model.tflite. Ours has convolutions over frequency before them, so
that a voice whose formants lie higher gives nearly the same features.
"""

import dataclasses
from collections.abc import Sequence

from m3net_tf.networks.layers import classifier, ds_conv
from m3net_tf.networks.layers.convolution import NORM_MOMENTUM
from m3net_tf.system.errors import ConfigError
from m3net_tf.system.keras import keras, tf

_STEM_KERNEL = 3
"""Frames and bins of a stem's second convolution."""
_STEM_BINS = 11
"""Fewest bins of a map that leave one after a stem."""


@dataclasses.dataclass(frozen=True)
class Design:
    """Design of the network.

    Attributes:
        kernels: frames that each of the first layers takes; the last block takes all that remain.
            With a stem the first of them is its first convolution, otherwise all are blocks.
        stride: stride in time of the first layer.
        features: channels before the classifier.
        depthwise_norm: see :func:`.layers.ds_conv`.
        dropout: share of these features dropped in training.
        stem: channels of the first and of the last layer of a stem before the blocks, which is two
            convolutions over frequency and time; empty for none.
    """

    filters: int = 128
    kernels: Sequence[int] = (3, 5, 10)
    stride: int = 1
    features: int = 32
    depthwise_norm: bool = False
    dropout: float = 0.0
    stem: Sequence[int] = ()


def build(input_shape: tuple[int, int, int], classes: int, design: Design) -> keras.Model:
    """Build the network: depthwise separable blocks over time, with all bins as channels.

    With a stem the channels are its own, at a quarter of the bins.

    No block pads, so that a hop computes one column of each (docs/design/streaming.md). Designed
    for maps of 40 bins by 30 frames.

    Raises:
        ConfigError: too few bins or frames, several channels, or another stem.
    """
    bins, frames, channels = input_shape
    if len(design.stem) not in (0, 2):
        raise ConfigError(f"stem is {list(design.stem)}: give two numbers of channels, or none")
    first, *others = design.kernels
    shorter = sum(kernel - 1 for kernel in others) + (_STEM_KERNEL - 1 if design.stem else 0)
    remaining = (frames - first) // design.stride + 1 - shorter
    least_bins = _STEM_BINS if design.stem else 1
    if bins < least_bins or remaining < 1 or channels != 1:
        raise ConfigError(
            f"streaming_ds_cnn takes one channel of at least {least_bins} bins by "
            f"{first + shorter * design.stride} frames, not {input_shape}"
        )
    inputs = keras.Input(input_shape, name="features")  # (F, T, 1)
    if design.stem:
        x = _stem(inputs, design.stem, first, design.stride)
        kernels, stride = others, 1
    else:
        x = keras.layers.Permute((3, 2, 1), name="rows")(inputs)  # (1, T, F)
        kernels, stride = [first, *others], design.stride
    blocks = [(f"ds{i}", design.filters, kernel) for i, kernel in enumerate(kernels, 1)]
    blocks.append(("last", design.features, remaining))  # (1, 1, features)
    strides = (stride, stride)
    for name, filters, kernel in blocks:
        x = ds_conv(
            x,
            filters,
            (1, kernel),
            strides,
            name,
            depthwise_norm=design.depthwise_norm,
            time_padding=False,
        )
        strides = (1, 1)
    return keras.Model(inputs, classifier(x, classes, design.dropout), name="streaming_ds_cnn")


def _stem(maps: tf.Tensor, channels: Sequence[int], frames: int, stride: int) -> tf.Tensor:
    """Two convolutions over frequency and time, neither of which pads.

    Args:
        maps: (batch, F, T, 1).
        channels: of the first layer and of the last one.
        frames: frames that the first one takes.
        stride: its stride in time.

    Returns:
        A row with about F / 4 * ``channels[1]`` channels.
    """
    inner, outer = channels
    x = keras.layers.Permute((2, 1, 3), name="columns")(maps)  # (T, F, 1): lines of memory
    x = keras.layers.Conv2D(inner, (frames, 5), (stride, 2), name="stem_conv")(x)
    x = _active(x, "stem")
    x = keras.layers.DepthwiseConv2D(_STEM_KERNEL, name="stem_dw")(x)
    x = _active(x, "stem_dw")
    x = keras.layers.Conv2D(outer, 1, name="stem_pw")(x)
    x = _active(x, "stem_pw")
    x = keras.layers.MaxPool2D((1, 2), name="stem_pool")(x)
    _, lines, bins, _ = x.shape
    return keras.layers.Reshape((1, lines, bins * outer), name="rows")(x)


def _active(x: tf.Tensor, name: str) -> tf.Tensor:
    x = keras.layers.BatchNormalization(momentum=NORM_MOMENTUM, name=f"{name}_bn")(x)
    return keras.layers.ReLU(name=f"{name}_relu")(x)
