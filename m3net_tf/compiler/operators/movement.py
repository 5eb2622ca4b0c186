# SPDX-License-Identifier: Apache-2.0
"""Operators that only move items; they become views where possible."""

import itertools
import math
import struct
from typing import Any

import numpy.typing as npt

from m3net_tf.compiler.calls import Block, View, packed
from m3net_tf.compiler.lowering import Lowering
from m3net_tf.compiler.operators.common import require
from m3net_tf.compiler.operators.forms import axis_of, numbers, strides_of
from m3net_tf.tflite.graph import QUANTISE, REPLACE, Operation, Tensor

_MOST_BLOCKS = 1 << 10  # places in a block, each a copy


def reshape(lowering: Lowering, op: Operation) -> None:
    """RESHAPE, SQUEEZE and EXPAND_DIMS."""
    source = op.input(0)
    view = lowering.packed_input(op, lowering.read(source))
    lowering.move(op, view.reshaped(op.output.shape), op.output)


def transpose(lowering: Lowering, op: Operation) -> None:
    """TRANSPOSE."""
    view = lowering.read(op.input(0))
    lowering.move(op, view.transposed(numbers(op, 1)), op.output)


def reverse(lowering: Lowering, op: Operation) -> None:
    """REVERSE_V2."""
    view = lowering.read(op.input(0))
    for axis in {axis_of(op, axis, len(view.shape)) for axis in numbers(op, 1)}:
        view = view.part(axis, view.shape[axis] - 1, view.shape[axis], step=-1)
    lowering.move(op, view, op.output)


def take_slice(lowering: Lowering, op: Operation) -> None:
    """SLICE."""
    view = lowering.read(op.input(0))
    for axis, (start, size) in enumerate(zip(numbers(op, 1), op.output.shape, strict=True)):
        view = view.part(axis, start, size)
    lowering.move(op, view, op.output)


def strided_slice(lowering: Lowering, op: Operation) -> None:
    """STRIDED_SLICE without new dimensions."""
    view = lowering.read(op.input(0))
    for axis, chosen in enumerate(strides_of(op)):
        view = view.part(axis, chosen.start, len(chosen), step=chosen.step)
    mask = op.options["shrinkAxisMask"]  # of dimensions that have size 1 now
    kept = [axis for axis in range(len(view.shape)) if not mask >> axis & 1]
    lowering.move(op, view.transposed(kept), op.output)


def split(lowering: Lowering, op: Operation) -> None:
    """SPLIT and SPLIT_V."""
    source, axis_index = (0, 2) if op.kind == "SPLIT_V" else (1, 0)
    view = lowering.read(op.input(source))
    axis = axis_of(op, numbers(op, axis_index)[0], len(view.shape))
    start = 0
    for tensor in op.outputs:
        size = tensor.shape[axis]
        if size:
            lowering.move(op, view.part(axis, start, size), tensor)
        start += size


def concatenation(lowering: Lowering, op: Operation) -> None:
    """CONCATENATION; inputs that were written in place are not copied."""
    for tensor, place in concatenation_places(lowering, op):
        require(op, tensor.same_quantization(op.output), "has inputs with other scales", QUANTISE)
        view = lowering.read(tensor)
        if view == place:
            lowering.count("concatenated tensors written in place")
        else:
            lowering.copy(op, view, place)
    require(
        op, op.options.get("fusedActivationFunction", 0) == 0, "has a fused activation", REPLACE
    )


def concatenation_places(lowering: Lowering, op: Operation) -> list[tuple[Tensor, View]]:
    """Inputs of a concatenation and their parts of the output."""
    target = lowering.write(op.output)
    axis = axis_of(op, op.options["axis"], len(target.shape))
    start = 0
    places = []
    for index in range(len(op.inputs)):
        tensor = op.input(index)
        places.append((tensor, target.part(axis, start, tensor.shape[axis])))
        start += tensor.shape[axis]
    return places


