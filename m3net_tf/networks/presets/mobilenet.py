# SPDX-License-Identifier: Apache-2.0
"""Presets of MobileNet with their costs."""

from m3net_tf.networks.presets import Preset

PRESETS = {
    "sounds_s": Preset(input_shape=(64, 96, 1), classes=10, parameters=1, macs=1, summary="",
        arguments={"stem": 12, "channels": (24, 48, 48, 80, 80, 128, 128), "strides": (1, 2, 1, 2, 1, 2, 1)}),
    "sounds_m": Preset(input_shape=(64, 96, 1), classes=10, parameters=1, macs=1, summary="",
        arguments={"stem": 24, "channels": (48, 80, 80, 160, 160, 192, 224), "strides": (1, 2, 1, 2, 1, 2, 1)}),
    "sounds_l": Preset(input_shape=(64, 96, 1), classes=10, parameters=1, macs=1, summary="",
        arguments={"stem": 32, "channels": (64, 128, 128, 256, 256, 512, 512, 512), "strides": (1, 2, 1, 2, 1, 2, 1, 1)}),
}
