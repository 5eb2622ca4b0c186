# SPDX-License-Identifier: Apache-2.0
"""Matrix products of two computed tensors, and reductions."""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from m3net_tf.compiler.arithmetic import quantize_factor, wrap
from m3net_tf.compiler.calls import Argument, View, loops, packed_strides
from m3net_tf.compiler.lowering import Lowering, shapes_note
from m3net_tf.compiler.operators.common import LARGEST_LONG_SHIFT, is_wide, require
from m3net_tf.compiler.operators.forms import numbers
from m3net_tf.compiler.structures import (
    DIMENSIONS,
    Factor,
    Matmul,
    Normalization,
    Reduction,
)
from m3net_tf.tflite.graph import QUANTISE, REPLACE, Operation

_MOST_SQUARES = 1 << 15  # of int8 distances, whose sum has 31 bits


def batch_matmul(lowering: Lowering, op: Operation) -> None:
    """BATCH_MATMUL; leading dimensions broadcast."""
    first, second = _factors(lowering, op)
    target = lowering.write(op.output)
    leading = op.output.shape[:-2]
    scales = op.input(0).scale, op.input(1).scale
    factor = quantize_factor(float(np.float32(scales[0] * scales[1])) / float(op.output.scale))
    require(
        op,
        not is_wide(op) or factor.shift <= LARGEST_LONG_SHIFT,
        "has an output scale too small",
        QUANTISE,
    )
    shapes = [(*leading, *view.shape[-2:]) for view in (first, second)]
    views = [first.broadcast(shapes[0]), second.broadcast(shapes[1])]
    # The loop runs over the first items of the matrices.
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
    """Views of the two factors, transposed as the options say."""
    views = []
    for index, option in enumerate(("adjX", "adjY")):
        view = lowering.read(op.input(index))
        if op.options.get(option):
            view = view.transposed([*range(len(view.shape) - 2), -1, -2])
        views.append(view)
    return views[0], views[1]


def reduction(lowering: Lowering, op: Operation) -> None:
    """MEAN, SUM, REDUCE_MAX and REDUCE_MIN."""
    view = lowering.read(op.input(0))
    target = lowering.write(op.output)
    require(op, target.contiguous, "writes into a concatenation, which is not supported", REPLACE)
    kernel = "reduce_mean_16" if is_wide(op) else "reduce_mean"
    if op.kind in ("REDUCE_MAX", "REDUCE_MIN"):
        same = op.input(0).same_quantization(op.output)
        require(op, same, "has another scale at its output", QUANTISE)
        kernel = op.kind.lower()
    lowering.call(op, kernel, [reduction_layer(op, view, target), view, target], [view], target)


def reduction_layer(op: Operation, view: View, target: View) -> Reduction:
    """Constants of a reduction of a view of the input, which may have a part of its lines.

    Raises:
        ModelError: it keeps or reduces more than four dimensions.
    """
    dimensions = len(view.shape)
    axes = set(range(1, dimensions - 1))  # of an average of all pixels
    if op.kind != "AVERAGE_POOL_2D":
        axes = reduction_axes(op)
    kept = [axis for axis in range(dimensions) if axis not in axes]
    most = max(len(axes), len(kept))
    require(op, most <= DIMENSIONS, "keeps or reduces more than four dimensions", REPLACE)
    source = op.input(0)
    count = math.prod(source.shape[axis] for axis in axes)
    out_strides = packed_strides([view.shape[axis] for axis in kept], target.item)
    return Reduction(
        size=_four([view.shape[axis] for axis in kept], 1),
        output=_four(out_strides, 0),
        input=_four([view.strides[axis] for axis in kept], 0),
        reduced_size=_four([view.shape[axis] for axis in sorted(axes)], 1),
        reduced_input=_four([view.strides[axis] for axis in sorted(axes)], 0),
        factor=reduction_factor(op, count),
        sum_offset=int(wrap(-source.zero_point * count)),
        output_offset=op.output.zero_point,
    )


def normalize(lowering: Lowering, op: Operation) -> None:
    """L2_NORMALIZATION along the last dimension."""
    require(
        op, op.options.get("fusedActivationFunction", 0) == 0, "has a fused activation", REPLACE
    )
    view = lowering.packed_input(op, lowering.read(op.input(0)))
    target = lowering.write(op.output)
    require(op, target.contiguous, "writes into a concatenation, which is not supported", REPLACE)
    depth = view.shape[-1]
    require(op, depth <= _MOST_SQUARES, f"has vectors of more than {_MOST_SQUARES} items", REPLACE)
    layer = Normalization(op.output.size // depth, depth, -op.input(0).zero_point)
    lowering.call(op, "normalize", [layer, view, target], [view], target, slack={0: 0})


def _four(values: Sequence[int], filler: int) -> tuple[int, ...]:
    return (*[filler] * (DIMENSIONS - len(values)), *values)


def reduction_axes(op: Operation) -> set[int]:
    """The dimensions that a MEAN, SUM, REDUCE_MAX or REDUCE_MIN reduces, from 0."""
    dimensions = len(op.input(0).shape)
    return {axis % dimensions for axis in numbers(op, 1)}


def reduction_factor(op: Operation, count: int) -> Factor:
    """Factor from a sum to the output; for a mean it includes the division."""
    factor = quantize_factor(float(op.input(0).scale) / float(op.output.scale))
    if op.kind != "MEAN":
        return factor
    shift = min(count.bit_length() - 1, 32, 31 + factor.shift)
    return Factor((factor.multiplier << shift) // count, factor.shift - shift)
