# SPDX-License-Identifier: Apache-2.0
"""Presets of MobileNet with their costs."""

from m3net_tf.networks.presets import Preset

_STRIDES = (1, 2, 1, 2, 1, 2, 1)

PRESETS = {
    "sounds_s": Preset(
        input_shape=(64, 48, 1),
        parameters=41_440,
        macs=1_429_920,
        summary="everyday sounds, 64 mel bins by 48 frames of 20 ms, for any microcontroller",
        arguments={"stem": 8, "channels": (16, 36, 40, 72, 80, 104, 128), "strides": _STRIDES},
        run_columns=16,
    ),
    "sounds_m": Preset(
        input_shape=(64, 96, 1),
        parameters=127_324,
        macs=9_374_208,
        summary="everyday sounds, 64 mel bins by 96 frames of 10 ms, half of YAMNet's channels",
        arguments={"stem": 16, "channels": (32, 64, 80, 144, 144, 192, 224), "strides": _STRIDES},
        run_columns=48,
    ),
    "sounds_l": Preset(
        input_shape=(64, 96, 1),
        parameters=825_164,
        macs=39_911_424,
        summary="everyday sounds, 64 mel bins by 96 frames of 10 ms, YAMNet's first nine layers",
        arguments={
            "stem": 32,
            "channels": (64, 128, 128, 256, 256, 512, 512, 512),
            "strides": (*_STRIDES, 1),
        },
        run_columns=48,
    ),
}
