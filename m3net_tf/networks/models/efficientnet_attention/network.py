# SPDX-License-Identifier: Apache-2.0
"""EfficientNet with attention pooling, the classifier of the DiffRes paper.

Liu et al. (DiffRes), section 3, adopt it from Gong et al., "PSLA", TASLP 2021: EfficientNet-B2 with
four attention heads, 13.6 M trainable parameters for AudioSet's 527 classes; B0 in table 3.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Literal

import numpy as np

from m3net_tf.networks.models.efficientnet_attention.attention_pooling import attention_classifier
from m3net_tf.networks.models.registry import Preset
from m3net_tf.system.conversion import AtLeastOne
from m3net_tf.system.errors import ConfigError, one_line
from m3net_tf.system.keras import keras

BACKBONES = {
    "b0": keras.applications.EfficientNetB0,
    "b2": keras.applications.EfficientNetB2,
}


@dataclasses.dataclass(frozen=True)
class Design:
    """Design of EfficientNet with attention pooling.

    Attributes:
        backbone: ``b0`` or ``b2``.
        multi_label: sigmoid per class instead of softmax.
        weights: file with ImageNet weights of the backbone without its head, as published by
            Keras (``efficientnetb2_notop.h5``). Nothing is downloaded; without a file the initial
            weights are random.
    """

    backbone: Literal["b0", "b2"] = "b2"
    heads: AtLeastOne = 4
    multi_label: bool = False
    weights: str = ""


def build(input_shape: tuple[int, int, int], classes: int, design: Design) -> keras.Model:
    """Build EfficientNet without its own head, then attention pooling over time.

    A single channel is repeated three times.

    Raises:
        ConfigError: a number of channels other than 1 or 3, or a weights file that is missing or
            does not fit.
    """
    if input_shape[2] not in (1, 3):
        raise ConfigError(f"EfficientNet needs 1 or 3 channels, not {input_shape[2]}")
    inputs = x = keras.Input(input_shape, name="features")  # (F, T, channels)
    if input_shape[2] == 1:
        x = keras.layers.Concatenate(name="three_channels")([x] * 3)
    # Undo the division by 255 of Keras's EfficientNet: features are already in [-1, 1).
    x = keras.layers.Rescaling(255.0, name="unscaled")(x)
    network = BACKBONES[design.backbone](include_top=False, weights=None, input_tensor=x)
    if design.weights:
        _load_backbone(network, design.backbone, Path(design.weights))
    outputs = attention_classifier(
        network.output,  # (ceil(F / 32), ceil(T / 32), 1280 or 1408)
        classes,
        design.heads,
        multi_label=design.multi_label,
    )
    return keras.Model(inputs, outputs, name="efficientnet_attention")


def _load_backbone(network: keras.Model, backbone: str, path: Path) -> None:
    if not path.is_file():
        raise ConfigError(f"model.weights: {path} does not exist: download it or remove the key")
    try:
        network.load_weights(path)
    except (OSError, ValueError, KeyError) as error:
        text = one_line(error)
        raise ConfigError(
            f"model.weights: {path} does not fit EfficientNet-{backbone.upper()} without head "
            f"({text}): give Keras's efficientnet{backbone}_notop.h5"
        ) from None
    reset_image_statistics(network)


def reset_image_statistics(network: keras.Model) -> None:
    """Reset the pixel mean and variance of ImageNet weights, so that features keep their scale."""
    for layer in network.layers:
        if isinstance(layer, keras.layers.Normalization):
            mean, variance, count = layer.get_weights()
            layer.set_weights([np.zeros_like(mean), np.ones_like(variance), np.zeros_like(count)])
            layer.finalize_state()


PRESETS = {
    "paper": Preset(
        input_shape=(128, 1000, 3),
        classes=527,
        parameters=13_708_917,
        macs=1_885_009_472,
        summary="EfficientNet-B2 with 4 attention heads on 10 s at 100 frames/s (AudioSet)",
    ),
    "b0": Preset(
        input_shape=(40, 98, 3),
        classes=35,
        parameters=4_408_255,
        macs=46_979_440,
        summary="EfficientNet-B0 with 4 attention heads, as in DiffRes's table 3 (Speech Commands)",
        arguments={"backbone": "b0"},
    ),
}
