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

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from m3net_tf.quantization.calibration import set_full_ranges
from m3net_tf.quantization.observation import Float, Observation, observe
from m3net_tf.runtime.interpreter import Int8
from m3net_tf.tflite.graph import WEIGHTED, Graph, Operation, Tensor
from m3net_tf.tflite.read import read_graph
from m3net_tf.tflite.write import write_graph

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
        self._first: dict[Tensor, int] = {}
        total = 0
        for tensor in graph.tensors():
            if tensor.shape:
                self._first[tensor] = total
                total += tensor.shape[-1]
        self._parent = np.arange(total)
        self._fixed = np.zeros(total, bool)

    def channels(self, tensor: Tensor) -> npt.NDArray[np.int64]:
        """Representatives of a tensor's channels."""
        return np.array([self._root(i) for i in self._places(tensor)], np.int64)

    def is_fixed(self, tensor: Tensor) -> bool:
        """Whether all channels of a tensor have factor 1."""
        return bool(self._fixed[self.channels(tensor)].all())

    def fix(self, *tensors: Tensor | None) -> None:
        """Preserve the values of tensors: set their factors to 1."""
        for tensor in tensors:
            if tensor in self._first:
                self._fixed[self.channels(tensor)] = True

    def tie(self, target: Tensor, source: Tensor, start: int = 0) -> None:
        """Tie the factors of ``source``'s channels to ``target``'s channels from ``start`` on."""
        for i, j in enumerate(self._places(source), self._first[target]):
            a = self._root(i + start)
            b = self._root(j)
            self._parent[b] = a
            self._fixed[a] |= self._fixed[b]

    def free(self) -> npt.NDArray[np.bool_]:
        """Whether each representative may be scaled."""
        return ~self._fixed

    def __len__(self) -> int:
        return len(self._parent)

    def _places(self, tensor: Tensor) -> range:
        first = self._first[tensor]
        return range(first, first + tensor.shape[-1])

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
    graph = read_graph(tflite)
    factors = _find_factors(graph)
    scales = _choose(graph, factors, observe(tflite, calibration))
    layers = []
    for op in graph.operations:
        if _weights(graph, op) is not None:
            into = scales[factors.channels(op.input(0))]
            out = scales[factors.channels(op.output)]
            _rescale(op, into, out)
            if (out != 1).any():
                layers.append(graph.keras_layer(op))
    return set_full_ranges(write_graph(tflite, graph), calibration), tuple(layers)


def _weights(graph: Graph, op: Operation) -> Float | None:
    """Weights of a layer that can be rescaled, with input channels last; None otherwise."""
    if op.kind not in WEIGHTED:
        return None
    tensor = op.input(1)
    weights = tensor.data
    if weights is None or tensor.dtype != "float32" or len(graph.readers(tensor)) > 1:
        return None
    bias = _bias(op)
    if bias is not None and bias.data is None:
        return None
    channels = op.input(0).shape[-1]
    if op.kind == "DEPTHWISE_CONV_2D":
        return weights if weights.shape[-1] % channels == 0 else None
    return weights if weights.shape[-1] == channels else None  # false for a grouped convolution


def _bias(op: Operation) -> Tensor | None:
    return op.inputs[2] if len(op.inputs) > 2 else None


def _find_factors(graph: Graph) -> _Factors:
    factors = _Factors(graph)
    factors.fix(*graph.inputs, *graph.outputs)
    products: list[Operation] = []
    for op in graph.operations:
        target = op.output
        computed = [tensor for tensor in op.inputs if tensor is not None and tensor.data is None]
        matching = [tensor for tensor in computed if tensor.shape[-1:] == target.shape[-1:]]
        if _weights(graph, op) is not None:
            if op.activation not in _HOMOGENEOUS:
                factors.fix(target)
        elif op.activation not in _HOMOGENEOUS:
            factors.fix(*op.inputs, *op.outputs)
        elif op.kind == "MUL" and target.shape:
            products.append(op)
        elif op.kind == "CONCATENATION" and len(computed) == len(op.inputs):
            _tie_concatenation(factors, op, computed)
        elif op.kind in _TERMS and len(matching) == 2:
            for tensor in matching:
                factors.tie(target, tensor)
        elif op.kind not in _TERMS and _keeps_channels(op):
            factors.tie(target, op.input(0))
        else:
            factors.fix(*op.inputs, *op.outputs)
    _tie_products(factors, products)
    return factors


def _keeps_channels(op: Operation) -> bool:
    """Whether scaling a channel of the input scales only that channel of the output."""
    if not op.inputs:
        return False
    source = op.input(0).shape
    if op.kind in _SAME_CHANNELS:
        return True
    if op.kind in _REGROUPED:
        return source[-1:] == op.output.shape[-1:]
    settings = op.input(1).data if len(op.inputs) == 2 else None
    if settings is None:
        return False
    if op.kind in (*_REDUCTIONS, "REVERSE_V2"):
        return (len(source) - 1) not in settings.ravel() % len(source)
    return op.kind in ("MIRROR_PAD", "PAD") and not settings[-1].any()


def _tie_concatenation(factors: _Factors, op: Operation, inputs: Sequence[Tensor]) -> None:
    start = 0
    rank = len(op.output.shape)
    for tensor in inputs:
        factors.tie(op.output, tensor, start)
        if op.options["axis"] % rank == rank - 1:
            start += tensor.shape[-1]


def _tie_products(factors: _Factors, products: list[Operation]) -> None:
    """Give one factor of each product the product's scales, and fix the other to 1.

    Other constraints determine which tensor is fixed. Without any, it is the smaller tensor, which
    is the gate.
    """

    def is_fixed(tensor: Tensor) -> bool:
        return tensor.data is not None or factors.is_fixed(tensor)

    def inputs(product: Operation) -> tuple[Tensor, Tensor]:
        return product.input(0), product.input(1)

    while products:
        product = next(
            (candidate for candidate in products if any(map(is_fixed, inputs(candidate)))),
            products[0],
        )
        products.remove(product)
        fixed, free = sorted(
            inputs(product), key=lambda tensor: (not is_fixed(tensor), tensor.size)
        )
        factors.fix(fixed)
        target = product.output
        if free.data is None and free.shape[-1:] == target.shape[-1:]:
            factors.tie(target, free)
        else:
            factors.fix(free, target)


def _choose(graph: Graph, factors: _Factors, observations: dict[int, Observation]) -> Float:
    activation = np.zeros((2, len(factors)))  # sum of logarithms and their number
    weight = np.zeros((2, len(factors)))
    for op in graph.operations:
        weights = _weights(graph, op)
        observed = observations.get(op.output.index)
        computes = weights is not None or op.kind in (*_TERMS, "MUL")
        if computes and observed is not None:
            _collect(activation, factors.channels(op.output), observed.channel_peak)
        if weights is not None and op.kind != "DEPTHWISE_CONV_2D":
            peak = np.abs(weights).reshape(-1, weights.shape[-1]).max(0)
            _collect(weight, factors.channels(op.input(0)), peak)
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


def _rescale(op: Operation, into: Float, out: Float) -> None:
    """Adapt weights to inputs divided by ``into``, and divide output channels by ``out``."""
    weights = op.constant(1)
    if op.kind == "DEPTHWISE_CONV_2D":  # (1, height, width, out)
        scaled = weights * np.repeat(into, weights.shape[-1] // len(into)) / out
    else:  # (out, …, in)
        scaled = weights * into / out.reshape(-1, *(1,) * (weights.ndim - 1))
    op.input(1).data = scaled
    if _bias(op) is not None:
        op.input(2).data = op.constant(2) / out
