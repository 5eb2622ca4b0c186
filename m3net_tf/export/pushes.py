# SPDX-License-Identifier: Apache-2.0
"""Whether live detection of an export streams: each run computes what new columns change.

It does if at most half of a window's products remain in an arena of at most twice the size
(docs/design/streaming.md).
"""

import dataclasses

from m3net_tf.audio.frontend import FrontendConfig
from m3net_tf.compiler.network import CompiledNetwork, compile_network
from m3net_tf.compiler.streaming.network import stream_network
from m3net_tf.runtime.detector_config import DetectorConfig
from m3net_tf.runtime.network import Int8Network
from m3net_tf.system.errors import ModelError

TIME_AXIS = 2
"""Of the networks of exports, whose inputs are (1, bins, frames, 1)."""
_MOST_SHARE = 0.5
_MOST_ARENAS = 2


def push_columns(
    network: Int8Network,
    frontend: FrontendConfig,
    run_columns: int | None = None,
    stream: bool | None = None,
) -> int | None:
    """Columns that each run of live detection pushes; None if it runs whole windows.

    Args:
        run_columns: columns of the detector from one run to the next; default: the fewest that all
            strides in time divide.
        stream: whether it streams; None: where it pays.

    Raises:
        ModelError: it cannot stream, but ``stream`` is true.
    """
    if stream is False:
        return None
    try:
        streamed = _streamed(network, frontend, run_columns)
    except ModelError as error:
        if stream:
            raise ModelError(
                f"live detection cannot stream ({error}); without --stream it runs whole windows"
            ) from None
        return None
    assert streamed.push is not None
    return streamed.push.hop if stream or _pays(streamed, network) else None


def _streamed(
    network: Int8Network, frontend: FrontendConfig, run_columns: int | None
) -> CompiledNetwork:
    if network.warp:
        raise ModelError("DiffRes warps the whole window")
    if frontend.kind == "waveform":
        raise ModelError("the network takes raw samples")
    streamed = stream_network(network.tflite, TIME_AXIS)
    if streamed.graph.inputs[0].dtype != "int8":
        raise ModelError("the network has 16-bit activations")
    assert streamed.push is not None
    if run_columns is None:
        return streamed
    if run_columns % streamed.push.hop:
        raise ModelError(
            f"the detector's run_columns is {run_columns}: give a multiple of {streamed.push.hop} "
            "in detector.yaml"
        )
    return stream_network(network.tflite, TIME_AXIS, run_columns)


def _pays(streamed: CompiledNetwork, network: Int8Network) -> bool:
    push = streamed.push
    assert push is not None
    if push.products > _MOST_SHARE * push.window_products:
        return False
    return streamed.arena_bytes <= _MOST_ARENAS * compile_network(network.tflite).arena_bytes


def streaming_detector(
    detector: DetectorConfig,
    network: Int8Network,
    frontend: FrontendConfig,
    stream: bool | None = None,
) -> DetectorConfig:
    """A detector with the columns between runs, as many or fewer, with which a network streams.

    Args:
        detector: the detector, which stays as it is if live detection does not stream.

    Raises:
        ModelError: as :func:`push_columns`.
    """
    least = push_columns(network, frontend, stream=stream)
    if least is None:
        return detector
    multiple = max(least, detector.run_columns // least * least)
    streams = push_columns(network, frontend, multiple, stream) is not None
    return dataclasses.replace(detector, run_columns=multiple) if streams else detector
