# SPDX-License-Identifier: Apache-2.0
"""Presets of SpectroMaskNet with their costs."""

from m3net_tf.networks.presets import Preset

_MCU = {
    "modules": (1, 1, 1, 1),
    "channels": (8, 16, 24, 32),
    "strides": (2, 2, 2, 1),
    "mask_block": 5.0,
    "expansion": 4,
}

PRESETS = {
    "paper": Preset(
        input_shape=(80, 498, 1),
        classes=50,
        parameters=2_706_819,
        macs=12_464_194_320,
        summary="the paper's network, on 5 s of 80-bin FBank (25 ms windows, 10 ms hop)",
    ),
    "mcu": Preset(
        input_shape=(40, 49, 1),
        parameters=293_301,
        macs=17_328_784,
        summary="for a Cortex-M4, on the int8 log-mel columns of the device's front end",
        arguments=_MCU,
    ),
    "s": Preset(
        input_shape=(40, 49, 1),
        parameters=96_741,
        macs=4_884_252,
        summary="64 kB of arena, 200 kB of weights: two stages",
        arguments={
            "modules": (1, 1),
            "channels": (12, 24),
            "strides": (4, 2),
            "mask_block": 5.0,
            "expansion": 2,
        },
    ),
    "m": Preset(
        input_shape=(40, 49, 1),
        parameters=293_301,
        macs=17_328_784,
        summary="192 kB of arena, 500 kB of weights: the same network as mcu",
        arguments=_MCU,
    ),
    "l": Preset(
        input_shape=(40, 49, 1),
        parameters=1_108_619,
        macs=67_787_656,
        summary="512 kB of arena, 1.5 MB of weights: up to two modules per stage",
        arguments={
            "modules": (1, 2, 2, 1),
            "channels": (16, 24, 40, 56),
            "strides": (2, 2, 2, 1),
            "mask_block": 5.0,
            "expansion": 6,
        },
    ),
}
