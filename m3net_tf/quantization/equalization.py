# SPDX-License-Identifier: Apache-2.0
"""Cross-layer equalisation: channels of an activation scaled alike, weights changed to match.

An int8 tensor has one step for all its channels, so channels that stay small are rounded coarsely.
Dividing a channel by s where a convolution makes it and multiplying the weights that read it by s
changes nothing in float (Nagel et al., "Data-Free Quantization Through Weight Equalization and
Bias Correction", 2019). Theirs balances the ranges of weights; ours have a scale for each output
channel already, so what is left to gain is in the activations:

- where only depthwise convolutions read a tensor, each channel's weights have a scale of their
  own: activations are made fully equal and nothing is lost;
- where convolutions or dense layers read it, its channels share a weight's scale: half the way
  (the square root), as the loss in weights then equals the gain in activations.

It goes through what keeps a channel's factor: ReLU and leaky ReLU, poolings, mirrors, padding,
concatenation, sums (all terms get one factor) and products with what cannot be scaled, such as an
attention gate. It ends at ReLU6, sigmoid, softmax, recurrent layers and whatever mixes channels
otherwise; there factors stay 1.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt

from m3net_tf.quantization.calibration import set_full_ranges
from m3net_tf.quantization.graph import Graph, Operator
from m3net_tf.quantization.observation import Float, Observation, observe
from m3net_tf.runtime.interpreter import Int8

_WEIGHTED = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")
_SAME_CHANNELS = ("AVERAGE_POOL_2D", "LEAKY_RELU", "MAX_POOL_2D", "RELU")
_REDUCTIONS = ("MEAN", "SUM", "REDUCE_MAX", "REDUCE_MIN")
_TERMS = ("ADD", "MAXIMUM", "MINIMUM", "SUB")
_REGROUPED = ("EXPAND_DIMS", "RESHAPE", "SQUEEZE")
_HOMOGENEOUS = ("NONE", "RELU")
_LARGEST = 16.0  # a channel silent in calibration may speak later: do not blow it up beyond this


@dataclasses.dataclass(frozen=True)
class Equalized:
    """A network with equalised channels.

    Attributes:
        tflite: float graph with ranges; its outputs are those of before.
        layers: layers whose output was scaled.
    """

    tflite: bytes
    layers: tuple[str, ...]


class _Factors:
    """Which channels of which tensors must have one factor, and which must keep 1.

    A union-find over the channels (last axis) of all computed tensors.
    """

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._first: dict[int, int] = {}
        total = 0
        for operator in graph.operators:
            for tensor in (*operator.inputs, *operator.outputs):
                if tensor >= 0 and tensor not in self._first and graph.shape(tensor):
                    self._first[tensor] = total
                    total += graph.shape(tensor)[-1]
        self._parent = np.arange(total)
        self._fixed = np.zeros(total, bool)

    def channels(self, tensor: int) -> npt.NDArray[np.int64]:
        """Representatives of a tensor's channels."""
        first = self._first[tensor]
        return np.array([self._root(i) for i in range(first, self._end(tensor))], np.int64)

    def is_fixed(self, tensor: int) -> bool:
        """Whether all channels of a tensor keep 1."""
        return bool(self._fixed[self.channels(tensor)].all())

    def fix(self, *tensors: int) -> None:
        """Let tensors keep their values."""
        for tensor in tensors:
            if tensor in self._first:
                self._fixed[self.channels(tensor)] = True

    def tie(self, one: int, other: int, start: int = 0) -> None:
        """Give the channels of ``other`` the factors of those of ``one`` from ``start`` on."""
        for i, j in enumerate(range(self._first[other], self._end(other)), self._first[one]):
            a, b = self._root(i + start), self._root(j)
            self._parent[b] = a
            self._fixed[a] |= self._fixed[b]

    def free(self) -> npt.NDArray[np.bool_]:
        """For each representative whether it may be scaled."""
        return ~self._fixed

    def __len__(self) -> int:
        return len(self._parent)

    def _end(self, tensor: int) -> int:
        return self._first[tensor] + self._graph.shape(tensor)[-1]

    def _root(self, i: int) -> int:
        while self._parent[i] != i:
            self._parent[i] = self._parent[self._parent[i]]
            i = int(self._parent[i])
        return i


