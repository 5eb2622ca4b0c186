# SPDX-License-Identifier: Apache-2.0
"""Presets of M3Net with their costs."""

from m3net_tf.networks.presets import Preset


def _stage(
    filters: int,
    kernel: tuple[int, int] = (3, 3),
    strides: tuple[int, int] = (1, 1),
    *,
    pool: int = 1,
    separable: bool = True,
) -> dict[str, object]:
    """Arguments of a ``Stage``, all of which are part of the hash of a design."""
    return {
        "filters": filters,
        "kernel": kernel,
        "strides": strides,
        "pool": pool,
        "separable": separable,
    }


_PAPER: dict[str, object] = {
    "image": (256, 256),
    "sfp": (_stage(40, strides=(2, 2), pool=2), _stage(64, strides=(2, 2), pool=2)),
    "tail": (_stage(64),),
}

# A strided convolution instead of the first DSConv, a large frequency stride, and the mirrors on a
# map of 4 x 13: chosen on the validation split of Speech Commands within a Cortex-M4's limits.
_MCU: dict[str, object] = {
    "sfp": (
        _stage(32, kernel=(10, 5), strides=(5, 2), separable=False),
        _stage(64, strides=(2, 2)),
    ),
    "tail": (_stage(64),),
    "depthwise_norm": True,
    "dropout": 0.2,
}

# Two halves of the spectrum and every second frame: the mirrors get a map of 2 x 25. Keywords
# differ mainly in the timing of their sounds; chosen as above, against maps of 4 x 13 and 4 x 25.
_MCU_S = {
    **_MCU,
    "sfp": (
        _stage(64, kernel=(20, 5), strides=(20, 2), separable=False),
        _stage(64),
    ),
}


def _plain(filters: int, tail: int = 1, **changes: object) -> dict[str, object]:
    """Without mirrors: all 20 mel bins in one row, so that a wide map costs little.

    Chosen on the validation split of Speech Commands by ``m3net lab search``.
    """
    stem = _stage(filters, kernel=(20, 5), strides=(20, 2), separable=False)
    stages = {"sfp": (stem, _stage(filters)), "tail": (_stage(filters),) * tail}
    return {**_MCU, **stages, "mirror_attention": False, **changes}


# Wider maps before and in the mirror attention, for microcontrollers with more memory.
_MCU_M = {
    **_MCU,
    "sfp": (
        _stage(64, kernel=(10, 5), strides=(4, 2), separable=False),
        _stage(128, strides=(2, 2)),
    ),
    "tail": (_stage(128), _stage(128)),
}
_MCU_L = {
    **_MCU,
    "sfp": (
        _stage(64, kernel=(10, 5), strides=(2, 2), separable=False),
        _stage(224, strides=(2, 2)),
    ),
    "tail": (_stage(224), _stage(224), _stage(224)),
}

PRESETS = {
    "paper": Preset(
        input_shape=(256, 256, 3),
        classes=10,
        parameters=29_243,
        macs=11_379_520,
        summary="the paper's network, on a 256 x 256 x 3 image of the mel spectrogram",
        arguments=_PAPER,
    ),
    "mcu": Preset(
        input_shape=(40, 49, 1),
        parameters=31_599,
        macs=1_657_152,
        summary="for a Cortex-M4, on the int8 log-mel columns of the device's front end",
        arguments=_MCU,
    ),
    "s": Preset(
        input_shape=(40, 49, 1),
        parameters=39_055,
        macs=1_722_560,
        summary="64 kB of arena, 200 kB of weights, for keywords: whole time steps, two rows",
        arguments=_MCU_S,
    ),
    "plain": Preset(
        input_shape=(20, 49, 1),
        parameters=52_620,
        macs=1_198_336,
        summary="no mirror attention, 128 channels: 20 mel bins in one row, a column each 20 ms",
        arguments=_plain(128),
    ),
    # A hop costs one column of each layer, so that another layer is cheap. Chosen on the validation
    # split of Speech Commands (experiments/results/README.md).
    "plain_stream": Preset(
        input_shape=(20, 64, 1),
        parameters=71_436,
        macs=1_753_344,
        summary="`plain` without padding in time, a layer deeper: streams a column of each layer",
        arguments=_plain(128, tail=2, time_padding=False),
    ),
    "plain_m": Preset(
        input_shape=(20, 49, 1),
        parameters=103_500,
        macs=2_411_904,
        summary="no mirror attention, 192 channels: 20 mel bins in one row, a column each 20 ms",
        arguments=_plain(192),
    ),
    "plain_xs": Preset(
        input_shape=(20, 33, 1),
        parameters=55_404,
        macs=849_792,
        summary="no mirror attention, 96 channels: 20 mel bins in one row, a column each 30 ms",
        arguments=_plain(96, tail=3),
    ),
    # Two seconds of sound in real time at 25 MHz.
    "plain_xxs": Preset(
        input_shape=(20, 33, 1),
        parameters=23_436,
        macs=347_840,
        summary="no mirror attention, 64 channels: 20 mel bins in one row, a column each 30 ms",
        arguments=_plain(64, tail=2),
    ),
    "m": Preset(
        input_shape=(40, 49, 1),
        parameters=127_057,
        macs=8_211_136,
        summary="192 kB of arena, 500 kB of weights: 128 channels in the mirror attention",
        arguments=_MCU_M,
    ),
    "l": Preset(
        input_shape=(40, 49, 1),
        parameters=402_481,
        macs=51_037_088,
        summary="512 kB of arena, 1.5 MB of weights: 224 channels and maps of twice the height",
        arguments=_MCU_L,
    ),
}
