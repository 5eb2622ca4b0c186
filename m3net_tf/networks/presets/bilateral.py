# SPDX-License-Identifier: Apache-2.0
"""Presets of the bilateral network with their costs."""

from m3net_tf.networks.presets import Preset

# An eighth of the channels, and an eighth of the steps from the BiLSTM and the encoders on, so that
# two cores can train it.
_SMALL = {
    "semantic_filters": (4, 8, 12, 16, 32),
    "detail_filters": (8, 12, 16, 24, 32),
    "token_filters": 32,
    "token_step": 8,
}

# For microcontrollers, where each operator needs about 150 B of arena: one second of sound, large
# first strides (a window of 8 ms every 4 ms in s), fewer FD modules, few tokens.
_S = {
    "fd_modules": "AR",
    "semantic_filters": (8, 16),
    "detail_filters": (8, 16),
    "token_filters": 16,
    "token_step": 17,
    "stem_step": 64,
    "unrolled_lstm": True,
    "heads": 1,
}
_M = {
    **_S,
    "fd_modules": "ABR",
    "semantic_filters": (8, 16, 32),
    "detail_filters": (8, 16, 32),
    "token_filters": 32,
    "token_step": 16,
    "stem_step": 16,
    "heads": 4,
}
_L = {
    **_M,
    "fd_modules": "AABR",
    "semantic_filters": (16, 24, 32, 64),
    "detail_filters": (16, 24, 32, 64),
    "token_filters": 64,
    "token_step": 8,
}

PRESETS = {
    "paper": Preset(
        input_shape=(1, 88_200, 1),
        classes=50,
        parameters=10_114_994,
        macs=38_395_729_792,
        summary="the paper's network, on 4 s of waveform at 22.05 kHz",
    ),
    "small": Preset(
        input_shape=(1, 88_200, 1),
        classes=8,
        parameters=230_624,
        macs=824_171_728,
        summary="the same structure with an eighth of the channels, for training on two cores",
        arguments=_SMALL,
    ),
    "s": Preset(
        input_shape=(1, 16_000, 1),
        parameters=58_792,
        macs=3_140_928,
        summary="64 kB of arena, 200 kB of weights: a second of sound, 4 ms steps",
        arguments=_S,
    ),
    "m": Preset(
        input_shape=(1, 16_000, 1),
        parameters=216_864,
        macs=22_651_264,
        summary="192 kB of arena, 500 kB of weights: the same with 1 ms steps, three FD modules",
        arguments=_M,
    ),
    "l": Preset(
        input_shape=(1, 16_000, 1),
        parameters=845_588,
        macs=64_844_288,
        summary="512 kB of arena, 1.5 MB of weights: twice the channels of m, four FD modules",
        arguments=_L,
    ),
}
