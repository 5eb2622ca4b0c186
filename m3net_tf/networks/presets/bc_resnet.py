# SPDX-License-Identifier: Apache-2.0
"""Presets of BC-ResNet with their costs."""

from m3net_tf.networks.presets import Preset


def _preset(tau: float, parameters: int, macs: int) -> Preset:
    return Preset(
        input_shape=(40, 101, 1),
        parameters=parameters,
        macs=macs,
        summary=f"BC-ResNet-{tau:g} on 1 s of 40 log-mel bins at a hop of 10 ms",
        arguments={"tau": tau},
    )


PRESETS = {
    "tau1": _preset(1.0, 11_648, 2_542_756),
    "tau1_5": _preset(1.5, 20_778, 4_698_894),
    "tau2": _preset(2.0, 32_116, 7_444_872),
    "tau3": _preset(3.0, 61_416, 14_706_348),
    "tau6": _preset(6.0, 202_308, 50_646_936),
    "tau8": _preset(8.0, 340_396, 86_404_128),
}