def pad(lowering: Lowering, op: Operation) -> None:
    """PAD and PADV2: a filled output with a copy of the input in it."""
    value = op.output.zero_point
    if len(op.inputs) > 2:
        value = numbers(op, 2)[0]
    view = lowering.read(op.input(0))
    target = lowering.write(op.output)
    place = target
    for axis, (before, _) in enumerate(op.constant(1)):
        place = place.part(axis, int(before), view.shape[axis])
    if not target.contiguous:
        raise op.error("pads into a concatenation, which is not supported", REPLACE)
    if view.item > 1 and value != 0:  # a broadcast constant
        filler = packed(Block("padding", view.item, struct.pack("<h", value)), (1,), view.item)
        lowering.copy(op, filler.broadcast(target.shape), target)
    else:
        _fill(lowering, op, value, target)
    lowering.copy(op, view, place)


def _fill(lowering: Lowering, op: Operation, value: int, target: View) -> None:
    size = op.output.size * target.item
    lowering.call(op, "fill", [value, size, target], [], target, note="padding")


def unpack(lowering: Lowering, op: Operation) -> None:
    """UNPACK: a view for each item along a dimension."""
    view = lowering.read(op.input(0))
    axis = axis_of(op, int(op.options["axis"]), len(view.shape))
    kept = [at for at in range(len(view.shape)) if at != axis]
    for index, tensor in enumerate(op.outputs):
        lowering.move(op, view.part(axis, index, 1).transposed(kept), tensor)


def pack(lowering: Lowering, op: Operation) -> None:
    """PACK: a copy of each input."""
    target = lowering.write(op.output)
    axis = axis_of(op, int(op.options["axis"]), len(target.shape))
    kept = [at for at in range(len(target.shape)) if at != axis]
    for index in range(len(op.inputs)):
        tensor = op.input(index)
        place = target.part(axis, index, 1).transposed(kept)
        require(op, tensor.same_quantization(op.output), "has inputs with other scales", QUANTISE)
        lowering.copy(op, lowering.read(tensor), place)


def broadcast(lowering: Lowering, op: Operation) -> None:
    """BROADCAST_TO: a copy that reads repeated items again."""
    require(
        op, op.input(0).same_quantization(op.output), "has another scale at its output", QUANTISE
    )
    view = lowering.read(op.input(0))
    target = lowering.write(op.output)
    lowering.copy(op, view.broadcast(target.shape), target)


def exchange_blocks(lowering: Lowering, op: Operation) -> None:
    """SPACE_TO_DEPTH and DEPTH_TO_SPACE: the pixels of a block are the channels of one pixel."""
    require(
        op, op.input(0).same_quantization(op.output), "has another scale at its output", QUANTISE
    )
    views = [lowering.read(op.input(0)), lowering.write(op.output)]
    block = int(op.options["blockSize"])
    image = 0 if op.kind == "SPACE_TO_DEPTH" else 1
    channels = views[image].shape[3]
    blocks = views[image].divided(2, block).divided(1, block)
    views[image] = blocks.transposed((0, 1, 3, 2, 4, 5))
    views[1 - image] = views[1 - image].divided(3, channels).divided(3, block)
    lowering.copy(op, *views)


def space_to_batch(lowering: Lowering, op: Operation) -> None:
    """SPACE_TO_BATCH_ND: the output is filled with zeros, and gets the items of each place."""
    target = lowering.write(op.output)
    pads = op.constant(2).reshape(-1, 2)
    if pads.any():
        require(op, target.contiguous, "pads into a concatenation, which is not supported", REPLACE)
        _fill(lowering, op, op.output.zero_point, target)
    _interleave(lowering, op, lowering.read(op.input(0)), target, pads[:, 0], is_spread=True)


def batch_to_space(lowering: Lowering, op: Operation) -> None:
    """BATCH_TO_SPACE_ND: copies of the items of each batch."""
    view = lowering.read(op.input(0))
    target = lowering.write(op.output)
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