def equalize(tflite: bytes, calibration: Int8) -> Equalized:
    """Equalise the channels of all activations that allow it.

    Args:
        tflite: float graph of :func:`.ptq.calibrate`.
        calibration: int8 features, shape (clips, bins, frames, channels).
    """
    graph = Graph(tflite)
    factors = _find_factors(graph)
    scales = _choose(graph, factors, observe(tflite, calibration))
    layers = []
    for operator in graph.operators:
        if _weights(graph, operator) is not None:
            ends = operator.inputs[0], operator.outputs[0]
            into, out = (scales[factors.channels(tensor)] for tensor in ends)
            _rescale(graph, operator, into, out)
            if (out != 1).any():
                layers.append(graph.layer(operator))
    return Equalized(set_full_ranges(graph.pack(), calibration), tuple(layers))


def _weights(graph: Graph, operator: Operator) -> Float | None:
    """Weights of a layer that can be rescaled, channels in last; None for all others."""
    if operator.kind not in _WEIGHTED:
        return None
    weights = graph.constant(operator.inputs[1])
    shared = sum(operator.inputs[1] in user.inputs for user in graph.operators) > 1
    bias = operator.inputs[2] if len(operator.inputs) > 2 else -1
    if weights is None or not graph.is_float(operator.inputs[1]) or shared:
        return None
    if bias >= 0 and graph.constant(bias) is None:
        return None
    channels = graph.shape(operator.inputs[0])[-1]
    if operator.kind == "DEPTHWISE_CONV_2D":
        return weights if weights.shape[-1] % channels == 0 else None
    return weights if weights.shape[-1] == channels else None  # not so in a grouped convolution


def _find_factors(graph: Graph) -> _Factors:
    factors = _Factors(graph)
    factors.fix(*graph.inputs, *graph.outputs)
    products: list[Operator] = []
    for operator in graph.operators:
        source, target = operator.inputs[0] if operator.inputs else -1, operator.outputs[0]
        computed = [t for t in operator.inputs if t >= 0 and graph.constant(t) is None]
        alike = [t for t in computed if graph.shape(t)[-1:] == graph.shape(target)[-1:]]
        if _weights(graph, operator) is not None:
            if operator.activation not in _HOMOGENEOUS:
                factors.fix(target)
        elif operator.activation not in _HOMOGENEOUS:
            factors.fix(*operator.inputs, *operator.outputs)
        elif operator.kind == "MUL" and len(graph.shape(target)) > 0:
            products.append(operator)
        elif operator.kind == "CONCATENATION" and len(computed) == len(operator.inputs):
            _tie_concatenation(graph, factors, operator)
        elif (operator.kind in _TERMS and len(alike) == 2) or _keeps_channels(graph, operator):
            for tensor in alike if operator.kind in _TERMS else [source]:
                factors.tie(target, tensor)
        else:
            factors.fix(*operator.inputs, *operator.outputs)
    _tie_products(graph, factors, products)
    return factors


def _keeps_channels(graph: Graph, operator: Operator) -> bool:
    """Whether scaling a channel of the only input scales just that channel of the output."""
    if not operator.inputs:
        return False
    source, target = graph.shape(operator.inputs[0]), graph.shape(operator.outputs[0])
    if operator.kind in _SAME_CHANNELS:
        return True
    if operator.kind in _REGROUPED:
        return source[-1:] == target[-1:]
    settings = graph.constant(operator.inputs[1]) if len(operator.inputs) == 2 else None
    if settings is None:
        return False
    if operator.kind in (*_REDUCTIONS, "REVERSE_V2"):
        return (len(source) - 1) not in settings.ravel() % len(source)
    return operator.kind in ("MIRROR_PAD", "PAD") and not settings[-1].any()


