# SPDX-License-Identifier: Apache-2.0
"""Image networks that are common baselines for sounds, on feature maps of any size.

The backbones come from ``keras.applications``. They get this package's head, so that they can be
exported like any other network.
"""

import dataclasses
from collections.abc import Mapping
from typing import Literal

from m3net_tf.networks.layers.convolution import classifier, three_channels
from m3net_tf.networks.models.registry import Preset
from m3net_tf.system.keras import keras


@dataclasses.dataclass(frozen=True)
class Body:
    """A backbone from ``keras.applications``.

    Attributes:
        title: its name in papers.
        application: its function in ``keras.applications``.
        arguments: additional arguments of that function.
        unscale: factor on the map that undoes the network's own scaling of pixels.
    """

    title: str
    application: str
    paper: str
    arguments: Mapping[str, object] = dataclasses.field(default_factory=dict)
    unscale: float = 1.0


BODIES = {
    "efficientnet_b0": Body(
        "EfficientNet-B0", "EfficientNetB0", "Tan and Le, ICML 2019", unscale=255.0
    ),
    "mobilenet_v2": Body("MobileNetV2", "MobileNetV2", "Sandler et al., CVPR 2018"),
    "mobilenet_v3_small": Body(
        "MobileNetV3-Small",
        "MobileNetV3Small",
        "Howard et al., ICCV 2019",
        {"include_preprocessing": False},
    ),
    "mobilenet_v3_large": Body(
        "MobileNetV3-Large",
        "MobileNetV3Large",
        "Howard et al., ICCV 2019",
        {"include_preprocessing": False},
    ),
    "resnet50": Body("ResNet-50", "ResNet50", "He et al., CVPR 2016"),
    "densenet121": Body("DenseNet-121", "DenseNet121", "Huang et al., CVPR 2017"),
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


def _preset(body: str, parameters: int, macs: int) -> Preset:
    return Preset(
        input_shape=(128, 128, 1),
        classes=50,
        parameters=parameters,
        macs=macs,
        summary=f"{BODIES[body].title} ({BODIES[body].paper}) on a map of 128 bins by 128 frames",
        arguments={"body": body},
    )


PRESETS = {
    "efficientnet_b0": _preset("efficientnet_b0", 4_113_621, 126_048_768),
    "mobilenet_v2": _preset("mobilenet_v2", 2_322_034, 97_858_048),
    "mobilenet_v3_small": _preset("mobilenet_v3_small", 967_970, 18_263_168),
    "mobilenet_v3_large": _preset("mobilenet_v3_large", 3_044_402, 70_967_040),
    "resnet50": _preset("resnet50", 23_690_162, 1_259_180_032),
    "densenet121": _preset("densenet121", 7_088_754, 925_157_376),
}
