# SPDX-License-Identifier: Apache-2.0
"""Image networks that are common baselines for sounds, on feature maps of any size.

The backbones come from ``keras.applications``. They get this package's head, so that they can be
exported like any other network.
"""

import dataclasses
from collections.abc import Mapping
from typing import Literal

from m3net_tf.networks.layers.convolution import classifier, three_channels
from m3net_tf.system.keras import keras


@dataclasses.dataclass(frozen=True)
class Body:
    """A backbone from ``keras.applications``.

    Attributes:
        application: its function in ``keras.applications``.
        arguments: additional arguments of that function.
        unscale: factor on the map that undoes the network's own scaling of pixels.
    """

    application: str
    arguments: Mapping[str, object] = dataclasses.field(default_factory=dict)
    unscale: float = 1.0


BODIES = {
    "efficientnet_b0": Body("EfficientNetB0", unscale=255.0),
    "mobilenet_v2": Body("MobileNetV2"),
    "mobilenet_v3_small": Body("MobileNetV3Small", {"include_preprocessing": False}),
    "mobilenet_v3_large": Body("MobileNetV3Large", {"include_preprocessing": False}),
    "resnet50": Body("ResNet50"),
    "densenet121": Body("DenseNet121"),
}


@dataclasses.dataclass(frozen=True)
class Design:
    """Design of an image network.

    Attributes:
        body: one of :data:`BODIES`.
        dropout: share of the pooled features dropped in training.
    """

    body: Literal[
        "efficientnet_b0",
        "mobilenet_v2",
        "mobilenet_v3_small",
        "mobilenet_v3_large",
        "resnet50",
        "densenet121",
    ] = "efficientnet_b0"
    dropout: float = 0.0


def build(input_shape: tuple[int, int, int], classes: int, design: Design) -> keras.Model:
    """Build one of :data:`BODIES` with global pooling and a classifier.

    Raises:
        ConfigError: a number of channels other than 1 or 3.
    """
    body = BODIES[design.body]
    inputs = keras.Input(input_shape, name="features")  # (F, T, channels)
    x = three_channels(inputs)
    if body.unscale != 1.0:
        x = keras.layers.Rescaling(body.unscale, name="unscaled")(x)
    application = getattr(keras.applications, body.application)
    network = application(include_top=False, weights=None, input_tensor=x, **body.arguments)
    x = network.output  # (ceil(F / 32), ceil(T / 32), features)
    return keras.Model(inputs, classifier(x, classes, design.dropout), name=design.body)
