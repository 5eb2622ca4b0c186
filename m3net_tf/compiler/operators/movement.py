# SPDX-License-Identifier: Apache-2.0
"""Operators that only move items: views where possible."""

from __future__ import annotations

import math
import struct

from m3net_tf.compiler.calls import Block, Call, View, packed
from m3net_tf.compiler.graph import Operation, Tensor
from m3net_tf.compiler.lowering import Lowering
from m3net_tf.compiler.operators.common import require


def reshape(lowering: Lowering, op: Operation) -> None:
    """RESHAPE, SQUEEZE and EXPAND_DIMS."""
    source = op.input(0)
    require(op, source.size == op.output.size, f"changes {source.size} items to {op.output.size}")
    view = lowering.packed_input(op, lowering.read(source))
    lowering.move(op, view.reshaped(op.output.shape), op.output)


def transpose(lowering: Lowering, op: Operation) -> None:
    """TRANSPOSE."""
    view = lowering.read(op.input(0))
    order = [int(axis) for axis in op.constant(1)]
    require(op, sorted(order) == list(range(len(view.shape))), f"has the permutation {order}")
    lowering.move(op, view.transposed(order), op.output)


def reverse(lowering: Lowering, op: Operation) -> None:
    """REVERSE_V2."""
    view = lowering.read(op.input(0))
    for axis in {_axis(op, int(axis), len(view.shape)) for axis in op.constant(1)}:
        view = view.part(axis, view.shape[axis] - 1, view.shape[axis], step=-1)
    lowering.move(op, view, op.output)


def take_slice(lowering: Lowering, op: Operation) -> None:
    """SLICE."""
    view = lowering.read(op.input(0))
    for axis, (start, size) in enumerate(zip(op.constant(1), op.constant(2), strict=True)):
        count = view.shape[axis] - int(start) if size == -1 else int(size)
        require(op, start >= 0 and start + count <= view.shape[axis], "reads outside its input")
        view = view.part(axis, int(start), count)
    require(op, view.shape == op.output.shape, f"has the output shape {op.output.shape}")
    lowering.move(op, view, op.output)


def strided_slice(lowering: Lowering, op: Operation) -> None:
    """STRIDED_SLICE without new dimensions."""
    options = op.options
    require(
        op,
        not options.get("ellipsisMask") and not options.get("newAxisMask"),
        "has an ellipsis or a new dimension, which is not supported",
    )
    view = lowering.read(op.input(0))
    ends = zip(op.constant(1), op.constant(2), op.constant(3), strict=True)
    for axis, (start, stop, step) in enumerate(ends):
        size = view.shape[axis]
        first = None if options["beginMask"] >> axis & 1 else int(start)
        last = None if options["endMask"] >> axis & 1 else int(stop)
        require(op, int(step) != 0, "has a step of zero")
        if options["shrinkAxisMask"] >> axis & 1:
            at = int(start) % size
            chosen = range(at, at + 1)
        else:
            chosen = range(size)[slice(first, last, int(step))]
        require(op, len(chosen) > 0, "has an empty output")
        view = view.part(axis, chosen.start, len(chosen), step=chosen.step)
    require(op, math.prod(view.shape) == op.output.size, f"has the shape {op.output.shape}")
    if view.shape != op.output.shape:  # dimensions that were shrunk have size 1
        kept = [
            axis for axis in range(len(view.shape)) if not options["shrinkAxisMask"] >> axis & 1
        ]
        dropped = view.transposed(kept)
        require(op, dropped.shape == op.output.shape, f"has the shape {op.output.shape}")
        view = dropped
    lowering.move(op, view, op.output)


def split(lowering: Lowering, op: Operation) -> None:
    """SPLIT and SPLIT_V."""
    source, axis_index = (0, 2) if op.kind == "SPLIT_V" else (1, 0)
    view = lowering.read(op.input(source))
    axis = _axis(op, int(op.constant(axis_index).reshape(-1)[0]), len(view.shape))
    start = 0
    for tensor in op.outputs:
        size = tensor.shape[axis]
        require(op, start + size <= view.shape[axis], "reads outside its input")
        lowering.move(op, view.part(axis, start, size), tensor)
        start += size


def concatenation(lowering: Lowering, op: Operation) -> None:
    """CONCATENATION; inputs that were written in place cost nothing."""
    for tensor, place in concatenation_places(lowering, op):
        require(op, tensor.same_quantization(op.output), "has inputs with other scales")
        view = lowering.read(tensor)
        if view == place:
            lowering.count("concatenated tensors written in place")
        else:
            lowering.copy(op, view, place)
    require(op, op.options.get("fusedActivationFunction", 0) == 0, "has a fused activation")


def concatenation_places(lowering: Lowering, op: Operation) -> list[tuple[Tensor, View]]:
    """Inputs of a concatenation and their parts of the output.

    Raises:
        ModelError: the shapes do not fit.
    """
    target = lowering.write(op.output)
    axis = _axis(op, int(op.options["axis"]), len(target.shape))
    start = 0
    places = []
    for index in range(len(op.inputs)):
        tensor = op.input(index)
        size = tensor.shape[axis] if axis < len(tensor.shape) else 0
        place = target.part(axis, start, size)
        require(op, place.shape == tensor.shape, f"has an input of shape {tensor.shape}")
        places.append((tensor, place))
        start += size
    require(op, start == target.shape[axis], f"has the output shape {op.output.shape}")
    return places


def pad(lowering: Lowering, op: Operation) -> None:
    """PAD and PADV2: a filled output with a copy of the input in it."""
    value = op.output.zero_point
    if len(op.inputs) > 2:
        value = int(op.constant(2).reshape(-1)[0])
    view, target = lowering.read(op.input(0)), lowering.write(op.output)
    amounts = op.constant(1)
    require(op, amounts.shape == (len(view.shape), 2), "has a padding of another shape")
    require(op, bool((amounts >= 0).all()), "has a negative padding")
    place = target
    for axis, (before, after) in enumerate(amounts):
        size = view.shape[axis]
        require(op, target.shape[axis] == before + size + after, "has another output shape")
        place = place.part(axis, int(before), size)
    if not target.contiguous:
        raise op.error("pads into a concatenation, which is not supported")
    if view.item > 1 and value != 0:  # a constant that is read again and again
        filler = packed(Block("padding", view.item, struct.pack("<h", value)), (1,), view.item)
        lowering.copy(op, filler.broadcast(target.shape), target)
    else:
        lowering.call(
            Call(
                kernel="fill",
                comment=f"{op.name}: padding",
                arguments=[value, op.output.size * view.item, target],
                inputs=[],
                output=target,
            )
        )
    lowering.copy(op, view, place)


def _axis(op: Operation, axis: int, dimensions: int) -> int:
    require(op, -dimensions <= axis < dimensions, f"has the axis {axis}")
    return axis % dimensions
