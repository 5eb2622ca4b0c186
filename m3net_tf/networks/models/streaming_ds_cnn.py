# SPDX-License-Identifier: Apache-2.0
"""The network of MLPerf Tiny's streaming wake word: a DS-CNN over time without padding.

MLPerf Tiny 1.3, benchmark/training/streaming_wakeword at 1afd2c9. Layers and sizes as in the
published str_ww_ref_model.tflite.
"""

from __future__ import annotations

import dataclasses

from m3net_tf.networks.layers import classifier, ds_conv
from m3net_tf.networks.models.registry import Preset
from m3net_tf.system.errors import ConfigError
from m3net_tf.system.keras import keras

KERNELS = (3, 5, 10)  # frames of the first blocks; the last one takes all that remain


@dataclasses.dataclass(frozen=True)
class Design:
    """Design of the network.

    Attributes:
        filters: channels of the blocks.
        features: channels before the classifier.
        dropout: share of these features dropped in training.
    """

    filters: int = 128
    features: int = 32
    dropout: float = 0.0


def build(input_shape: tuple[int, int, int], classes: int, design: Design) -> keras.Model:
    """Build the network: depthwise separable blocks over time, with all bins as channels.

    No block pads, so that a hop computes one column of each (docs/streaming.md).

    Args:
        input_shape: (bins, frames, 1); designed for 40 bins by 30 frames.
        classes: number of classes.
        design: design of the network.

    Returns:
        Keras model, (batch, bins, frames, 1) to (batch, classes) probabilities.

    Raises:
        ConfigError: too few frames for the blocks, or several channels.
    """
    _, frames, channels = input_shape
    remaining = frames - sum(kernel - 1 for kernel in KERNELS)
    if remaining < 1 or channels != 1:
        least = frames - remaining + 1
        raise ConfigError(
            f"streaming_ds_cnn takes one channel of at least {least} frames, not {input_shape}"
        )
    inputs = keras.Input(input_shape, name="features")  # (F, T, 1)
    x = keras.layers.Permute((3, 2, 1), name="rows")(inputs)  # (1, T, F)
    for index, kernel in enumerate(KERNELS, start=1):
        x = ds_conv(x, design.filters, (1, kernel), name=f"ds{index}", time_padding=False)
    x = ds_conv(x, design.features, (1, remaining), name="last", time_padding=False)  # (1, 1, C)
    return keras.Model(inputs, classifier(x, classes, design.dropout), name="streaming_ds_cnn")


PRESETS = {
    "mlperf": Preset(
        input_shape=(40, 30, 1),
        classes=3,
        parameters=48_547,
        macs=826_368,
        summary="MLPerf Tiny's streaming wake word on 40 mel bins by 30 frames of 32 ms",
    ),
}
