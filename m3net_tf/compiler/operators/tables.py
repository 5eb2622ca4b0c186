# SPDX-License-Identifier: Apache-2.0
"""Unary int8 operators as tables of 256 outputs."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from m3net_tf.compiler import arithmetic
from m3net_tf.compiler.arithmetic import Integers, quantize_factor, scale
from m3net_tf.compiler.calls import Argument, LoopOverViews, loops
from m3net_tf.compiler.lowering import Lowering
from m3net_tf.compiler.operators import functions
from m3net_tf.compiler.operators.common import (
    INT8_MAX,
    INT8_MIN,
    activation_range,
    quantized,
    require,
)
from m3net_tf.compiler.operators.elementwise import binary_factors
from m3net_tf.compiler.operators.functions import (
    double_factor,
    leaky_factors,
    root_factor,
    single_factor,
    six,
)
from m3net_tf.compiler.structures import DIFFERENCE_BITS, SUM_BITS, Array, Factor, Loop
from m3net_tf.tflite.graph import QUANTISE, Operation

Table = npt.NDArray[np.int8]
Floats = npt.NDArray[np.float32]
_INPUTS = np.arange(INT8_MIN, INT8_MAX + 1, dtype=np.int64)
_INTEGER_BITS = 4  # of the inputs of logistic and tanh
_RSQRT_BITS = 20
_BYTE = 255
_FAR = 1 << 20  # steps, beyond any output


def table_of(op: Operation) -> Table | None:
    """Outputs of an operator for the inputs -128 to 127; None if it is not unary.

    Raises:
        ModelError: TFLite Micro would refuse the operator's numbers, or they leave the range of
            float32.
    """
    try:
        if op.kind in _UNARY:
            return _clamped(_UNARY[op.kind](op))
        if op.kind in ("ADD", "SUB", "MUL", "SQUARED_DIFFERENCE", "MINIMUM", "MAXIMUM"):
            return _of_binary(op)
    except ArithmeticError as error:
        raise op.error(f"has scales that do not fit ({error})", QUANTISE) from None
    return None


def lookup(lowering: Lowering, op: Operation) -> None:
    """An operator that is a table."""
    if max(op.input(0).item_bytes, op.output.item_bytes) > 1:
        functions.function(lowering, op)
        return
    table = op.options.get("table")
    if table is None:
        table = table_of(op)
    assert table is not None, op.kind
    source = op.input(op.options.get("variable", 0))
    view = lowering.read(source)
    target = lowering.write(op.output)
    array = Array("table", "int8_t", np.asarray(table, np.int64))
    for loop in loops(target, [view]):
        _look_up(lowering, op, loop, array)


def _look_up(lowering: Lowering, op: Operation, loop: LoopOverViews, table: Array) -> None:
    """The kernel's call; it can run backward if input and output have the same strides."""
    (source,), layer = loop.inputs, loop.layer
    arguments: list[Argument] = [layer, table, source, loop.output]
    call = lowering.call(op, "look_up", arguments, [source], loop.output)
    if layer.first != layer.output:
        return
    call.slack = {0: 0}
    steps = tuple(-step for step in layer.output)
    backward = Loop(layer.size, steps, steps)
    last = source.mirrored()
    goal = loop.output.mirrored()
    call.backward = call.reversed([backward, table, last, goal], last, goal)


def _clamped(values: Integers, minimum: int = INT8_MIN, maximum: int = INT8_MAX) -> Table:
    return np.clip(values, minimum, maximum).astype(np.int8)


def _centred(op: Operation) -> Integers:
    return _INPUTS - op.input(0).zero_point


def _saturating(
    op: Operation, function: Callable[[Integers, int], Integers], bits: int
) -> Integers:
    """Logistic and tanh, which saturate.

    The function's input has 4 integer bits; its output is rounded to ``bits`` fractional bits.
    """
    factor = quantize_factor(float(op.input(0).scale) * (1 << (31 - _INTEGER_BITS)))
    radius = int(15 * (1 << (31 - _INTEGER_BITS)) / 2**factor.shift)
    centred = _centred(op)
    inside = np.clip(centred, -radius + 1, radius - 1) if radius > 0 else centred * 0
    values = arithmetic.divide(function(scale(inside, factor), _INTEGER_BITS), 31 - bits)
    values = np.where(centred <= -radius, -(1 << 20), values)
    return np.where(centred >= radius, 1 << 20, values)


