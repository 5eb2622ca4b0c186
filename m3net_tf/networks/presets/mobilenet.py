# SPDX-License-Identifier: Apache-2.0
"""Presets of MobileNet with their costs."""

from m3net_tf.networks.presets import Preset

_STRIDES = (1, 2, 1, 2, 1, 2, 1)

PRESETS = {
    "sounds_s": Preset(
        input_shape=(64, 48, 1),
        classes=10,
        parameters=45_522,
        macs=1_645_568,
        summary="everyday sounds on a small board: 0.96 s of 64 mel bins at a hop of 20 ms",
        arguments={
            "stem": 8,
            "channels": (16, 40, 48, 80, 80, 112, 128),
            "strides": _STRIDES,
        },
    ),
    "sounds_m": Preset(
        input_shape=(64, 96, 1),
        classes=10,
        parameters=126_874,
        macs=9_373_760,
        summary="everyday sounds on a Cortex-M4: 0.96 s of YAMNet's features, half its width",
        arguments={
            "stem": 16,
            "channels": (32, 64, 80, 144, 144, 192, 224),
            "strides": _STRIDES,
        },
    ),
    "sounds_l": Preset(
        input_shape=(64, 96, 1),
        classes=10,
        parameters=824_138,
        macs=39_910_400,
        summary="everyday sounds on a Cortex-M7 or M55: YAMNet's layers 1 to 9",
        arguments={
            "stem": 32,
            "channels": (64, 128, 128, 256, 256, 512, 512, 512),
            "strides": (*_STRIDES, 1),
        },
    ),
}
