# SPDX-License-Identifier: Apache-2.0
"""Variables of a file: handles become state tensors, the second subgraph their initial values.

A streaming network of the converter names its variables (VAR_HANDLE), reads and assigns them in
each run, and assigns their initial values in a subgraph that CALL_ONCE runs before the first one.
"""

import dataclasses

import numpy as np

from m3net_tf.system.errors import ModelError
from m3net_tf.tflite.graph import Operation, Tensor

#: Operators that have no output in a file.
WITHOUT_OUTPUT = ("ASSIGN_VARIABLE", "CALL_ONCE")
_Key = tuple[bytes, bytes]


def bind_variables(operations: list[Operation], initial: list[Operation]) -> list[Operation]:
    """The operators of a network without handles; ``initial`` are of the subgraph that runs once.

    READ_VARIABLE and ASSIGN_VARIABLE read a state tensor instead; the output of ASSIGN_VARIABLE
    stands for its new content.

    Raises:
        ModelError: the subgraph does more than assign constants, or a variable has several types.
    """
    keys = _keys(operations) | _keys(initial)
    starts = _starts(initial, keys)
    states: dict[_Key, Tensor] = {}
    bound = []
    for op in operations:
        if op.kind in ("VAR_HANDLE", "CALL_ONCE"):
            continue
        if op.kind not in ("READ_VARIABLE", "ASSIGN_VARIABLE"):
            bound.append(op)
            continue
        content = op.output if op.kind == "READ_VARIABLE" else op.input(1)
        key = _key_of(op, keys)
        if key not in states:
            states[key] = _state(key, content, starts.get(key))
        state = states[key]
        if (state.shape, state.dtype) != (content.shape, content.dtype):
            raise op.error(f"has the variable {state.name!r} as another type than elsewhere")
        if op.kind == "READ_VARIABLE":
            bound.append(Operation(op.kind, [state], op.outputs, op.options))
        else:
            new = dataclasses.replace(state, name=f"{state.name} (new)", is_state=False)
            bound.append(Operation(op.kind, [state, content], [new], op.options))
    return bound


def _keys(operations: list[Operation]) -> dict[Tensor, _Key]:
    return {
        op.output: (op.options["container"] or b"", op.options["sharedName"] or b"")
        for op in operations
        if op.kind == "VAR_HANDLE"
    }


def _key_of(op: Operation, keys: dict[Tensor, _Key]) -> _Key:
    handle = op.input(0)
    if handle not in keys:
        raise op.error(f"reads {handle.name!r}, which no VAR_HANDLE names")
    return keys[handle]


def _starts(initial: list[Operation], keys: dict[Tensor, _Key]) -> dict[_Key, Tensor]:
    starts = {}
    for op in initial:
        if op.kind == "VAR_HANDLE":
            continue
        if op.kind != "ASSIGN_VARIABLE" or op.input(1).data is None:
            raise ModelError(
                f"the subgraph that runs once has the operator {op.kind}; the compiler takes "
                "constants that are assigned to variables: start them with constants"
            )
        starts[_key_of(op, keys)] = op.input(1)
    return starts


def _state(key: _Key, content: Tensor, start: Tensor | None) -> Tensor:
    name = key[1].decode(errors="replace")
    if start is not None and (start.shape, start.dtype) != (content.shape, content.dtype):
        raise ModelError(
            f"the variable {name!r} starts with values of another shape or type: convert it again"
        )
    values = np.full(content.shape, content.zero_point if len(content.zero_points) else 0)
    if start is not None and start.data is not None:
        values = start.data
    state = dataclasses.replace(content, name=name, data=None, is_state=True)
    state.start = np.asarray(values, np.dtype(content.dtype).newbyteorder("<"))
    return state