def _logistic(op: Operation) -> Integers:
    require(
        op, op.output.zero_point == INT8_MIN, "has an output zero point other than -128", QUANTISE
    )
    return _saturating(op, arithmetic.logistic, 8) + INT8_MIN


def _tanh(op: Operation) -> Integers:
    return _saturating(op, arithmetic.tanh, 7)


def _requantized(op: Operation) -> Integers:
    """Table of a requantisation; uint8 values are stored as the int8 with the same bits."""
    source = op.input(0)
    output = op.output
    values = _INPUTS & _BYTE if source.dtype == "uint8" else _INPUTS
    values = scale(values - source.zero_point, double_factor(op)) + output.zero_point
    if output.dtype != "uint8":
        return values
    unsigned = np.clip(values, 0, _BYTE)
    return np.where(unsigned > INT8_MAX, unsigned - (_BYTE + 1), unsigned)


def _relu(op: Operation) -> Integers:
    values = scale(_centred(op), single_factor(op)) + op.output.zero_point
    return np.maximum(values, op.output.zero_point)


def _relu6(op: Operation) -> Integers:
    return np.clip(_INPUTS, op.input(0).zero_point, six(op))


def _leaky_relu(op: Operation) -> Integers:
    identity, slope = leaky_factors(op)
    centred = _centred(op)
    negative = scale(centred, slope) * (-1 if op.options["alpha"] < 0 else 1)
    return np.where(centred >= 0, scale(centred, identity), negative) + op.output.zero_point


def _rsqrt(op: Operation) -> Integers:
    factor = root_factor(op)
    later = Factor(factor.multiplier, factor.shift - _RSQRT_BITS)
    values = []
    for value in _centred(op):
        # TFLite Micro refuses numbers below zero; here they give the same as zero.
        inverse = arithmetic.inverse_root(max(int(value), 1))
        shifted = Factor(inverse.multiplier, inverse.shift + _RSQRT_BITS)
        output = int(scale(scale(1, shifted), later)) + op.output.zero_point
        values.append(output if value > 0 else INT8_MAX)
    return np.array(values, np.int64)


def _absolute(op: Operation) -> Integers:
    centred = np.abs(_centred(op))
    source = op.input(0).scale
    to = op.output.scale
    if source == to:
        return centred + op.output.zero_point
    factor = quantize_factor(float(np.float32(source / to)))
    return scale(centred, factor) + op.output.zero_point


def _of_numbers(
    function: Callable[[Operation, Floats], Floats],
) -> Callable[[Operation], Integers]:
    """Outputs of a function in single precision, rounded halves away from zero."""

    def outputs(op: Operation) -> Integers:
        numbers = op.input(0).scale * _centred(op).astype(np.float32)
        steps = function(op, numbers) * (np.float32(1) / op.output.scale)
        rounded: Floats = np.copysign(np.floor(np.abs(steps) + np.float32(0.5)), steps)
        return np.asarray(np.clip(rounded, -_FAR, _FAR), np.int64) + op.output.zero_point

    return outputs


def _single(function: Callable[[npt.NDArray[np.float64]], Any], numbers: Floats) -> Floats:
    """A function in single precision, by way of double."""
    return np.asarray(function(numbers.astype(np.float64)), np.float32)


def _elu(_: Operation, numbers: Floats) -> Floats:
    exponentials = _single(np.exp, np.minimum(numbers, 0))
    return np.where(numbers < 0, exponentials - np.float32(1), numbers)


def _exp(_: Operation, numbers: Floats) -> Floats:
    return _single(np.exp, numbers)


def _log(_: Operation, numbers: Floats) -> Floats:
    """The smallest output for numbers that have no logarithm."""
    is_positive = numbers > 0
    logarithms = _single(np.log, np.where(is_positive, numbers, 1))
    return np.where(is_positive, logarithms, np.float32(-np.inf))


