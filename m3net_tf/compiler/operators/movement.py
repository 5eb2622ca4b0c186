# SPDX-License-Identifier: Apache-2.0
"""Operators that only move items: views where possible."""

from __future__ import annotations

import itertools
import math
import struct
from typing import Any

import numpy.typing as npt

from m3net_tf.compiler.calls import Argument, Block, Call, View, packed
from m3net_tf.compiler.graph import Operation, Tensor
from m3net_tf.compiler.lowering import Lowering
from m3net_tf.compiler.operators.common import require

_MOST_BLOCKS = 1 << 10  # places in a block, each a copy


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
    for axis, item in enumerate(sliced(op)):
        chosen = range(view.shape[axis])[item]
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


def sliced(op: Operation) -> tuple[slice, ...]:
    """What a STRIDED_SLICE takes of each dimension; one that vanishes keeps one item."""
    options, slices = op.options, []
    ends = zip(op.constant(1), op.constant(2), op.constant(3), strict=True)
    for axis, (start, stop, step) in enumerate(ends):
        first = None if options["beginMask"] >> axis & 1 else int(start)
        last = None if options["endMask"] >> axis & 1 else int(stop)
        require(op, int(step) != 0, "has a step of zero")
        if options["shrinkAxisMask"] >> axis & 1:
            at = int(start) % op.input(0).shape[axis]
            slices.append(slice(at, at + 1))
        else:
            slices.append(slice(first, last, int(step)))
    return tuple(slices)


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


def unpack(lowering: Lowering, op: Operation) -> None:
    """UNPACK: a view for each item along a dimension."""
    view = lowering.read(op.input(0))
    axis = _axis(op, int(op.options["axis"]), len(view.shape))
    require(op, len(op.outputs) == view.shape[axis], f"has {len(op.outputs)} outputs")
    kept = [at for at in range(len(view.shape)) if at != axis]
    for index, tensor in enumerate(op.outputs):
        lowering.move(op, view.part(axis, index, 1).transposed(kept), tensor)


def pack(lowering: Lowering, op: Operation) -> None:
    """PACK: a copy of each input."""
    target = lowering.write(op.output)
    axis = _axis(op, int(op.options["axis"]), len(target.shape))
    require(op, len(op.inputs) == target.shape[axis], f"has {len(op.inputs)} inputs")
    kept = [at for at in range(len(target.shape)) if at != axis]
    for index in range(len(op.inputs)):
        tensor, place = op.input(index), target.part(axis, index, 1).transposed(kept)
        require(op, tensor.same_quantization(op.output), "has inputs with other scales")
        require(op, tensor.shape == place.shape, f"has an input of shape {tensor.shape}")
        lowering.copy(op, lowering.read(tensor), place)


def space_to_batch(lowering: Lowering, op: Operation) -> None:
    """SPACE_TO_BATCH_ND: the output is filled with zeros, and gets the items of each place."""
    target = lowering.write(op.output)
    pads = op.constant(2).reshape(-1, 2)
    if pads.any():
        require(op, target.contiguous, "pads into a concatenation, which is not supported")
        arguments: list[Argument] = [op.output.zero_point, op.output.size, target]
        lowering.call(Call("fill", f"{op.name}: padding", arguments, [], target))
    _interleave(lowering, op, lowering.read(op.input(0)), target, pads[:, 0], is_spread=True)


def batch_to_space(lowering: Lowering, op: Operation) -> None:
    """BATCH_TO_SPACE_ND: copies of the items of each batch."""
    view, target = lowering.read(op.input(0)), lowering.write(op.output)
    crops = op.constant(2).reshape(-1, 2)[:, 0]
    _interleave(lowering, op, target, view, crops, is_spread=False)


def _interleave(
    lowering: Lowering,
    op: Operation,
    image: View,
    batches: View,
    start: npt.NDArray[Any],
    *,
    is_spread: bool,
) -> None:
    """Copy between the places of an image's blocks and the batches that hold them.

    Args:
        lowering: gets the calls.
        op: the operator.
        image: what is in blocks.
        batches: a group for each place of a block.
        start: for each blocked dimension, how many items lie before the image.
        is_spread: copy from the image to the batches, or else back.
    """
    block = [int(size) for size in op.constant(1).reshape(-1)]
    ends = op.constant(2).reshape(-1, 2)
    require(
        op,
        op.input(0).same_quantization(op.output)
        and min(block) > 0
        and math.prod(block) <= _MOST_BLOCKS
        and image.shape[0] * math.prod(block) == batches.shape[0]
        and len(block) == len(ends) < len(image.shape) == len(batches.shape)
        and bool((ends >= 0).all())
        and all(
            size + sum(map(int, pair)) == step * count
            for size, pair, step, count in zip(
                image.shape[1:], ends, block, batches.shape[1:], strict=False
            )
        )
        and image.shape[1 + len(block) :] == batches.shape[1 + len(block) :],
        "has tensors whose shapes or scales do not fit",
    )
    for number, places in enumerate(itertools.product(*map(range, block))):
        here = image
        there = batches.part(0, number * image.shape[0], image.shape[0])
        for axis, (place, step, before) in enumerate(zip(places, block, start, strict=True), 1):
            first = -(-max(int(before) - place, 0) // step)  # in the batch
            at = place + first * step - int(before)
            count = max(0, -(-(image.shape[axis] - at) // step))
            here = here.part(axis, at, count, step)
            there = there.part(axis, first, count)
        if 0 not in here.shape:
            lowering.copy(op, *((here, there) if is_spread else (there, here)))


def _axis(op: Operation, axis: int, dimensions: int) -> int:
    require(op, -dimensions <= axis < dimensions, f"has the axis {axis}")
    return axis % dimensions
