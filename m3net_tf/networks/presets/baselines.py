# SPDX-License-Identifier: Apache-2.0
"""Presets of the image networks with their costs."""

from m3net_tf.networks.presets import Preset


def _preset(body: str, name: str, paper: str, *, parameters: int, macs: int) -> Preset:
    return Preset(
        input_shape=(128, 128, 1),
        classes=50,
        parameters=parameters,
        macs=macs,
        summary=f"{name} ({paper}) on a map of 128 bins by 128 frames",
        arguments={"body": body},
    )


_MOBILENET_V3 = "Howard et al., ICCV 2019"

PRESETS = {
    "efficientnet_b0": _preset(
        "efficientnet_b0",
        "EfficientNet-B0",
        "Tan and Le, ICML 2019",
        parameters=4_113_621,
        macs=126_048_768,
    ),
    "mobilenet_v2": _preset(
        "mobilenet_v2",
        "MobileNetV2",
        "Sandler et al., CVPR 2018",
        parameters=2_322_034,
        macs=97_858_048,
    ),
    "mobilenet_v3_small": _preset(
        "mobilenet_v3_small",
        "MobileNetV3-Small",
        _MOBILENET_V3,
        parameters=967_970,
        macs=18_263_168,
    ),
    "mobilenet_v3_large": _preset(
        "mobilenet_v3_large",
        "MobileNetV3-Large",
        _MOBILENET_V3,
        parameters=3_044_402,
        macs=70_967_040,
    ),
    "resnet50": _preset(
        "resnet50",
        "ResNet-50",
        "He et al., CVPR 2016",
        parameters=23_690_162,
        macs=1_259_180_032,
    ),
    "densenet121": _preset(
        "densenet121",
        "DenseNet-121",
        "Huang et al., CVPR 2017",
        parameters=7_088_754,
        macs=925_157_376,
    ),
}