def _gelu(op: Operation, numbers: Floats) -> Floats:
    if op.options["approximate"]:
        cubes = np.float32(0.044715) * numbers * numbers * numbers
        gate = _single(np.tanh, np.float32(math.sqrt(2 / math.pi)) * (numbers + cubes))
    else:
        gate = _single(lambda x: [math.erf(value * math.sqrt(0.5)) for value in x], numbers)
    return np.float32(0.5) * numbers * (np.float32(1) + gate)


def _clipped(low: float) -> Callable[[Operation], Integers]:
    """ReLU from a number to 1."""

    def outputs(op: Operation) -> Integers:
        values = scale(_centred(op), single_factor(op)) + op.output.zero_point
        return np.clip(values, quantized(low, op.output), quantized(1, op.output))

    return outputs


def _hard_swish(op: Operation) -> Integers:
    """Outputs of x * relu6(x + 3) / 6 in the 16-bit arithmetic of TFLite Micro."""
    hires = np.float32(op.input(0).scale) * np.float32(1 / 128)
    to_output = quantize_factor(float(np.float32(hires / op.output.scale)))
    to_gate = quantize_factor(float(np.float32(hires / np.float32(3 / 32768))))
    require(op, to_output.shift <= 0, "has an output scale too small for its input", QUANTISE)
    inputs = _centred(op) << 7
    gate = _clip_16(inputs << max(to_gate.shift - 1, 0))
    gate = arithmetic.short_product(gate, arithmetic.short_multiplier(to_gate))
    gate = _clip_16(gate << 1) if to_gate.shift > 0 else arithmetic.divide(gate, -to_gate.shift)
    gate = (gate + (1 << 15)) >> 1
    values = arithmetic.short_product(inputs, arithmetic.short_multiplier(to_output))
    products = gate * values
    halves = np.sign(products) * (np.abs(products) >> 15)  # rounded towards zero
    return arithmetic.divide(halves, -to_output.shift) + op.output.zero_point


def _clip_16(values: Integers) -> Integers:
    return np.clip(values, -(1 << 15), (1 << 15) - 1)


_UNARY: dict[str, Callable[[Operation], Integers]] = {
    "ABS": _absolute,
    "ELU": _of_numbers(_elu),
    "EXP": _of_numbers(_exp),
    "GELU": _of_numbers(_gelu),
    "HARD_SWISH": _hard_swish,
    "LEAKY_RELU": _leaky_relu,
    "LOG": _of_numbers(_log),
    "LOGISTIC": _logistic,
    "QUANTIZE": _requantized,
    "RELU": _relu,
    "RELU6": _relu6,
    "RELU_0_TO_1": _clipped(0),
    "RELU_N1_TO_1": _clipped(-1),
    "RSQRT": _rsqrt,
    "TANH": _tanh,
}


def _of_binary(op: Operation) -> Table | None:
    """Table of a binary operator on one tensor twice, or on a tensor and a scalar constant."""
    first, second = op.input(0), op.input(1)
    if first is second:
        return combine(op, _INPUTS, _INPUTS)
    if second.data is not None and second.size == 1 and first.data is None:
        return combine(op, _INPUTS, np.asarray(second.data, np.int64).reshape(()))
    if first.data is not None and first.size == 1 and second.data is None:
        return combine(op, np.asarray(first.data, np.int64).reshape(()), _INPUTS)
    return None


def combine(op: Operation, first: Integers, second: Integers) -> Table:
    """Outputs of a binary operator for int8 inputs of equal shape."""
    if op.kind in ("MINIMUM", "MAXIMUM"):
        choose = np.minimum if op.kind == "MINIMUM" else np.maximum
        return _clamped(choose(first, second))
    a = first - op.input(0).zero_point
    b = second - op.input(1).zero_point
    factors = binary_factors(op)
    minimum, maximum = INT8_MIN, INT8_MAX
    if op.kind == "MUL":
        value = a * b
    else:
        bits = (DIFFERENCE_BITS if op.kind == "SQUARED_DIFFERENCE" else SUM_BITS)["int8"]
        a, b = scale(a << bits, factors[0]), scale(b << bits, factors[1])
        value = a + b if op.kind == "ADD" else a - b
        value = value * value if op.kind == "SQUARED_DIFFERENCE" else value
    if op.kind != "SQUARED_DIFFERENCE":
        minimum, maximum = activation_range(op, op.output)
    return _clamped(scale(value, factors[2]) + op.output.zero_point, minimum, maximum)
