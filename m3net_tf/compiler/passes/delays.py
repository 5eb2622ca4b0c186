# SPDX-License-Identifier: Apache-2.0
"""A variable that holds the last lines of a tensor is merged with this tensor.

A streaming layer reads its variable, concatenates new lines, and assigns the last lines back. Here
the concatenated tensor itself is the state: before each run its last lines move to its start, and
the new lines are written after them.
"""

import dataclasses
import math

import numpy as np

from m3net_tf.compiler.operators.forms import axis_of, strides_of
from m3net_tf.tflite.graph import Graph, Operation, Tensor

_SLICES = ("SLICE", "STRIDED_SLICE")


def keep_lines(graph: Graph) -> int:
    """Replace each variable that only such a layer uses."""
    count = 0
    for op in list(graph.operations):
        if op.kind == "CONCATENATION" and _replace(graph, op):
            count += 1
    return count


def _replace(graph: Graph, op: Operation) -> bool:
    producers, output = graph.producers(), op.output
    if len(op.inputs) != 2 or output.data is not None:
        return False
    axis = axis_of(op, int(op.options["axis"]), len(output.shape))
    old, new = op.input(0), op.input(1)
    taken = producers.get(old)
    if taken is not None and taken.kind in _SLICES and _is_tail(taken, axis):
        read = producers.get(taken.input(0))
    else:
        taken, read = None, taken
    if read is None or read.kind != "READ_VARIABLE" or math.prod(output.shape[:axis]) != 1:
        return False
    state = read.input(0)
    users = [other for other in graph.operations if state in other.inputs]
    assign = next((other for other in users if other.kind == "ASSIGN_VARIABLE"), None)
    if assign is None or set(users) != {read, assign} or users[0] is not read:
        return False
    tail = producers.get(assign.input(1)) if assign.input(1) is not output else None
    if tail is None and assign.input(1) is not output:
        return False
    if tail is not None:
        is_slice = tail.kind in _SLICES and tail.input(0) is output
        if not is_slice or not _is_tail(tail, axis):
            return False
    inner = [step for step in (read, taken) if step is not None]
    if new is old or any(len(graph.readers(step.output)) != 1 for step in inner):
        return False
    if not old.same_quantization(output) or old.shape[axis] > state.shape[axis]:
        return False
    _rewrite(graph, op, axis, state, [*inner, assign])
    if tail is not None and not graph.readers(tail.output) and tail.output not in graph.outputs:
        graph.operations.remove(tail)
    return True


def _is_tail(op: Operation, axis: int) -> bool:
    """Whether a slice takes the last lines of its input, and all of the other dimensions."""
    source, output = op.input(0), op.output
    lost = source.shape[axis] - output.shape[axis]
    if op.kind == "SLICE":
        start = int(op.constant(1).reshape(-1)[axis])
    elif len(output.shape) != len(source.shape) or op.options["shrinkAxisMask"]:
        return False
    else:
        ranges = strides_of(op)
        start = ranges[axis].start if axis < len(ranges) else 0
        if any(chosen.step != 1 for chosen in ranges):
            return False
    others = [i for i in range(len(source.shape)) if i != axis]
    return start == lost and all(source.shape[i] == output.shape[i] for i in others)


def _rewrite(graph: Graph, op: Operation, axis: int, state: Tensor, gone: list[Operation]) -> None:
    """Let the output of a concatenation be the state, whose lines move before anything else."""
    old, output = op.input(0), op.output
    assert state.start is not None
    first = state.shape[axis] - old.shape[axis]
    kept = np.take(state.start, range(first, state.shape[axis]), axis)
    front = np.repeat(kept.take([0], axis), output.shape[axis] - kept.shape[axis], axis)
    joint = dataclasses.replace(output, name=state.name, is_state=True)
    joint.start = np.concatenate([front, kept], axis)
    for step in gone:
        graph.operations.remove(step)
    options = {"axis": axis, "kept": old.shape[axis], "output": output}
    graph.operations.insert(0, Operation("MOVE_LINES", [joint], [old], options))
