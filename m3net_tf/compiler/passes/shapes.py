# SPDX-License-Identifier: Apache-2.0
"""Shapes that a converter with an unknown batch size left open.

A file has the size 1 wherever a size is unknown. This is right for the batch itself, but wrong for
sizes computed from it, as in a dense layer on a sequence or a dilated convolution.
"""

import math
from collections.abc import Callable

from m3net_tf.compiler.graph import Operation, Tensor
from m3net_tf.compiler.limits import LARGEST_TENSOR, MOST_DIMENSIONS
from m3net_tf.compiler.operators.forms import FORMS

Shape = tuple[int, ...]


def resolve_shapes(op: Operation) -> None:
    """Infer the shapes of outputs with unknown sizes from the inputs.

    Raises:
        ModelError: a shape is empty or too large.
    """
    if not any(tensor.unknown for tensor in op.outputs) or not op.inputs:
        return
    for tensor in op.outputs:
        if tensor.unknown:
            if op.kind in _BY_FORM:
                (shape,) = FORMS[op.kind].shapes(op)
            else:
                infer = _SHAPES.get(op.kind)
                shape = infer(op) if infer else _with_batch(op, tensor)
            least = 0 if 0 in tensor.shape else 1
            fits = len(shape) <= MOST_DIMENSIONS and math.prod(shape) <= LARGEST_TENSOR
            if min(shape, default=1) < least or not fits:
                raise op.error(f"has an output whose inputs give it the shape {shape}")
            tensor.shape = shape


def _with_batch(op: Operation, output: Tensor) -> Shape:
    """An output's shape with the first input's batch size, if no other size is unknown."""
    source = op.inputs[0]
    if source is None or len(source.shape) != len(output.shape) or output.unknown != (0,):
        return output.shape
    return (source.shape[0], *output.shape[1:])


def _reshape(op: Operation) -> Shape:
    if len(op.inputs) < 2 or op.input(1).data is None:
        return op.output.shape
    sizes = [int(size) for size in op.constant(1).reshape(-1)]
    known = math.prod(size for size in sizes if size != -1)
    return tuple(op.input(0).size // max(known, 1) if size == -1 else size for size in sizes)


def _dense(op: Operation) -> Shape:
    source, (channels, depth) = op.input(0), op.input(1).shape
    if op.options.get("keepNumDims"):
        return (*source.shape[:-1], channels)
    return (source.size // depth, channels)


def _fill(op: Operation) -> Shape:
    sizes = op.input(0).data
    return op.output.shape if sizes is None else tuple(int(size) for size in sizes)


def _expand(op: Operation) -> Shape:
    source = op.input(0).shape
    axis = int(op.constant(1).reshape(-1)[0]) % (len(source) + 1)
    return (*source[:axis], 1, *source[axis:])


_SHAPES: dict[str, Callable[[Operation], Shape]] = {
    "EXPAND_DIMS": _expand,
    "FILL": _fill,
    "FULLY_CONNECTED": _dense,
    "RESHAPE": _reshape,
}

#: Operators whose forms infer the shape from the inputs alone.
_BY_FORM = frozenset(
    {"ABS", "LEAKY_RELU", "LOGISTIC", "QUANTIZE", "RELU", "RELU6", "RSQRT", "SOFTMAX", "TANH"}
    | {"ADD", "MAXIMUM", "MINIMUM", "MUL", "SQUARED_DIFFERENCE", "SUB"}
    | {"BATCH_MATMUL", "BATCH_TO_SPACE_ND", "MEAN", "REDUCE_MAX", "SPACE_TO_BATCH_ND", "SUM"}
    | {"ELU", "LOG_SOFTMAX", "TRANSPOSE"}
)
