# SPDX-License-Identifier: Apache-2.0
"""Ranges of activations; clipping rare large values gives smaller steps for all others.

All functions take a float graph of :func:`.ptq.calibrate`, whose weights may have changed, and int8
features of the calibration clips, shape (clips, bins, frames, channels). They return the graph with
the ranges.
"""

from collections.abc import Mapping

import numpy as np

from m3net_tf.audio.frontend.config import FEATURE_SCALE
from m3net_tf.quantization.observation import Float, histograms, observe
from m3net_tf.runtime.interpreter import Int8
from m3net_tf.tflite.read import read_graph
from m3net_tf.tflite.write import write_graph

_SHARES = np.linspace(1.0, 0.3, 29)  # candidate shares of the full range
_STEPS = 255


def set_full_ranges(tflite: bytes, calibration: Int8) -> bytes:
    """Set each tensor's range to the range of its values over the calibration clips."""
    return _with_ranges(
        tflite,
        {index: (each.low, each.high) for index, each in observe(tflite, calibration).items()},
    )


def clip_at_percentile(tflite: bytes, calibration: Int8, percentile: float) -> bytes:
    """Set ranges that clip ``100 - percentile`` % (above 50, at most 100) of values at each end."""
    ranges = {}
    for index, (counts, centres) in _histograms(tflite, calibration).items():
        below = np.cumsum(counts) / counts.sum()
        first = int(np.searchsorted(below, 1 - percentile / 100))
        last = min(int(np.searchsorted(below, percentile / 100)), len(centres) - 1)
        ranges[index] = centres[first], centres[last]
    return _with_ranges(tflite, ranges)


def clip_at_least_error(tflite: bytes, calibration: Int8) -> bytes:
    """Set the ranges with the smallest squared error of rounding and clipping."""
    ranges = {}
    for index, (counts, centres) in _histograms(tflite, calibration).items():
        low = min(centres[0], 0.0)
        high = max(centres[-1], 0.0)
        errors = [_squared_error(counts, centres, share * low, share * high) for share in _SHARES]
        share = _SHARES[int(np.argmin(errors))]
        ranges[index] = share * low, share * high
    return _with_ranges(tflite, ranges)


def _histograms(tflite: bytes, calibration: Int8) -> dict[int, tuple[Float, Float]]:
    return histograms(tflite, calibration, observe(tflite, calibration))


def _squared_error(counts: Float, centres: Float, low: float, high: float) -> float:
    step = max(high - low, 1e-12) / _STEPS
    rounded = np.clip(np.round(centres / step) * step, low, high)
    return float((counts * (centres - rounded) ** 2).sum())


def _with_ranges(tflite: bytes, ranges: Mapping[int, tuple[float, float]]) -> bytes:
    """The graph with ranges that include 0; its input's is the front end's, whatever the clips."""
    graph = read_graph(tflite)
    for tensor in graph.tensors():
        if tensor.index in ranges:
            low, high = ranges[tensor.index]
            tensor.range = min(low, 0.0), max(high, 0.0)
    graph.inputs[0].range = -128 * FEATURE_SCALE, 127 * FEATURE_SCALE
    return write_graph(tflite, graph)
