# SPDX-License-Identifier: Apache-2.0
"""Constant folding.

It includes the operators on shapes that a converter writes for an unknown batch size.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from m3net_tf.compiler.limits import MOST_CONSTANT_BYTES
from m3net_tf.compiler.operators.forms import strides_of
from m3net_tf.compiler.operators.tables import combine, table_of
from m3net_tf.compiler.passes.shapes import resolve_shapes
from m3net_tf.tflite.graph import Graph, Operation

_WHOLE_TYPES = ("int32", "int64")
_MOST_ITEMS = 1 << 12  # of the inputs of an operator on shapes
_LARGEST_FILL = 1 << 20
_BINARY = ("ADD", "SUB", "MUL", "SQUARED_DIFFERENCE", "MINIMUM", "MAXIMUM")

Values = npt.NDArray[Any]


def fold_constants(graph: Graph) -> int:
    """Compute the operators that depend on no input of the network."""
    count, left = 0, MOST_CONSTANT_BYTES
    kept = []
    for op in graph.operations:
        kept.append(op)
        resolve_shapes(op)
        if op.kind != "SHAPE" and any(
            tensor is not None and tensor.data is None for tensor in op.inputs
        ):
            continue
        if not _has_fitting_size(op):
            continue
        size = op.output.size * np.dtype(op.output.dtype).itemsize
        if op.kind in FOLDED and size > left:
            raise op.error(
                f"makes, with other operators, constants of more than {MOST_CONSTANT_BYTES} bytes",
                "make them inputs of the network",
            )
        try:
            values = _value(op)
        except (IndexError, TypeError, ValueError):
            continue  # axes or shapes that do not fit: the check of its tensors names them
        if values is None or values.size != op.output.size:
            continue
        left -= size
        op.output.data = values.astype(op.output.dtype).reshape(op.output.shape)
        kept.pop()
        count += 1
    graph.operations = kept
    return count


def _has_fitting_size(op: Operation) -> bool:
    """Whether an operator on constants makes as many items as its output has.

    Others are not computed: their outputs may be much larger than what the file says.
    """
    sizes = [tensor.shape for tensor in op.inputs if tensor is not None]
    if op.kind == "CONCATENATION":
        made = sum(map(math.prod, sizes))
    elif op.kind in _BINARY and len(sizes) == 2:
        made = math.prod(np.broadcast_shapes(*sizes))
    else:
        made = op.output.size
    return len(op.outputs) == 1 and made == op.output.size


def _value(op: Operation) -> Values | None:
    """Output of an operator on constants; None if it has no function below."""
    if op.kind in _MOVEMENTS:
        return _MOVEMENTS[op.kind](op)
    if op.kind in _ARITHMETIC:
        return _of_shapes(op)
    if op.kind in _WHOLE and op.output.dtype in _WHOLE_TYPES:
        return _of_shapes(op)
    if any(tensor is None or tensor.dtype != "int8" for tensor in [*op.inputs, op.output]):
        return None
    if op.kind in _BINARY:
        first, second = (np.asarray(op.constant(index), np.int64) for index in (0, 1))
        return combine(op, *np.broadcast_arrays(first, second))
    table = table_of(op)
    if table is None:
        return None
    return table[np.asarray(op.constant(0), np.int64) + 128]


def _reverse(op: Operation) -> Values:
    axes = tuple(int(axis) for axis in op.constant(1).reshape(-1))
    return np.flip(op.constant(0), axes)


def _concatenate(op: Operation) -> Values:
    parts = [op.constant(index) for index in range(len(op.inputs))]
    return np.concatenate(parts, axis=op.options["axis"])


def _of_shapes(op: Operation) -> Values | None:
    """Output of an operator on shapes; None if its inputs are too large for shapes."""
    inputs = [tensor for tensor in op.inputs if tensor is not None]
    if op.kind != "SHAPE" and sum(tensor.size for tensor in inputs) > _MOST_ITEMS:
        return None
    if op.kind in _WHOLE:
        return np.asarray(_WHOLE[op.kind](op.constant(0), op.constant(1)))
    return _ARITHMETIC[op.kind](op)


def _fill(op: Operation) -> Values | None:
    value = op.input(1)
    output = op.output
    if output.size > _LARGEST_FILL or (len(value.scales) and not value.same_quantization(output)):
        return None
    return np.full(output.shape, op.constant(1))


def _gather(op: Operation) -> Values | None:
    if op.options.get("batchDims"):
        return None
    return np.take(op.constant(0), op.constant(1), op.options["axis"])


def _pack(op: Operation) -> Values:
    return np.stack([op.constant(at) for at in range(len(op.inputs))], op.options["axis"])


def _product(op: Operation) -> Values | None:
    if op.output.dtype not in _WHOLE_TYPES:
        return None
    return np.asarray(np.prod(op.constant(0), axis=tuple(op.constant(1).reshape(-1))))


_MOVEMENTS: dict[str, Callable[[Operation], Values]] = {
    "CONCATENATION": _concatenate,
    "EXPAND_DIMS": lambda op: op.constant(0),
    "RESHAPE": lambda op: op.constant(0),
    "REVERSE_V2": _reverse,
    "SQUEEZE": lambda op: op.constant(0),
    "TRANSPOSE": lambda op: np.transpose(op.constant(0), op.constant(1)),
}

#: What converters compute shapes with, and what they fill with them.
_ARITHMETIC: dict[str, Callable[[Operation], Values | None]] = {
    "CAST": lambda op: op.constant(0),
    "FILL": _fill,
    "GATHER": _gather,
    "PACK": _pack,
    "REDUCE_PROD": _product,
    "SHAPE": lambda op: np.array(op.input(0).shape),
    "STRIDED_SLICE": lambda op: op.constant(0)[np.ix_(*map(list, strides_of(op)))],
}

#: Of whole numbers, as in shapes; others have scales.
_WHOLE: dict[str, Callable[[Values, Values], Values]] = {
    "ADD": np.add,
    "FLOOR_DIV": np.floor_divide,
    "MAXIMUM": np.maximum,
    "MINIMUM": np.minimum,
    "MUL": np.multiply,
    "SUB": np.subtract,
}

#: Operators that may vanish, whether they have a kernel or not.
FOLDED = frozenset(_MOVEMENTS | _ARITHMETIC | _WHOLE)
