# SPDX-License-Identifier: Apache-2.0
"""Operators of two inputs that compute each output from one item of each."""

from __future__ import annotations

from typing import Any

import numpy as np

from m3net_tf.compiler.arithmetic import Factor, quantize_factor
from m3net_tf.compiler.calls import Layer, loops
from m3net_tf.compiler.graph import Operation
from m3net_tf.compiler.lowering import Lowering, shapes_note
from m3net_tf.compiler.operators.common import activation_range, is_wide, item_range

#: Bits by which the kernels enlarge inputs of sums and of squared differences.
SUM_BITS = {"int8": 20, "int16": 15}
DIFFERENCE_BITS = {"int8": 7, "int16": 0}
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
        strides = loop.strides
        lowering.call(
            op,
            _KERNELS[op.kind] + ("_16" if is_wide(op) else ""),
            [_layer(op, loop.members), *loop.inputs, loop.output],
            loop.inputs,
            loop.output,
            slack={index: 0 for index in (0, 1) if strides[1 + index] == strides[0]},
            note=shapes_note(sources, target),
        )


def _layer(op: Operation, loop: dict[str, list[int]]) -> Layer:
    first, second, output = op.input(0), op.input(1), op.output
    if op.kind in ("MINIMUM", "MAXIMUM") and not is_wide(op):
        return Layer("m3net_loop", loop)
    minimum, maximum = item_range(output)
    members: dict[str, Any] = {"loop": loop}
    if op.kind not in ("MINIMUM", "MAXIMUM"):
        factors = map(factor_members, binary_factors(op))
        members |= dict(zip(("first", "second", "output"), factors, strict=True))
        if op.kind != "SQUARED_DIFFERENCE":
            minimum, maximum = activation_range(op, output)
    limits = {"minimum": minimum, "maximum": maximum}
    if is_wide(op):
        return Layer("m3net_binary_16", members | limits)
    offsets = {
        "first_offset": -first.zero_point,
        "second_offset": -second.zero_point,
        "output_offset": output.zero_point,
    }
    return Layer("m3net_binary", members | offsets | limits)


def factor_members(factor: Factor) -> dict[str, int]:
    """Members of ``m3net_factor``."""
    return {"multiplier": factor.multiplier, "shift": factor.shift}


def binary_factors(op: Operation) -> tuple[Factor, Factor, Factor]:
    """Factors of both inputs and of the output, computed as TFLite Micro does.

    Raises:
        ModelError: TFLite Micro would stop at them.
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
        raise op.error("has an output scale too small for its inputs: quantise the network again")
    return factors[0], factors[1], factors[2]
