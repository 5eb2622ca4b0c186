# SPDX-License-Identifier: Apache-2.0
"""Cross-layer equalisation: scales an activation's channels to equal ranges and adapts the weights.

An int8 tensor has one step for all its channels, so channels with small values are rounded
coarsely. Dividing a channel by s in the convolution that computes it, and multiplying the weights
that read it by s, does not change the float network (Nagel et al., "Data-Free Quantization Through
Weight Equalization and Bias Correction", 2019). The paper balances ranges of weights. Here each
output channel's weights already have their own scale, so only activations can gain:

- if only depthwise convolutions read a tensor, each channel's weights have their own scale, so
  channels are fully equalised without loss;
- if convolutions or dense layers read it, its channels share the scale of a weight, so channels are
  equalised half-way (square root), where the loss in weights equals the gain in activations.

Factors propagate through operators that keep channels: ReLU and leaky ReLU, poolings, mirrors,
padding, concatenation, sums (all terms get the same factor) and products with tensors that cannot
be scaled, such as an attention gate. They end at ReLU6, sigmoid, softmax, recurrent layers and
other operators that mix channels, where factors are 1.
"""

import numpy as np
import numpy.typing as npt

from m3net_tf.quantization.calibration import set_full_ranges
from m3net_tf.quantization.graph import WEIGHTED, Graph, Operator
from m3net_tf.quantization.observation import Float, Observation, observe
from m3net_tf.runtime.interpreter import Int8

_SAME_CHANNELS = ("AVERAGE_POOL_2D", "LEAKY_RELU", "MAX_POOL_2D", "RELU")
_REDUCTIONS = ("MEAN", "SUM", "REDUCE_MAX", "REDUCE_MIN")
_TERMS = ("ADD", "MAXIMUM", "MINIMUM", "SUB")
_REGROUPED = ("EXPAND_DIMS", "RESHAPE", "SQUEEZE")
_HOMOGENEOUS = ("NONE", "RELU")
_LARGEST = 16.0  # limits the factor of channels that are small only in calibration


