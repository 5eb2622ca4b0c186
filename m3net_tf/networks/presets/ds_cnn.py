# SPDX-License-Identifier: Apache-2.0
"""Presets of the DS-CNN with their costs."""

from m3net_tf.networks.presets import Preset

PRESETS = {
    "mcu": Preset(
        input_shape=(10, 49, 1),
        parameters=24_908,
        macs=2_656_768,
        summary="MLPerf Tiny's keyword network on 10 cepstral coefficients by 49 frames",
    ),
}
