# SPDX-License-Identifier: Apache-2.0
"""Products of computed matrices, sums over dimensions, and softmax."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from m3net_tf.compiler import arithmetic
from m3net_tf.compiler.arithmetic import quantize_factor, scale, wrap
from m3net_tf.compiler.calls import Argument, View, loops, packed_strides
from m3net_tf.compiler.graph import Operation
from m3net_tf.compiler.lowering import Lowering, shapes_note
from m3net_tf.compiler.operators.common import INT8_MIN, LARGEST_LONG_SHIFT, is_wide, require
from m3net_tf.compiler.operators.forms import numbers
from m3net_tf.compiler.operators.softmax_16 import softmax_layer_16
from m3net_tf.compiler.structures import (
    DIMENSIONS,
    Array,
    Factor,
    Matmul,
    Reduction,
    Softmax,
    Structure,
)

_SOFTMAX_BITS = 5  # in front of the binary point of its inputs


def batch_matmul(lowering: Lowering, op: Operation) -> None:
    """BATCH_MATMUL; leading dimensions broadcast."""
    first, second = _factors(lowering, op)
    target = lowering.write(op.output)
    leading = op.output.shape[:-2]
    scales = op.input(0).scale, op.input(1).scale
    factor = quantize_factor(float(np.float32(scales[0] * scales[1])) / float(op.output.scale))
    require(
        op, not is_wide(op) or factor.shift <= LARGEST_LONG_SHIFT, "has an output scale too small"
    )
    shapes = [(*leading, *view.shape[-2:]) for view in (first, second)]
    views = [first.broadcast(shapes[0]), second.broadcast(shapes[1])]
    # The loop is over the matrices, by their first items.
    starts = [dataclasses.replace(view, shape=(*leading, 1, 1)) for view in (target, *views)]
    for loop in loops(starts[0], starts[1:]):
        layer = Matmul(
            matrices=loop.layer,
            rows=op.output.shape[-2],
            columns=op.output.shape[-1],
            depth=first.shape[-1],
            output_step=target.strides[-2:],
            first_step=first.strides[-2:],
            second_step=second.strides[-2:],
            factor=factor,
            first_offset=-op.input(0).zero_point,
            second_offset=-op.input(1).zero_point,
            output_offset=op.output.zero_point,
        )
        kernel = "multiply_matrices_16" if is_wide(op) else "multiply_matrices"
        arguments: list[Argument] = [layer, *loop.inputs, loop.output]
        note = shapes_note([first, second], target)
        lowering.call(op, kernel, arguments, views, target, note=note)


def _factors(lowering: Lowering, op: Operation) -> tuple[View, View]:
    """Views of the matrices that are multiplied, transposed where the options say so."""
    views = []
    for index, option in enumerate(("adjX", "adjY")):
        view = lowering.read(op.input(index))
        if op.options.get(option):
            view = view.transposed([*range(len(view.shape) - 2), -1, -2])
        views.append(view)
    return views[0], views[1]


def reduction(lowering: Lowering, op: Operation) -> None:
    """MEAN, SUM and REDUCE_MAX over up to four dimensions."""
    view, target = lowering.read(op.input(0)), lowering.write(op.output)
    dimensions = len(view.shape)
    axes = {axis % dimensions for axis in numbers(op, 1)}
    kept = [axis for axis in range(dimensions) if axis not in axes]
    require(op, dimensions <= DIMENSIONS, "has more than four dimensions")
    require(op, target.contiguous, "writes into a concatenation, which is not supported")
    count = math.prod(view.shape[axis] for axis in axes)
    out_strides = packed_strides([view.shape[axis] for axis in kept], target.item)
    source = op.input(0)
    kernel = "reduce_mean_16" if is_wide(op) else "reduce_mean"
    if op.kind == "REDUCE_MAX":
        require(op, source.same_quantization(op.output), "has another scale at its output")
        kernel = "reduce_max"
    layer = Reduction(
        size=_four([view.shape[axis] for axis in kept], 1),
        output=_four(out_strides, 0),
        input=_four([view.strides[axis] for axis in kept], 0),
        reduced_size=_four([view.shape[axis] for axis in sorted(axes)], 1),
        reduced_input=_four([view.strides[axis] for axis in sorted(axes)], 0),
        factor=_reduction_factor(op, count),
        sum_offset=int(wrap(-source.zero_point * count)),
        output_offset=op.output.zero_point,
    )
    lowering.call(op, kernel, [layer, view, target], [view], target)


def _four(values: Sequence[int], filler: int) -> tuple[int, ...]:
    return (*[filler] * (DIMENSIONS - len(values)), *values)


def _reduction_factor(op: Operation, count: int) -> Factor:
    """From a sum to the output; a mean's has the division in it."""
    factor = quantize_factor(float(op.input(0).scale) / float(op.output.scale))
    if op.kind != "MEAN":
        return factor
    shift = min(count.bit_length() - 1, 32, 31 + factor.shift)
    return Factor((factor.multiplier << shift) // count, factor.shift - shift)


def softmax(lowering: Lowering, op: Operation) -> None:
    """SOFTMAX over the last dimension."""
    source = op.input(0)
    view = lowering.packed_input(op, lowering.read(source))
    target = lowering.write(op.output)
    require(op, target.contiguous, "writes into a concatenation, which is not supported")
    depth = source.shape[-1] if source.shape else 1
    make = softmax_layer_16 if is_wide(op) else _softmax_layer
    layer = make(op, source.size // depth, depth)
    kernel = "softmax_16" if is_wide(op) else "softmax"
    lowering.call(op, kernel, [layer, view, target], [view], target, slack={0: 0})


def _softmax_layer(op: Operation, rows: int, depth: int) -> Structure:
    require(
        op,
        op.output.zero_point == INT8_MIN and op.output.scale == np.float32(1 / 256),
        "has an output scale other than 1/256 and -128",
    )
    table = _exponentials(op)
    return Softmax(Array("exponentials", "int32_t", table), rows, depth, len(table))


def _exponentials(op: Operation) -> arithmetic.Integers:
    """Exponentials of 0, -1, ... steps of the input, as far as they count."""
    beta = float(np.float32(op.options["beta"]))
    largest = float((1 << 31) - 1)
    real = min(beta * float(op.input(0).scale) * (1 << (31 - _SOFTMAX_BITS)), largest)
    require(op, real > 1, "has an input scale too small: quantise the network again")
    factor = quantize_factor(real)
    reach = 31 * (1 << (31 - _SOFTMAX_BITS)) // 2**factor.shift
    steps = -np.arange(min(reach, 255) + 1)
    return arithmetic.exponential(scale(steps, factor), _SOFTMAX_BITS)
