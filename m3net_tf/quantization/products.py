# SPDX-License-Identifier: Apache-2.0
"""Products that TFLite and TFLite Micro round alike.

A quantised MUL multiplies by (scale of one input) x (scale of the other) / (scale of the output).
TFLite computes this number in single precision, TFLite Micro in double: the two fixed-point
multipliers differ in their last bits, and about one product in some millions comes out 1 apart.
Where the output's scale makes both the same, all products are the same.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from ai_edge_litert import schema_py_generated as schema

_OPERATOR = schema.BuiltinOperator
_KEEP_SCALE = {
    *(_OPERATOR.RESHAPE, _OPERATOR.SQUEEZE, _OPERATOR.TRANSPOSE, _OPERATOR.REVERSE_V2),
    *(_OPERATOR.SPLIT, _OPERATOR.SPLIT_V, _OPERATOR.UNPACK, _OPERATOR.PACK, _OPERATOR.SLICE),
    *(_OPERATOR.STRIDED_SLICE, _OPERATOR.CONCATENATION, _OPERATOR.PAD, _OPERATOR.PADV2),
    *(_OPERATOR.AVERAGE_POOL_2D, _OPERATOR.MAX_POOL_2D, _OPERATOR.MAXIMUM, _OPERATOR.MINIMUM),
}
_FIXED_SCALE = {_OPERATOR.LOGISTIC, _OPERATOR.TANH, _OPERATOR.SOFTMAX}
_CANDIDATES = 4096  # neighbours of a scale in single precision: a change of 0.05 % at most
_SCALE_FIELD = 8  # of QuantizationParameters, in a flatbuffer's table of offsets
_PASSES = 16


def align_products(tflite: bytes) -> bytes:
    """Move the scales of products by less than 0.05 % until both kernels multiply alike.

    Products whose scale is bound to another one (a sigmoid's, the network's input or output) stay
    as they are.

    Args:
        tflite: quantised network.

    Returns:
        The same network with such scales.
    """
    scales = _Scales(tflite)
    for _ in range(_PASSES):  # a later scale may be an earlier product's factor
        for inputs, output in scales.products():
            if not _alike(*map(scales.get, (*inputs, output))):
                scales.align(inputs, output)
    return bytes(scales.tflite)


class _Operator(NamedTuple):
    """An operator, with those of its tensors that have one scale."""

    kind: int
    inputs: list[int]
    outputs: list[int]


class _Scales:
    """The scales of a network's tensors, changed in place."""

    def __init__(self, tflite: bytes) -> None:
        self.tflite = bytearray(tflite)
        root = schema.Model.GetRootAsModel(self.tflite, 0)
        graph = root.Subgraphs(0)
        self._offsets = {}  # of each tensor's scale in the file
        for index in range(graph.TensorsLength()):
            quantization = graph.Tensors(index).Quantization()
            if quantization is not None and quantization.ScaleLength() == 1:
                table = quantization._tab
                self._offsets[index] = table.Vector(table.Offset(_SCALE_FIELD))
        self._operators = [
            self._operator(root, graph.Operators(index)) for index in range(graph.OperatorsLength())
        ]
        self._fixed = {graph.Inputs(i) for i in range(graph.InputsLength())}
        self._fixed |= {graph.Outputs(i) for i in range(graph.OutputsLength())}
        for operator in self._operators:
            if operator.kind in _FIXED_SCALE:
                self._fixed |= set(operator.outputs)

    def _operator(self, root: schema.Model, operator: schema.Operator) -> _Operator:
        code = root.OperatorCodes(operator.OpcodeIndex())
        inputs = [operator.Inputs(i) for i in range(operator.InputsLength())]
        outputs = [operator.Outputs(i) for i in range(operator.OutputsLength())]
        # Constants of shapes and axes, which many operators share, have no scale.
        scaled = ([i for i in tensors if i in self._offsets] for tensors in (inputs, outputs))
        return _Operator(max(code.BuiltinCode(), code.DeprecatedBuiltinCode()), *scaled)

    def products(self) -> list[tuple[list[int], int]]:
        """Inputs and output of each product of two tensors."""
        return [
            (operator.inputs, operator.outputs[0])
            for operator in self._operators
            if operator.kind == _OPERATOR.MUL and len(operator.inputs) == 2 and operator.outputs
        ]

    def get(self, tensor: int) -> np.float32:
        """Scale of a tensor."""
        return np.float32(struct.unpack_from("<f", self.tflite, self._offsets[tensor])[0])

    def align(self, inputs: list[int], output: int) -> None:
        """Move the scale of a product, or of a factor, which another pass may profit from."""
        joined = _joined(output, self._operators)
        if not joined & self._fixed and not joined & set(inputs):
            factors = [[self.get(i) for i in pair] for pair, to in self.products() if to in joined]
            fitting = (
                candidate
                for candidate in _neighbours(self.get(output), _CANDIDATES)
                if all(_alike(first, second, candidate) for first, second in factors)
            )
            if candidate := next(fitting, None):
                self._move(joined, candidate)
                return
        for index in inputs:
            joined = _joined(index, self._operators)
            if not joined & self._fixed:
                self._move(joined, next(_neighbours(self.get(index), 1)))
                return

    def _move(self, tensors: set[int], scale: np.float32) -> None:
        for index in tensors:
            struct.pack_into("<f", self.tflite, self._offsets[index], scale)


def _joined(start: int, operators: Sequence[_Operator]) -> set[int]:
    """Tensors that must have the scale of ``start``."""
    joined, waiting = set(), {start}
    while waiting:
        joined |= waiting
        waiting = {
            index
            for kind, inputs, outputs in operators
            if kind in _KEEP_SCALE and not joined.isdisjoint([*inputs, *outputs])
            for index in (*inputs, *outputs)
        } - joined
    return joined


def _alike(first: np.float32, second: np.float32, output: np.float32) -> bool:
    """Whether single and double precision give the same fixed-point multiplier."""
    single = float(first * second / output)
    double = float(first) * float(second) / float(output)
    return _multiplier(single) == _multiplier(double)


def _multiplier(value: float) -> tuple[int, int]:
    fraction, exponent = math.frexp(value)
    return math.floor(fraction * 2**31 + 0.5), exponent


def _neighbours(value: np.float32, count: int) -> Iterator[np.float32]:
    """The next larger numbers of single precision."""
    for _ in range(count):
        value = np.nextafter(value, np.float32(np.inf))
        yield value
