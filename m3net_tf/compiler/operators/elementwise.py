# SPDX-License-Identifier: Apache-2.0
"""Binary elementwise operators."""

import numpy as np

from m3net_tf.compiler.arithmetic import quantize_factor, reciprocal
from m3net_tf.compiler.calls import Argument, loops
from m3net_tf.compiler.lowering import Lowering, shapes_note
from m3net_tf.compiler.operators.common import (
    INT8_MAX,
    INT8_MIN,
    activation_range,
    is_wide,
    item_range,
    require,
)
from m3net_tf.compiler.structures import (
    DIFFERENCE_BITS,
    SUM_BITS,
    Array,
    Binary,
    Binary16,
    Division,
    Factor,
    Loop,
    Structure,
)
from m3net_tf.tflite.graph import QUANTISE, Operation

_MOST_QUOTIENT_BITS = 22  # of a factor, so that every shift is to the right

_KERNELS = {
    "ADD": "add",
    "SUB": "subtract",
    "MUL": "multiply",
    "SQUARED_DIFFERENCE": "squared_difference",
    "MINIMUM": "minimum",
    "MAXIMUM": "maximum",
}


def binary(lowering: Lowering, op: Operation) -> None:
    """ADD, SUB, MUL, SQUARED_DIFFERENCE, MINIMUM and MAXIMUM, with broadcasting."""
    target = lowering.write(op.output)
    sources = [lowering.read(op.input(index)) for index in (0, 1)]
    for loop in loops(target, [view.broadcast(target.shape) for view in sources]):
        steps = enumerate((loop.layer.first, loop.layer.second))
        lowering.call(
            op,
            _KERNELS[op.kind] + ("_16" if is_wide(op) else ""),
            [_layer(op, loop.layer), *loop.inputs, loop.output],
            loop.inputs,
            loop.output,
            slack={index: 0 for index, step in steps if step == loop.layer.output},
            note=shapes_note(sources, target),
        )


def scale_negatives(lowering: Lowering, op: Operation) -> None:
    """PRELU, whose slopes are constants of int8."""
    source, slopes = op.input(0), op.input(1)
    view = lowering.read(source)
    target = lowering.write(op.output)
    ratio = float(source.scale) / float(op.output.scale)
    product = float(source.scale) * float(slopes.scale) / float(op.output.scale)
    sources = [view, lowering.read(slopes)]
    for loop in loops(target, [each.broadcast(target.shape) for each in sources]):
        layer = Binary(
            loop=loop.layer,
            first=quantize_factor(ratio),
            second=quantize_factor(product),
            output=None,
            first_offset=-source.zero_point,
            second_offset=-slopes.zero_point,
            output_offset=op.output.zero_point,
            minimum=None,
            maximum=None,
        )
        lowering.call(
            op,
            "scale_negatives_16" if is_wide(op) else "scale_negatives",
            [layer, *loop.inputs, loop.output],
            loop.inputs,
            loop.output,
            slack={0: 0} if loop.layer.first == loop.layer.output else {},
            note=shapes_note([view], target),
        )


def divide(lowering: Lowering, op: Operation) -> None:
    """DIV, with broadcasting."""
    target = lowering.write(op.output)
    sources = [lowering.read(op.input(index)) for index in (0, 1)]
    first, second, output = (t.scale for t in (op.input(0), op.input(1), op.output))
    factor = quantize_factor(float(np.float32(first / np.float32(second * output))))
    require(
        op,
        factor.shift <= _MOST_QUOTIENT_BITS,
        "has an output scale too small for its inputs",
        QUANTISE,
    )
    minimum, maximum = activation_range(op, op.output)
    zero = op.input(1).zero_point
    divisors = [max(abs(value - zero), 1) for value in range(INT8_MIN, INT8_MAX + 1)]
    table = np.array([reciprocal(divisor) for divisor in divisors], np.int64)
    for loop in loops(target, [view.broadcast(target.shape) for view in sources]):
        layer = Division(
            loop=loop.layer,
            reciprocals=Array("reciprocals", "int32_t", table),
            factor=factor,
            first_offset=-op.input(0).zero_point,
            second_offset=-zero,
            output_offset=op.output.zero_point,
            minimum=minimum,
            maximum=maximum,
        )
        arguments: list[Argument] = [layer, *loop.inputs, loop.output]
        note = shapes_note(sources, target)
        lowering.call(op, "divide_items", arguments, loop.inputs, loop.output, note=note)


def _layer(op: Operation, loop: Loop) -> Structure:
    chooses = op.kind in ("MINIMUM", "MAXIMUM")
    if chooses and not is_wide(op):
        return loop
    minimum, maximum = item_range(op.output)
    if not chooses and op.kind != "SQUARED_DIFFERENCE":
        minimum, maximum = activation_range(op, op.output)
    if chooses:
        return Binary16(loop, None, None, None, minimum, maximum)
    first, second, output = binary_factors(op)
    if is_wide(op):
        return Binary16(loop, first, second, output, minimum, maximum)
    return Binary(
        loop=loop,
        first=first,
        second=second,
        output=output,
        first_offset=-op.input(0).zero_point,
        second_offset=-op.input(1).zero_point,
        output_offset=op.output.zero_point,
        minimum=minimum,
        maximum=maximum,
    )


def binary_factors(op: Operation) -> tuple[Factor, Factor, Factor]:
    """Factors of both inputs and of the output, computed as TFLite Micro does.

    Raises:
        ModelError: TFLite Micro would refuse them.
    """
    first, second, output = (t.scale for t in (op.input(0), op.input(1), op.output))
    bits = SUM_BITS[op.output.dtype]
    if op.kind == "MUL":
        unused = Factor(0, 0)
        return unused, unused, quantize_factor(float(first) * float(second) / float(output))
    if op.kind == "SUB":  # in single precision, unlike ADD
        twice = np.float32(2) * max(first, second)
        reals = (
            float(np.float32(first / twice)),
            float(np.float32(second / twice)),
            float(np.float32(twice / np.float32(np.float32(1 << bits) * output))),
        )
    else:
        double = 2 * float(max(first, second))
        reals = (float(first) / double, float(second) / double, 0.0)
        if op.kind == "ADD":
            result = double / ((1 << bits) * float(output))
        else:
            steps = np.float32(1 << (2 * DIFFERENCE_BITS[op.output.dtype]))
            result = double * double / float(np.float32(steps * output))
        reals = (*reals[:2], result)
    factors = tuple(quantize_factor(real) for real in reals)
    if op.kind != "SQUARED_DIFFERENCE" and factors[2].shift > 0:
        raise op.error("has an output scale too small for its inputs", QUANTISE)
    return factors[0], factors[1], factors[2]
