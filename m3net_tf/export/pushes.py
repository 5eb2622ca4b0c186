# SPDX-License-Identifier: Apache-2.0
"""Whether live detection of an export streams: each run computes what new columns change.

It does if at most half of a window's products remain in an arena of at most twice the size
(docs/streaming.md).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from m3net_tf.audio.frontend import FrontendConfig
from m3net_tf.compiler.network import compile_network
from m3net_tf.compiler.streaming.network import stream_network
from m3net_tf.runtime.detector_config import DetectorConfig
from m3net_tf.runtime.network import Int8Network
from m3net_tf.system.errors import ModelError

TIME_AXIS = 2
"""Of the networks of exports, whose inputs are (1, bins, frames, 1)."""
_MOST_SHARE = 0.5
_MOST_ARENAS = 2


def push_columns(
    network: Int8Network, frontend: FrontendConfig, run_columns: int | None = None
) -> int | None:
    """Columns that each run of live detection pushes.

    Args:
        network: the networks of the device.
        frontend: front-end settings.
        run_columns: columns of the detector from one run to the next; default: the fewest that all
            strides in time divide.

    Returns:
        None if streaming does not pay; and for raw samples, for networks with 16-bit activations,
        and for DiffRes, which warps the whole window.
    """
    if network.warp or frontend.kind == "waveform":
        return None
    try:
        streamed = stream_network(network.tflite, TIME_AXIS, run_columns)
    except ModelError:
        return None
    push = streamed.push
    assert push is not None
    if streamed.graph.inputs[0].dtype != "int8":
        return None
    if push.products > _MOST_SHARE * push.window_products:
        return None
    window_bytes = compile_network(network.tflite).arena_bytes
    return push.hop if streamed.arena_bytes <= _MOST_ARENAS * window_bytes else None


def default_detector(
    network: Int8Network, frontend: FrontendConfig, window_columns: int, labels: Sequence[str]
) -> DetectorConfig:
    """:meth:`.DetectorConfig.default`, with fewer columns between runs if the network then streams.

    Args:
        network: the networks of the device.
        frontend: front-end settings.
        window_columns: columns of the network's input.
        labels: class names in the order of the outputs.
    """
    detector = DetectorConfig.default(frontend, window_columns, labels)
    least = push_columns(network, frontend)
    if least is None:
        return detector
    multiple = max(least, detector.run_columns // least * least)
    streams = push_columns(network, frontend, multiple) is not None
    return dataclasses.replace(detector, run_columns=multiple) if streams else detector
