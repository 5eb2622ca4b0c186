# SPDX-License-Identifier: Apache-2.0
"""Ranges of activations; clipping rare large values gives smaller steps for all others.

All functions take a float graph of :func:`.ptq.calibrate`, whose weights may have changed, and int8
features of the calibration clips, shape (clips, bins, frames, channels). They return the graph with
the ranges.
"""

import numpy as np

from m3net_tf.audio.frontend.config import FEATURE_SCALE
from m3net_tf.quantization.graph import Graph
from m3net_tf.quantization.observation import Float, histograms, observe
from m3net_tf.runtime.interpreter import Int8

_SHARES = np.linspace(1.0, 0.3, 29)  # candidate shares of the full range
_STEPS = 255


def set_full_ranges(tflite: bytes, calibration: Int8) -> bytes:
    """Set each tensor's range to the range of its values over the calibration clips."""
    graph = Graph(tflite)
    for tensor, observed in observe(tflite, calibration).items():
        graph.set_range(tensor, min(observed.low, 0.0), max(observed.high, 0.0))
    return _with_input(graph)


def clip_at_percentile(tflite: bytes, calibration: Int8, percentile: float) -> bytes:
    """Set ranges that clip ``100 - percentile`` % (above 50, at most 100) of values at each end."""
    graph = Graph(tflite)
    for tensor, (counts, centres) in _histograms(tflite, calibration).items():
        below = np.cumsum(counts) / counts.sum()
        first = int(np.searchsorted(below, 1 - percentile / 100))
        last = min(int(np.searchsorted(below, percentile / 100)), len(centres) - 1)
        graph.set_range(tensor, min(centres[first], 0.0), max(centres[last], 0.0))
    return _with_input(graph)


def clip_at_least_error(tflite: bytes, calibration: Int8) -> bytes:
    """Set the ranges with the smallest squared error of rounding and clipping."""
    graph = Graph(tflite)
    for tensor, (counts, centres) in _histograms(tflite, calibration).items():
        low, high = min(centres[0], 0.0), max(centres[-1], 0.0)
        errors = [_squared_error(counts, centres, share * low, share * high) for share in _SHARES]
        share = _SHARES[int(np.argmin(errors))]
        graph.set_range(tensor, share * low, share * high)
    return _with_input(graph)


def _histograms(tflite: bytes, calibration: Int8) -> dict[int, tuple[Float, Float]]:
    return histograms(tflite, calibration, observe(tflite, calibration))


def _squared_error(counts: Float, centres: Float, low: float, high: float) -> float:
    step = max(high - low, 1e-12) / _STEPS
    rounded = np.clip(np.round(centres / step) * step, low, high)
    return float((counts * (centres - rounded) ** 2).sum())


def _with_input(graph: Graph) -> bytes:
    """Set the input to the front end's range, regardless of the clips."""
    graph.set_range(graph.inputs[0], -128 * FEATURE_SCALE, 127 * FEATURE_SCALE)
    return graph.pack()
