# SPDX-License-Identifier: Apache-2.0
"""Operators that read constants alone are computed when the network is compiled."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from m3net_tf.compiler.graph import Graph, Operation
from m3net_tf.compiler.operators.tables import combine, table_of

Values = npt.NDArray[Any]


def fold_constants(graph: Graph) -> int:
    """Compute what depends on no input of the network."""
    count = 0
    for op in list(graph.operations):
        if any(tensor is not None and tensor.data is None for tensor in op.inputs):
            continue
        values = _value(op)
        if values is None or values.size != op.output.size or len(op.outputs) != 1:
            continue
        op.output.data = np.ascontiguousarray(values).reshape(op.output.shape)
        graph.operations.remove(op)
        count += 1
    return count


def _value(op: Operation) -> Values | None:
    """Output of an operator of constants; None if it is not one of those below."""
    if op.kind in _MOVEMENTS:
        return _MOVEMENTS[op.kind](op)
    if any(tensor is None or tensor.dtype != "int8" for tensor in [*op.inputs, op.output]):
        return None
    if op.kind in ("ADD", "SUB", "MUL", "SQUARED_DIFFERENCE", "MINIMUM", "MAXIMUM"):
        first, second = (np.asarray(op.constant(index), np.int64) for index in (0, 1))
        return combine(op, *np.broadcast_arrays(first, second))
    table = table_of(op)
    if table is None:
        return None
    return table[np.asarray(op.constant(0), np.int64) + 128]


def _reverse(op: Operation) -> Values:
    axes = tuple(int(axis) for axis in op.constant(1))
    return np.flip(op.constant(0), axes)


def _concatenate(op: Operation) -> Values:
    parts = [op.constant(index) for index in range(len(op.inputs))]
    return np.concatenate(parts, axis=op.options["axis"])


_MOVEMENTS: dict[str, Callable[[Operation], Values]] = {
    "CONCATENATION": _concatenate,
    "EXPAND_DIMS": lambda op: op.constant(0),
    "RESHAPE": lambda op: op.constant(0),
    "REVERSE_V2": _reverse,
    "SQUEEZE": lambda op: op.constant(0),
    "TRANSPOSE": lambda op: np.transpose(op.constant(0), op.constant(1)),
}