class _Factors:
    """Groups of channels that must have the same factor, and channels whose factor must be 1.

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
        """Whether all channels of a tensor have factor 1."""
        return bool(self._fixed[self.channels(tensor)].all())

    def fix(self, *tensors: int) -> None:
        """Preserve the values of tensors: set their factors to 1."""
        for tensor in tensors:
            if tensor in self._first:
                self._fixed[self.channels(tensor)] = True

    def tie(self, target: int, source: int, start: int = 0) -> None:
        """Tie the factors of ``source``'s channels to ``target``'s channels from ``start`` on."""
        for i, j in enumerate(range(self._first[source], self._end(source)), self._first[target]):
            a, b = self._root(i + start), self._root(j)
            self._parent[b] = a
            self._fixed[a] |= self._fixed[b]

    def free(self) -> npt.NDArray[np.bool_]:
        """Whether each representative may be scaled."""
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


def equalize(tflite: bytes, calibration: Int8) -> tuple[bytes, tuple[str, ...]]:
    """Equalise the channels of all activations where this is possible.

    From a float graph of :func:`.ptq.calibrate` and int8 features (clips, bins, frames, channels):
    a float graph with ranges and the same outputs; and the layers whose output was scaled.
    """
    graph = Graph(tflite)
    factors = _find_factors(graph)
    scales = _choose(graph, factors, observe(tflite, calibration))
    layers = []
    for operator in graph.operators:
        if _weights(graph, operator) is not None:
            tensors = operator.inputs[0], operator.outputs[0]
            into, out = (scales[factors.channels(tensor)] for tensor in tensors)
            _rescale(graph, operator, into, out)
            if (out != 1).any():
                layers.append(graph.layer(operator))
    return set_full_ranges(graph.pack(), calibration), tuple(layers)


def _weights(graph: Graph, operator: Operator) -> Float | None:
    """Weights of a layer that can be rescaled, with input channels last; None otherwise."""
    if operator.kind not in WEIGHTED:
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
    return weights if weights.shape[-1] == channels else None  # false for a grouped convolution


def _find_factors(graph: Graph) -> _Factors:
    factors = _Factors(graph)
    factors.fix(*graph.inputs, *graph.outputs)
    products: list[Operator] = []
    for operator in graph.operators:
        source, target = operator.inputs[0] if operator.inputs else -1, operator.outputs[0]
        computed = [t for t in operator.inputs if t >= 0 and graph.constant(t) is None]
        matching = [t for t in computed if graph.shape(t)[-1:] == graph.shape(target)[-1:]]
        if _weights(graph, operator) is not None:
            if operator.activation not in _HOMOGENEOUS:
                factors.fix(target)
        elif operator.activation not in _HOMOGENEOUS:
            factors.fix(*operator.inputs, *operator.outputs)
        elif operator.kind == "MUL" and len(graph.shape(target)) > 0:
            products.append(operator)
        elif operator.kind == "CONCATENATION" and len(computed) == len(operator.inputs):
            _tie_concatenation(graph, factors, operator)
        elif (operator.kind in _TERMS and len(matching) == 2) or _keeps_channels(graph, operator):
            for tensor in matching if operator.kind in _TERMS else [source]:
                factors.tie(target, tensor)
        else:
            factors.fix(*operator.inputs, *operator.outputs)
    _tie_products(graph, factors, products)
    return factors


def _keeps_channels(graph: Graph, operator: Operator) -> bool:
    """Whether scaling a channel of the input scales only that channel of the output."""
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
    """Give one factor of each product the product's scales, and fix the other to 1.

    Other constraints determine which tensor is fixed. Without any, it is the smaller tensor, which
    is the gate.
    """

    def is_fixed(tensor: int) -> bool:
        return graph.constant(tensor) is not None or factors.is_fixed(tensor)

    while products:
        product = next(
            (candidate for candidate in products if any(map(is_fixed, candidate.inputs))),
            products[0],
        )
        products.remove(product)
        fixed, free = sorted(
            product.inputs, key=lambda t: (not is_fixed(t), np.prod(graph.shape(t)))
        )
        factors.fix(fixed)
        target = product.outputs[0]
        if graph.constant(free) is None and graph.shape(free)[-1:] == graph.shape(target)[-1:]:
            factors.tie(target, free)
        else:
            factors.fix(free, target)


def _choose(graph: Graph, factors: _Factors, observations: dict[int, Observation]) -> Float:
    activation = np.zeros((2, len(factors)))  # sum of logarithms and their number
    weight = np.zeros((2, len(factors)))
    for operator in graph.operators:
        weights = _weights(graph, operator)
        target = operator.outputs[0]
        computes = weights is not None or operator.kind in (*_TERMS, "MUL")
        if computes and target in observations:
            _collect(activation, factors.channels(target), observations[target].channel_peak)
        if weights is not None and operator.kind != "DEPTHWISE_CONV_2D":
            peak = np.abs(weights).reshape(-1, weights.shape[-1]).max(0)
            _collect(weight, factors.channels(operator.inputs[0]), peak)
    log = activation[0] / np.maximum(activation[1], 1)
    balanced = (log - weight[0] / np.maximum(weight[1], 1)) / 2
    log = np.where(weight[1] > 0, balanced, log)
    log = np.where(activation[1] > 0, np.clip(log, -np.log(_LARGEST), np.log(_LARGEST)), 0.0)
    return np.where(factors.free(), np.exp(log), 1.0)


def _collect(sums: Float, channels: npt.NDArray[np.int64], peak: npt.NDArray[np.floating]) -> None:
    """Add the logarithm of each channel's peak relative to the tensor's."""
    largest = float(peak.max())
    if largest > 0:
        np.add.at(sums[0], channels, np.log(np.maximum(peak / largest, 1 / _LARGEST)))
        np.add.at(sums[1], channels, 1)


def _rescale(graph: Graph, operator: Operator, into: Float, out: Float) -> None:
    """Adapt weights to inputs divided by ``into``, and divide output channels by ``out``."""
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
