# SPDX-License-Identifier: Apache-2.0
"""Comparisons with outputs of bool, choices between two tensors, and indices of extreme items."""

from m3net_tf.compiler.arithmetic import quantize_factor
from m3net_tf.compiler.calls import Argument, View, loops
from m3net_tf.compiler.lowering import Lowering, shapes_note
from m3net_tf.compiler.operators.common import require
from m3net_tf.compiler.operators.forms import axis_of, numbers
from m3net_tf.compiler.structures import Comparison, Search
from m3net_tf.tflite.graph import QUANTISE, Operation

#: For each operator, what it gives where the first input is less, equal and greater.
COMPARISONS = {
    "EQUAL": (False, True, False),
    "GREATER": (False, False, True),
    "GREATER_EQUAL": (False, True, True),
    "LESS": (True, False, False),
    "LESS_EQUAL": (True, True, False),
    "NOT_EQUAL": (True, False, True),
}


def compare(lowering: Lowering, op: Operation) -> None:
    """EQUAL, NOT_EQUAL, LESS, LESS_EQUAL, GREATER and GREATER_EQUAL, with broadcasting."""
    target = lowering.write(op.output)
    sources = [lowering.read(op.input(index)) for index in (0, 1)]
    scales = [float(op.input(index).scale) for index in (0, 1)]
    require(
        op, max(scales) < 1, "has an input scale of 1 or more, which TFLite Micro refuses", QUANTISE
    )
    for loop in loops(target, [view.broadcast(target.shape) for view in sources]):
        layer = Comparison(
            loop.layer,
            quantize_factor(scales[0]),
            quantize_factor(scales[1]),
            -op.input(0).zero_point,
            -op.input(1).zero_point,
            *COMPARISONS[op.kind],
        )
        arguments: list[Argument] = [layer, *loop.inputs, loop.output]
        note = shapes_note(sources, target)
        lowering.call(op, "compare", arguments, loop.inputs, loop.output, note=note)


def select(lowering: Lowering, op: Operation) -> None:
    """SELECT_V2: a copy of the third input, and over it the chosen items of the second."""
    target = lowering.write(op.output)
    flags, chosen, other = (
        lowering.read(op.input(index)).broadcast(op.output.shape) for index in range(3)
    )
    lowering.copy(op, other, target)
    if chosen.item > 1:  # one flag for all bytes of an item
        shape, strides = (*flags.shape, chosen.item), (*flags.strides, 0)
        flags = View(flags.block, flags.offset, shape, strides)
    for loop in loops(target.as_bytes(), [flags, chosen.as_bytes()]):
        arguments: list[Argument] = [loop.layer, *loop.inputs, loop.output]
        lowering.call(op, "copy_where", arguments, loop.inputs, loop.output)


def find(lowering: Lowering, op: Operation) -> None:
    """ARG_MAX and ARG_MIN."""
    view = lowering.read(op.input(0))
    target = lowering.write(op.output)
    axis = axis_of(op, numbers(op, 1)[0], len(view.shape))
    count, step = view.shape[axis], view.strides[axis]
    kept = [at for at in range(len(view.shape)) if at != axis]
    first = view.part(axis, 0, 1).transposed(kept)
    for loop in loops(target, [first]):
        layer = Search(loop.layer, count, step, op.kind == "ARG_MIN")
        lowering.call(op, "find", [layer, *loop.inputs, loop.output], [view], loop.output)
