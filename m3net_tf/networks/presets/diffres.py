# SPDX-License-Identifier: Apache-2.0
"""Presets of DiffRes with their costs."""

from m3net_tf.networks.presets import Preset


def _before_m3net(preset: str, *, frames: int, parameters: int, macs: int, summary: str) -> Preset:
    """DiffRes before a preset of M3Net, on 40 bins."""
    return Preset(
        input_shape=(40, frames, 1),
        parameters=parameters,
        macs=macs,
        summary=f"{summary}, then M3Net {preset}",
        arguments={"classifier": {"name": "m3net", "preset": preset}},
    )


PRESETS = {
    "paper": Preset(
        input_shape=(128, 98, 1),
        classes=35,
        parameters=8_245_948,
        macs=111_915_770,
        summary="DiffRes at 50 frames/s, then EfficientNet-B2 (Speech Commands)",
        arguments={
            "classifier": {"name": "efficientnet_attention", "preset": "paper"},
            "feature_range": {"feature_min": -23.0, "feature_max": 6.0},  # front end "diffres"
        },
    ),
    "mcu": _before_m3net(
        "mcu", frames=49, parameters=43_139, macs=1_468_504, summary="DiffRes at half the frames"
    ),
    "s": _before_m3net(
        "s",
        frames=49,
        parameters=60_195,
        macs=1_524_568,
        summary="64 kB of arena, 200 kB of weights: half the frames of 20 ms",
    ),
    "m": _before_m3net(
        "m",
        frames=98,
        parameters=141_797,
        macs=10_591_216,
        summary="192 kB of arena, 500 kB of weights: half the frames of 10 ms",
    ),
    "l": _before_m3net(
        "l",
        frames=197,
        parameters=417_221,
        macs=106_043_928,
        summary="512 kB of arena, 1.5 MB of weights: half the frames of 5 ms",
    ),
}
