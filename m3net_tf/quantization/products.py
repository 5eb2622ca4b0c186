# SPDX-License-Identifier: Apache-2.0
"""Makes TFLite and TFLite Micro round products equally.

A quantised MUL multiplies by the product of both input scales divided by the output scale. TFLite
computes this factor in single precision, TFLite Micro in double precision. The two fixed-point
multipliers differ in their last bits, so about one product in some millions differs by 1. A
slightly different output scale makes both multipliers, and so all products, equal.
"""

import math
import struct
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from m3net_tf.quantization.graph import Graph

_KEEP_SCALE = frozenset(
    """
    AVERAGE_POOL_2D CONCATENATION MAXIMUM MAX_POOL_2D MINIMUM PACK PAD PADV2 RESHAPE REVERSE_V2
    SLICE SPLIT SPLIT_V SQUEEZE STRIDED_SLICE TRANSPOSE UNPACK
    """.split()
)
_FIXED_SCALE = ("LOGISTIC", "SOFTMAX", "TANH")
_CANDIDATES = 4096  # neighbours of a scale in single precision, a change of at most 0.05 %
_SCALE_FIELD = 8  # of QuantizationParameters, in a flatbuffer's table of offsets
_PASSES = 16


def align_products(tflite: bytes) -> bytes:
    """Change the scales of products by less than 0.05 % until both kernels use equal multipliers.

    Products whose scale is fixed (by a sigmoid, or the network's input or output) do not change.
    """
    scales = _Scales(tflite)
    for _ in range(_PASSES):  # a later scale may be a factor of an earlier product
        for inputs, output in scales.products():
            if not _multipliers_equal(*map(scales.get, (*inputs, output))):
                scales.align(inputs, output)
    return bytes(scales.tflite)


class _Operator(NamedTuple):
    """An operator with its tensors that have a single scale."""

    kind: str
    inputs: list[int]
    outputs: list[int]


class _Scales:
    """The scales of a network's tensors, changed in place."""

    def __init__(self, tflite: bytes) -> None:
        self.tflite = bytearray(tflite)
        tensors = schema.Model.GetRootAsModel(self.tflite, 0).Subgraphs(0)
        self._offsets = {}  # offset of each tensor's scale in the file
        for index in range(tensors.TensorsLength()):
            quantization = tensors.Tensors(index).Quantization()
            if quantization is not None and quantization.ScaleLength() == 1:
                table = quantization._tab
                self._offsets[index] = table.Vector(table.Offset(_SCALE_FIELD))
        graph = Graph(tflite)
        self._operators = [
            # Constant shapes and axes, which many operators share, have no scale.
            _Operator(each.kind, self._scaled(each.inputs), self._scaled(each.outputs))
            for each in graph.operators
        ]
        self._fixed = {*graph.inputs, *graph.outputs}
        for operator in self._operators:
            if operator.kind in _FIXED_SCALE:
                self._fixed |= set(operator.outputs)

    def _scaled(self, tensors: Sequence[int]) -> list[int]:
        return [tensor for tensor in tensors if tensor in self._offsets]

    def products(self) -> list[tuple[list[int], int]]:
        """Inputs and output of each product of two tensors."""
        return [
            (operator.inputs, operator.outputs[0])
            for operator in self._operators
            if operator.kind == "MUL" and len(operator.inputs) == 2 and operator.outputs
        ]

    def get(self, tensor: int) -> np.float32:
        """Scale of a tensor."""
        return np.float32(struct.unpack_from("<f", self.tflite, self._offsets[tensor])[0])

    def align(self, inputs: list[int], output: int) -> None:
        """Change the scale of a product, or of a factor, so that another pass may succeed."""
        tied = _tied(output, self._operators)
        if not tied & self._fixed and not tied & set(inputs):
            factors = [[self.get(i) for i in pair] for pair, to in self.products() if to in tied]
            fitting = (
                candidate
                for candidate in _neighbours(self.get(output), _CANDIDATES)
                if all(_multipliers_equal(first, second, candidate) for first, second in factors)
            )
            if candidate := next(fitting, None):
                self._change(tied, candidate)
                return
        for index in inputs:
            tied = _tied(index, self._operators)
            if not tied & self._fixed:
                self._change(tied, next(_neighbours(self.get(index), 1)))
                return

    def _change(self, tensors: set[int], scale: np.float32) -> None:
        for index in tensors:
            struct.pack_into("<f", self.tflite, self._offsets[index], scale)


def _tied(start: int, operators: Sequence[_Operator]) -> set[int]:
    """Tensors that must have the scale of ``start``."""
    tied, pending = set(), {start}
    while pending:
        tied |= pending
        pending = {
            index
            for kind, inputs, outputs in operators
            if kind in _KEEP_SCALE and not tied.isdisjoint([*inputs, *outputs])
            for index in (*inputs, *outputs)
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
