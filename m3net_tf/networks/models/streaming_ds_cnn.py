# SPDX-License-Identifier: Apache-2.0
"""A DS-CNN over time without padding: MLPerf Tiny's streaming wake word, and ours.

``mlperf`` is of MLPerf Tiny 1.3, benchmark/training/streaming_wakeword at 1afd2c9. Layers and sizes
as in the published str_ww_ref_model.tflite.
"""

import dataclasses
from collections.abc import Sequence

from m3net_tf.networks.layers import classifier, ds_conv
from m3net_tf.system.errors import ConfigError
from m3net_tf.system.keras import keras


@dataclasses.dataclass(frozen=True)
class Design:
    """Design of the network.

    Attributes:
        kernels: frames that each of the first blocks takes; the last block takes all that remain.
        stride: stride in time of the first block.
        features: channels before the classifier.
        depthwise_norm: see :func:`.layers.ds_conv`.
        dropout: share of these features dropped in training.
    """

    filters: int = 128
    kernels: Sequence[int] = (3, 5, 10)
    stride: int = 1
    features: int = 32
    depthwise_norm: bool = False
    dropout: float = 0.0


def build(input_shape: tuple[int, int, int], classes: int, design: Design) -> keras.Model:
    """Build the network: depthwise separable blocks over time, with all bins as channels.

    No block pads, so that a hop computes one column of each (docs/design/streaming.md). Designed
    for maps of 40 bins by 30 frames.

    Raises:
        ConfigError: too few frames for the blocks, or several channels.
    """
    _, frames, channels = input_shape
    first, *others = design.kernels
    shorter = sum(kernel - 1 for kernel in others)
    remaining = (frames - first) // design.stride + 1 - shorter
    if remaining < 1 or channels != 1:
        least = first + shorter * design.stride
        raise ConfigError(
            f"streaming_ds_cnn takes one channel of at least {least} frames, not {input_shape}"
        )
    inputs = keras.Input(input_shape, name="features")  # (F, T, 1)
    x = keras.layers.Permute((3, 2, 1), name="rows")(inputs)  # (1, T, F)
    blocks = [(f"ds{i}", design.filters, kernel) for i, kernel in enumerate(design.kernels, 1)]
    blocks.append(("last", design.features, remaining))  # (1, 1, features)
    strides = (design.stride, design.stride)
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
