# SPDX-License-Identifier: Apache-2.0
"""Presets of EfficientNet with attention with their costs."""

from m3net_tf.networks.presets import Preset

PRESETS = {
    "paper": Preset(
        input_shape=(128, 1000, 3),
        classes=527,
        parameters=13_708_917,
        macs=1_885_009_472,
        summary="EfficientNet-B2 with 4 attention heads on 10 s at 100 frames/s (AudioSet)",
    ),
    "b0": Preset(
        input_shape=(40, 98, 3),
        classes=35,
        parameters=4_408_255,
        macs=46_979_440,
        summary="EfficientNet-B0 with 4 attention heads, as in DiffRes's table 3 (Speech Commands)",
        arguments={"backbone": "b0"},
    ),
}
