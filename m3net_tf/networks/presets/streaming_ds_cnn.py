# SPDX-License-Identifier: Apache-2.0
"""Presets of the streaming DS-CNN with their costs."""

from m3net_tf.networks.presets import Preset

PRESETS = {
    "mlperf": Preset(
        input_shape=(40, 30, 1),
        classes=3,
        parameters=48_547,
        macs=826_368,
        summary="MLPerf Tiny's streaming wake word on 40 mel bins by 30 frames of 32 ms",
    ),
    "wake": Preset(
        input_shape=(40, 69, 1),
        classes=2,
        parameters=33_882,
        macs=834_640,
        summary="wake words on 40 mel bins by frames of 20 ms; streams in hops of two frames",
        arguments={
            "filters": 88,
            "kernels": (3, 3, 5, 9),
            "stride": 2,
            "features": 64,
            "depthwise_norm": True,
            "dropout": 0.2,
            "stem": (16, 8),
        },
    ),
}