def _tie_concatenation(graph: Graph, factors: _Factors, operator: Operator) -> None:
    target = operator.outputs[0]
    start, rank = 0, len(graph.shape(target))
    for tensor in operator.inputs:
        factors.tie(target, tensor, start)
        if operator.options.axis % rank == rank - 1:
            start += graph.shape(tensor)[-1]


def _tie_products(graph: Graph, factors: _Factors, products: list[Operator]) -> None:
    """One side of each product keeps 1, the other has the product's factors.

    Which one is settled by what else the sides go through; where nothing does, the smaller
    tensor keeps 1, since that is the gate.
    """

    def keeps(tensor: int) -> bool:
        return graph.constant(tensor) is not None or factors.is_fixed(tensor)

    while products:
        settled = next(
            (product for product in products if any(map(keeps, product.inputs))), products[0]
        )
        products.remove(settled)
        kept, free = sorted(settled.inputs, key=lambda t: (not keeps(t), np.prod(graph.shape(t))))
        factors.fix(kept)
        target = settled.outputs[0]
        if graph.constant(free) is None and graph.shape(free)[-1:] == graph.shape(target)[-1:]:
            factors.tie(target, free)
        else:
            factors.fix(free, target)


def _choose(graph: Graph, factors: _Factors, seen: dict[int, Observation]) -> Float:
    """Factors of all channels, one where they are fixed."""
    activation = np.zeros((2, len(factors)))  # sum of logarithms, and their number
    weight = np.zeros((2, len(factors)))
    for operator in graph.operators:
        weights = _weights(graph, operator)
        target = operator.outputs[0]
        makes = weights is not None or operator.kind in (*_TERMS, "MUL")
        if makes and target in seen:
            _collect(activation, factors.channels(target), seen[target].channel_peak)
        if weights is not None and operator.kind != "DEPTHWISE_CONV_2D":
            peak = np.abs(weights).reshape(-1, weights.shape[-1]).max(0)
            _collect(weight, factors.channels(operator.inputs[0]), peak)
    log = activation[0] / np.maximum(activation[1], 1)
    balanced = (log - weight[0] / np.maximum(weight[1], 1)) / 2
    log = np.where(weight[1] > 0, balanced, log)
    log = np.where(activation[1] > 0, np.clip(log, -np.log(_LARGEST), np.log(_LARGEST)), 0.0)
    return np.where(factors.free(), np.exp(log), 1.0)


def _collect(sums: Float, channels: npt.NDArray[np.int64], peak: npt.NDArray[np.floating]) -> None:
    """Add how each channel's peak compares with the tensor's."""
    largest = float(peak.max())
    if largest > 0:
        np.add.at(sums[0], channels, np.log(np.maximum(peak / largest, 1 / _LARGEST)))
        np.add.at(sums[1], channels, 1)


def _rescale(graph: Graph, operator: Operator, into: Float, out: Float) -> None:
    """Read channels that were divided by ``into``, and divide those made by ``out``."""
    weights = graph.constant(operator.inputs[1])
    assert weights is not None
    if operator.kind == "DEPTHWISE_CONV_2D":  # (1, height, width, out)
        scaled = weights * np.repeat(into, weights.shape[-1] // len(into)) / out
    else:  # (out, …, in)
        scaled = weights * into / out.reshape(-1, *(1,) * (weights.ndim - 1))
    graph.set_constant(operator.inputs[1], scaled)
    if len(operator.inputs) > 2 and operator.inputs[2] >= 0:
        bias = graph.constant(operator.inputs[2])
        assert bias is not None
        graph.set_constant(operator.inputs[2], bias / out)
