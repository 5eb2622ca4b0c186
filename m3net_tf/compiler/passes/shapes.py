# SPDX-License-Identifier: Apache-2.0
"""Shapes that a converter with an unknown batch size left open.

A file has the size 1 wherever a size is unknown. This is right for the batch itself, but wrong for
sizes computed from it, as in a dense layer on a sequence or a dilated convolution.
"""

import math
from collections.abc import Callable

from m3net_tf.compiler.limits import LARGEST_TENSOR, MOST_DIMENSIONS
from m3net_tf.compiler.operators.forms import FORMS
from m3net_tf.tflite.graph import Operation

Shape = tuple[int, ...]


def resolve_shapes(op: Operation) -> None:
    """Infer the shapes of outputs with unknown sizes from the inputs.

    Raises:
        ModelError: a shape is empty or too large, or the inputs do not fit.
    """
    if not any(tensor.unknown for tensor in op.outputs) or not op.inputs:
        return
    for tensor, shape in zip(op.outputs, _shapes(op), strict=False):
        if tensor.unknown:
            least = 0 if 0 in tensor.shape else 1
            fits = len(shape) <= MOST_DIMENSIONS and math.prod(shape) <= LARGEST_TENSOR
            if min(shape, default=1) < least or not fits:
                raise op.error(f"has an output whose inputs give it the shape {shape}")
            tensor.shape = shape


def _shapes(op: Operation) -> list[Shape]:
    """Shapes of the outputs; none of an operator that is folded or refused."""
    if op.kind in _SHAPES:
        return [_SHAPES[op.kind](op)]
    return FORMS[op.kind].shapes(op) if op.kind in FORMS else []


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


def _squeeze(op: Operation) -> Shape:
    source = op.input(0).shape
    chosen = op.options.get("squeezeDims")
    axes = range(len(source)) if chosen is None or not len(chosen) else map(int, chosen)
    ones = {axis % len(source) for axis in axes if source[axis] == 1}
    return tuple(size for axis, size in enumerate(source) if axis not in ones)


#: Of operators whose forms take the sizes of the output.
_SHAPES: dict[str, Callable[[Operation], Shape]] = {
    "EXPAND_DIMS": _expand,
    "FILL": _fill,
    "FULLY_CONNECTED": _dense,
    "RESHAPE": _reshape,
    "SQUEEZE": _squeeze,
}
