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
    output = op.output
    if len(op.inputs) != 2 or output.data is not None:
        return False
    axis = axis_of(op, int(op.options["axis"]), len(output.shape))
    old = op.input(0)
    producers = graph.producers()
    inner = _reading(producers, old, axis)
    if not inner or math.prod(output.shape[:axis]) != 1:
        return False
    state = inner[0].input(0)
    assign = _assignment(graph, inner[0])
    if assign is None:
        return False
    assigned = assign.input(1)
    tail = None if assigned is output else producers.get(assigned)
    if assigned is not output and (tail is None or not _is_tail(tail, axis, output)):
        return False
    if op.input(1) is old or any(len(graph.readers(step.output)) != 1 for step in inner):
        return False
    if not old.same_quantization(output) or old.shape[axis] > state.shape[axis]:
        return False
    _rewrite(graph, op, axis, state, [*inner, assign])
    if tail is not None and not graph.readers(tail.output) and tail.output not in graph.outputs:
        graph.operations.remove(tail)
    return True


def _reading(producers: dict[Tensor, Operation], old: Tensor, axis: int) -> list[Operation]:
    """What computes a tensor from a variable: its reading, perhaps a slice of its last lines."""
    last = producers.get(old)
    if last is None or last.kind == "READ_VARIABLE":
        return [last] if last is not None else []
    if last.kind not in _SLICES or not _is_tail(last, axis, last.input(0)):
        return []
    read = producers.get(last.input(0))
    return [read, last] if read is not None and read.kind == "READ_VARIABLE" else []


def _assignment(graph: Graph, read: Operation) -> Operation | None:
    """The assignment of a variable that nothing but this reading and it use."""
    users = [op for op in graph.operations if read.input(0) in op.inputs]
    if len(users) != 2 or users[0] is not read or users[1].kind != "ASSIGN_VARIABLE":
        return None
    return users[1]


def _is_tail(op: Operation, axis: int, source: Tensor) -> bool:
    """Whether this slices the last lines of a tensor, and all of its other dimensions."""
    if op.kind not in _SLICES or op.input(0) is not source:
        return False
    output = op.output
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
    old = op.input(0)
    output = op.output
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
