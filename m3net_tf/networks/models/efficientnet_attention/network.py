# SPDX-License-Identifier: Apache-2.0
"""EfficientNet with attention pooling, the classifier of the DiffRes paper.

Liu et al. (DiffRes), section 3, adopt it from Gong et al., "PSLA", TASLP 2021: EfficientNet-B2 with
four attention heads, 13.6 M trainable parameters for AudioSet's 527 classes; B0 in table 3.
"""

import dataclasses
from typing import Literal

from m3net_tf.networks.layers.convolution import three_channels
from m3net_tf.networks.models.efficientnet_attention.attention_pooling import attention_classifier
from m3net_tf.system.conversion import AtLeastOne
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
    """

    backbone: Literal["b0", "b2"] = "b2"
    heads: AtLeastOne = 4
    multi_label: bool = False


def build(input_shape: tuple[int, int, int], classes: int, design: Design) -> keras.Model:
    """Build EfficientNet without its own head, then attention pooling over time.

    Raises:
        ConfigError: a number of channels other than 1 or 3.
    """
    inputs = keras.Input(input_shape, name="features")  # (F, T, channels)
    x = three_channels(inputs)
    # Undo the division by 255 of Keras's EfficientNet: features are already in [-1, 1).
    x = keras.layers.Rescaling(255.0, name="unscaled")(x)
    network = BACKBONES[design.backbone](include_top=False, weights=None, input_tensor=x)
    outputs = attention_classifier(
        network.output,  # (ceil(F / 32), ceil(T / 32), 1280 or 1408)
        classes,
        design.heads,
        multi_label=design.multi_label,
    )
    return keras.Model(inputs, outputs, name="efficientnet_attention")
