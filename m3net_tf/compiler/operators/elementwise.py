# SPDX-License-Identifier: Apache-2.0
"""Operators of two inputs that compute each output from one item of each."""

from __future__ import annotations

import numpy as np

from m3net_tf.compiler.arithmetic import Factor, quantize_factor
from m3net_tf.compiler.calls import Call, Layer, loops
from m3net_tf.compiler.graph import Operation
from m3net_tf.compiler.lowering import Lowering, shapes_comment
from m3net_tf.compiler.operators.common import INT8_MAX, INT8_MIN, activation_range, require

_SUM_BITS = 20
_DIFFERENCE_BITS = 7
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
    first, second = op.input(0), op.input(1)
    try:
        shape = np.broadcast_shapes(first.shape, second.shape)
    except ValueError:
        raise op.error(f"has inputs of shapes {first.shape} and {second.shape}") from None
    require(op, shape == op.output.shape, f"has the output shape {op.output.shape}, not {shape}")
    target = lowering.write(op.output)
    sources = [lowering.read(tensor) for tensor in (first, second)]
    for loop in loops(target, [view.broadcast(shape) for view in sources]):
        strides = loop.strides
        lowering.call(
            Call(
                kernel=_KERNELS[op.kind],
                comment=shapes_comment(op, sources, target),
                arguments=[_layer(op, loop.members), *loop.inputs, loop.output],
                inputs=loop.inputs,
                output=loop.output,
                slack={index: 0 for index in (0, 1) if strides[1 + index] == strides[0]},
            )
        )


def _layer(op: Operation, loop: dict[str, list[int]]) -> Layer:
    first, second, output = op.input(0), op.input(1), op.output
    if op.kind in ("MINIMUM", "MAXIMUM"):
        return Layer("m3net_loop", loop)
    factors = binary_factors(op)
    minimum, maximum = INT8_MIN, INT8_MAX
    if op.kind != "SQUARED_DIFFERENCE":
        minimum, maximum = activation_range(op, output)
    return Layer(
        "m3net_binary",
        {
            "loop": loop,
            "first": factor_members(factors[0]),
            "second": factor_members(factors[1]),
            "output": factor_members(factors[2]),
            "first_offset": -first.zero_point,
            "second_offset": -second.zero_point,
            "output_offset": output.zero_point,
            "minimum": minimum,
            "maximum": maximum,
        },
    )


def factor_members(factor: Factor) -> dict[str, int]:
    """Members of ``m3net_factor``."""
    return {"multiplier": factor.multiplier, "shift": factor.shift}


def binary_factors(op: Operation) -> tuple[Factor, Factor, Factor]:
    """Factors of both inputs and of the output, computed as TFLite Micro does.

    Raises:
        ModelError: TFLite Micro would stop at them.
    """
    first, second, output = (t.scale for t in (op.input(0), op.input(1), op.output))
    if op.kind == "MUL":
        unused = Factor(0, 0)
        return unused, unused, quantize_factor(float(first) * float(second) / float(output))
    if op.kind == "SUB":  # in single precision, unlike ADD
        twice = np.float32(2) * max(first, second)
        reals = (
            float(np.float32(first / twice)),
            float(np.float32(second / twice)),
            float(np.float32(twice / np.float32(np.float32(1 << _SUM_BITS) * output))),
        )
    else:
        double = 2 * float(max(first, second))
        reals = (float(first) / double, float(second) / double, 0.0)
        if op.kind == "ADD":
            result = double / ((1 << _SUM_BITS) * float(output))
        else:
            steps = np.float32(1 << (2 * _DIFFERENCE_BITS))
            result = double * double / float(np.float32(steps * output))
        reals = (*reals[:2], result)
    factors = tuple(quantize_factor(real) for real in reals)
    if op.kind != "SQUARED_DIFFERENCE" and factors[2].shift > 0:
        raise op.error("has an output scale too small for its inputs: quantise the network again")
    return factors[0], factors[1], factors[2]
