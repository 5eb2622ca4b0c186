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
from collections.abc import Iterator

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
    patched = bytearray(tflite)
    root = schema.Model.GetRootAsModel(patched, 0)
    graph = root.Subgraphs(0)
    codes = [root.OperatorCodes(index) for index in range(root.OperatorCodesLength())]
    kinds = [max(code.BuiltinCode(), code.DeprecatedBuiltinCode()) for code in codes]
    places = {}  # where each tensor's scale stands in the file
    for index in range(graph.TensorsLength()):
        quantization = graph.Tensors(index).Quantization()
        if quantization is not None and quantization.ScaleLength() == 1:
            table = quantization._tab
            places[index] = table.Vector(table.Offset(_SCALE_FIELD))
    operators = []  # kind, inputs, outputs
    for index in range(graph.OperatorsLength()):
        operator = graph.Operators(index)
        inputs = [operator.Inputs(i) for i in range(operator.InputsLength())]
        outputs = [operator.Outputs(i) for i in range(operator.OutputsLength())]
        # Constants of shapes and axes, which many operators share, have no scale.
        scaled = ([i for i in tensors if i in places] for tensors in (inputs, outputs))
        operators.append((kinds[operator.OpcodeIndex()], *scaled))
    ends = {graph.Inputs(i) for i in range(graph.InputsLength())}
    ends |= {graph.Outputs(i) for i in range(graph.OutputsLength())}
    fixed = ends | {i for kind, _, outs in operators if kind in _FIXED_SCALE for i in outs}

    def scale(index: int) -> np.float32:
        return np.float32(struct.unpack_from("<f", patched, places[index])[0])

    def move(joined: set[int], value: np.float32) -> None:
        for index in joined:
            struct.pack_into("<f", patched, places[index], value)

    products = [
        (inputs, outputs[0])
        for kind, inputs, outputs in operators
        if kind == _OPERATOR.MUL and len(inputs) == 2 and outputs
    ]
    for _ in range(_PASSES):  # a later scale may be an earlier product's factor
        for inputs, output in products:
            if _alike(scale(inputs[0]), scale(inputs[1]), scale(output)):
                continue
            joined = _joined(output, operators)
            if not joined & fixed and not joined & set(inputs):
                factors = [[scale(i) for i in pair] for pair, to in products if to in joined]
                found = (
                    candidate
                    for candidate in _neighbours(scale(output), _CANDIDATES)
                    if all(_alike(first, second, candidate) for first, second in factors)
                )
                if candidate := next(found, None):
                    move(joined, candidate)
                    continue
            for index in inputs:  # another factor, and the next pass tries again
                joined = _joined(index, operators)
                if not joined & fixed:
                    move(joined, next(_neighbours(scale(index), 1)))
                    break
    return bytes(patched)


def _joined(start: int, operators: list[tuple[int, list[int], list[int]]]) -> set[int]:
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
