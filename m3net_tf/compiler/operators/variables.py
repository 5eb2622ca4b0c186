# SPDX-License-Identifier: Apache-2.0
"""Variables: memory that outlasts a run."""

import itertools

import numpy as np

from m3net_tf.compiler.calls import Argument, View, packed
from m3net_tf.compiler.lowering import Lowering
from m3net_tf.tflite.graph import Operation, Tensor


def read(lowering: Lowering, op: Operation) -> None:
    """READ_VARIABLE: a copy, as the variable may change before the last reader."""
    lowering.copy(op, state_view(lowering, op.input(0)), lowering.write(op.output))


def assign(lowering: Lowering, op: Operation) -> None:
    """ASSIGN_VARIABLE."""
    lowering.copy(op, lowering.read(op.input(1)), state_view(lowering, op.input(0)))


def place_moving_lines(lowering: Lowering) -> None:
    """Give the tensors whose lines stay from run to run their places; see passes/delays.py."""
    for op in lowering.graph.operations:
        if op.kind == "MOVE_LINES":
            view = state_view(lowering, op.input(0))
            lowering.views[op.options["output"]] = view
            lowering.views[op.output] = view.part(op.options["axis"], 0, op.options["kept"])


def move_lines(lowering: Lowering, op: Operation) -> None:
    """MOVE_LINES: the last lines of a state move to its start."""
    view = state_view(lowering, op.input(0))
    axis, kept = op.options["axis"], op.options["kept"]
    line, lines = view.strides[axis], view.shape[axis]
    arguments: list[Argument] = [view, line * lines, line * (lines - kept)]
    note = f"{lines} lines, of which {lines - kept} leave"
    lowering.call(op, "drop_lines", arguments, [view], view, note=note)


def state_view(lowering: Lowering, state: Tensor) -> View:
    """Where a state is; its memory is made when it is first used."""
    if state not in lowering.views:
        assert state.start is not None, state.name
        content = state.start.astype(f"<i{state.item_bytes}").tobytes()
        start = itertools.groupby(np.frombuffer(content, np.int8).tolist())  # as m3net_fill takes
        runs = tuple((value, len(list(group))) for value, group in start)
        block = lowering.keep(f"{state.name} (state)", runs)
        lowering.views[state] = packed(block, state.shape, state.item_bytes)
    return lowering.views[state]
