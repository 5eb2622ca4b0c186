# SPDX-License-Identifier: Apache-2.0
"""Presets of SparkNet with their costs."""

from m3net_tf.networks.presets import Preset


def _paper(filters: int, parameters: int, macs: int) -> Preset:
    return Preset(
        input_shape=(32, 101, 1),
        parameters=parameters,
        macs=macs,
        summary=f"the paper's C = {filters}, on 1 s of 32 cepstral coefficients at a hop of 10 ms",
        arguments={"filters": filters},
    )


PRESETS = {
    "c16": _paper(16, 4_924, 396_304),
    "c32": _paper(32, 12_012, 1_066_944),
    "mcu": Preset(
        input_shape=(40, 49, 1),
        parameters=12_748,
        macs=547_320,
        summary="32 channels, on the int8 log-mel columns of the device's front end",
    ),
}
