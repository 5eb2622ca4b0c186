# SPDX-License-Identifier: Apache-2.0
"""Presets of the learnable front ends with their costs."""

from m3net_tf.networks.presets import Preset


def _preset(frontend: str, parameters: int, macs: int, title: str) -> Preset:
    return Preset(
        input_shape=(1, 16_000, 1),
        classes=35,
        parameters=parameters,
        macs=macs,
        summary=f"{title} on 1 s of waveform, then EfficientNet-B0 (DiffRes's table 3)",
        arguments={
            "frontend": frontend,
            "classifier": {"name": "efficientnet_attention", "preset": "b0"},
        },
    )


PRESETS = {
    "leaf": _preset("leaf", 4_408_535, 561_827_440, "LEAF"),
    "sincnet": _preset("sincnet", 4_408_415, 303_619_440, "SincNet"),
    "td_fbank": _preset("td_fbank", 4_440_335, 561_827_440, "TD-filterbanks"),
}
