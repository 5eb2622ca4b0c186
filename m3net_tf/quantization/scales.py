# SPDX-License-Identifier: Apache-2.0
"""Makes TFLite and TFLite Micro round products and sigmoids equally.

A quantised MUL multiplies by the product of both input scales divided by the output scale. TFLite
computes this factor in single precision, TFLite Micro in double precision. The two fixed-point
multipliers differ in their last bits, so about one product in some millions differs by 1. A
slightly different output scale makes both multipliers, and so all products, equal.

TFLite tabulates LOGISTIC and TANH in single precision, TFLite Micro computes them in fixed point.
Of 12 000 tables with random input scales, 8 had an entry that differed by 1: one whose exact value
lies within 0.000 013 of the middle between two integers. A slightly different input scale moves the
values away from there.
"""

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import scipy.special

from m3net_tf.tflite.graph import Graph, Tensor
from m3net_tf.tflite.read import read_graph
from m3net_tf.tflite.write import write_scales

_KEEP_SCALE = frozenset(
    """
    AVERAGE_POOL_2D CONCATENATION MAXIMUM MAX_POOL_2D MINIMUM PACK PAD PADV2 RESHAPE REVERSE_V2
    SLICE SPLIT SPLIT_V SQUEEZE STRIDED_SLICE TRANSPOSE UNPACK
    """.split()
)
_SIGMOIDS = ("LOGISTIC", "TANH")
_FIXED_SCALE = (*_SIGMOIDS, "SOFTMAX")
_CLOSE_TO_MIDDLE = 4e-5  # output steps; three times the largest distance of a differing entry
_CANDIDATES = 4096  # neighbours of a scale in single precision, a change of at most 0.05 %
_PASSES = 16


def align_scales(tflite: bytes) -> bytes:
    """Change scales by less than 0.05 % until both kernels round products and sigmoids equally.

    Scales that are fixed (by a sigmoid, or the network's input or output) do not change.
    """
    scales = _Scales(read_graph(tflite))
    for _ in range(_PASSES):  # a later scale may be a factor of an earlier product
        for inputs, output in scales.products():
            if not _multipliers_equal(*map(scales.get, (*inputs, output))):
                scales.align_product(inputs, output)
        for operator in scales.sigmoids():
            source = operator.inputs[0]
            if not scales.rounds_clearly(operator, scales.get(source)):
                scales.align(source)
    return write_scales(tflite, {tensor.index: each for tensor, each in scales.changed.items()})


class _Operator(NamedTuple):
    """An operator with its tensors that have a single scale."""

    kind: str
    inputs: list[Tensor]
    outputs: list[Tensor]


class _Scales:
    """The scales of a network's tensors.

    Attributes:
        changed: tensors with another scale than in the network.
    """

    def __init__(self, graph: Graph) -> None:
        self.changed: dict[Tensor, np.float32] = {}
        self._operators = [
            # Constant shapes and axes, which many operators share, have no scale.
            _Operator(op.kind, _scaled(op.inputs), _scaled(op.outputs))
            for op in graph.operations
        ]
        self._fixed = {*graph.inputs, *graph.outputs}
        for operator in self._operators:
            if operator.kind in _FIXED_SCALE:
                self._fixed |= set(operator.outputs)

    def products(self) -> list[tuple[list[Tensor], Tensor]]:
        """Inputs and output of each product of two tensors."""
        return [
            (operator.inputs, operator.outputs[0])
            for operator in self._operators
            if operator.kind == "MUL" and len(operator.inputs) == 2 and operator.outputs
        ]

    def sigmoids(self) -> list[_Operator]:
        """Logistic functions and hyperbolic tangents of int8 numbers."""
        return [
            operator
            for operator in self._operators
            if operator.kind in _SIGMOIDS and operator.inputs[0].dtype == "int8"
        ]

    def rounds_clearly(self, sigmoid: _Operator, scale: np.float32) -> bool:
        """Whether, with this input scale, no value lies close to the middle of two integers."""
        (source,), (output,) = sigmoid.inputs, sigmoid.outputs
        inputs = (np.arange(-128, 128) - source.zero_point) * float(scale)
        exact = scipy.special.expit(inputs) if sigmoid.kind == "LOGISTIC" else np.tanh(inputs)
        steps = exact / float(self.get(output))
        distance = np.abs(steps - np.floor(steps) - 0.5)
        return bool(distance.min() > _CLOSE_TO_MIDDLE)

    def get(self, tensor: Tensor) -> np.float32:
        """Scale of a tensor."""
        return self.changed.get(tensor, tensor.scale)

    def align_product(self, inputs: list[Tensor], output: Tensor) -> None:
        """Change the scale of a product, or of a factor, so that another pass may succeed."""
        if _tied(output, self._operators).isdisjoint(inputs) and self.align(output):
            return
        for tensor in inputs:
            tied = _tied(tensor, self._operators)
            if not tied & self._fixed:
                self._change(tied, next(_neighbours(self.get(tensor), 1)))
                return

    def align(self, tensor: Tensor) -> bool:
        """Find a scale for which the products of that scale and its sigmoids round equally.

        Returns False if there is none nearby, or if the scale is fixed.
        """
        tied = _tied(tensor, self._operators)
        if tied & self._fixed:
            return False
        factors = [[self.get(each) for each in pair] for pair, to in self.products() if to in tied]
        sigmoids = [each for each in self.sigmoids() if each.inputs[0] in tied]
        for candidate in _neighbours(self.get(tensor), _CANDIDATES):
            equal = (_multipliers_equal(first, second, candidate) for first, second in factors)
            if all(equal) and all(self.rounds_clearly(each, candidate) for each in sigmoids):
                self._change(tied, candidate)
                return True
        return False

    def _change(self, tensors: set[Tensor], scale: np.float32) -> None:
        self.changed.update(dict.fromkeys(tensors, scale))


def _scaled(tensors: Sequence[Tensor | None]) -> list[Tensor]:
    return [tensor for tensor in tensors if tensor is not None and len(tensor.scales) == 1]


def _tied(start: Tensor, operators: Sequence[_Operator]) -> set[Tensor]:
    """Tensors that must have the scale of ``start``."""
    tied: set[Tensor] = set()
    pending = {start}
    while pending:
        tied |= pending
        pending = {
            tensor
            for kind, inputs, outputs in operators
            if kind in _KEEP_SCALE and not tied.isdisjoint([*inputs, *outputs])
            for tensor in (*inputs, *outputs)
        } - tied
    return tied


def _multipliers_equal(first: np.float32, second: np.float32, output: np.float32) -> bool:
    """Whether single and double precision give the same fixed-point multiplier."""
    single = float(first * second / output)
    double = float(first) * float(second) / float(output)
    return _multiplier(single) == _multiplier(double)


def _multiplier(value: float) -> tuple[int, int]:
    fraction, exponent = math.frexp(value)
    return math.floor(fraction * 2**31 + 0.5), exponent


def _neighbours(value: np.float32, count: int) -> Iterator[np.float32]:
    """The next larger numbers in single precision."""
    for _ in range(count):
        value = np.nextafter(value, np.float32(np.inf))
        yield value
