# SPDX-License-Identifier: Apache-2.0
"""Observes the inner tensors of a network while it runs clips."""

import dataclasses
from collections.abc import Collection, Iterator

import numpy as np
import numpy.typing as npt
from ai_edge_litert.interpreter import Interpreter, OpResolverType

from m3net_tf.runtime.interpreter import Int8, as_input
from m3net_tf.system.errors import ModelError, one_line
from m3net_tf.system.native import native_stderr
from m3net_tf.tflite.read import read_graph

Float = npt.NDArray[np.float64]
Single = npt.NDArray[np.float32]
HISTOGRAM_BINS = 2048


def open_fast(tflite: bytes, *, keep_tensors: bool = False) -> Interpreter:
    """An interpreter with TFLite's optimised kernels: ten times as fast as the reference.

    In int8 these may round a value to its neighbour, so they are only for statistics, not for
    comparisons of bytes.

    Raises:
        ModelError: the network cannot be loaded.
    """
    try:
        with native_stderr():
            interpreter = Interpreter(
                model_content=tflite,
                experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
                experimental_preserve_all_tensors=keep_tensors,
                num_threads=1,
            )
            interpreter.allocate_tensors()
    except (RuntimeError, ValueError) as error:
        text = one_line(error)
        raise ModelError(f"the network cannot be run ({text}): quantise the run again") from None
    return interpreter


def watch(
    tflite: bytes, features: Int8 | Single, tensors: Collection[int]
) -> Iterator[dict[int, Single]]:
    """Run clips and yield tensors' values after each, as real numbers.

    Args:
        tflite: float or quantised network.
        features: int8, or real for a float network; shape (clips, bins, frames, channels).
        tensors: indices of the tensors.
    """
    scaled = {
        tensor.index: tensor for tensor in read_graph(tflite).tensors() if len(tensor.scales) == 1
    }
    interpreter = open_fast(tflite, keep_tensors=True)
    source = interpreter.get_input_details()[0]
    for clip in features:
        interpreter.reset_all_variables()
        interpreter.set_tensor(source["index"], as_input(clip, source["dtype"])[None])
        interpreter.invoke()
        values = {}
        for index in tensors:
            value = interpreter.get_tensor(index).astype(np.float32)
            if index in scaled:
                value = (value - scaled[index].zero_point) * scaled[index].scale
            values[index] = value
        yield values


@dataclasses.dataclass
class Observation:
    """Range of a tensor over all clips.

    Attributes:
        channel_peak: largest magnitude of each channel (the last axis), shape (channels,).
    """

    low: float
    high: float
    channel_peak: Float


def observe(tflite: bytes, features: Int8) -> dict[int, Observation]:
    """Ranges of all computed tensors of a float network; int8 (clips, bins, frames, channels)."""
    computed = [
        tensor.index
        for op in read_graph(tflite).operations
        for tensor in op.outputs
        if tensor.dtype == "float32" and tensor.shape
    ]
    observations: dict[int, Observation] = {}
    for values in watch(tflite, features, computed):
        for tensor, value in values.items():
            low, high = float(value.min()), float(value.max())
            peak = np.abs(value).reshape(-1, value.shape[-1]).max(0).astype(float)
            if tensor in observations:
                observed = observations[tensor]
                observed.low, observed.high = min(observed.low, low), max(observed.high, high)
                np.maximum(observed.channel_peak, peak, out=observed.channel_peak)
            else:
                observations[tensor] = Observation(low, high, peak)
    return observations


def histograms(
    tflite: bytes, features: Int8, ranges: dict[int, Observation]
) -> dict[int, tuple[Float, Float]]:
    """Histograms of tensors' values: counts, and bin centres between low and high.

    ``ranges`` is the result of :func:`observe` for the same clips.
    """
    counts = {tensor: np.zeros(HISTOGRAM_BINS) for tensor in ranges}
    for values in watch(tflite, features, list(ranges)):
        for tensor, value in values.items():
            counts[tensor] += np.histogram(value, HISTOGRAM_BINS, _limits(ranges[tensor]))[0]
    return {tensor: (count, _centres(ranges[tensor])) for tensor, count in counts.items()}


def _limits(observed: Observation) -> tuple[float, float]:
    """Ends of the bins, so far apart that single precision tells the bins of any value apart."""
    largest = max(abs(observed.low), abs(observed.high))
    least = max(1e-12, 2 * HISTOGRAM_BINS * float(np.finfo(np.float32).eps) * largest)
    return observed.low, max(observed.high, observed.low + least)


def _centres(observed: Observation) -> Float:
    edges = np.linspace(*_limits(observed), HISTOGRAM_BINS + 1)
    return (edges[1:] + edges[:-1]) / 2
