# SPDX-License-Identifier: Apache-2.0
"""Operators whose items lie at other places of the input, by an index for each dimension."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from m3net_tf.compiler.calls import View
from m3net_tf.compiler.lowering import Lowering
from m3net_tf.compiler.operators.common import has_pixels, require
from m3net_tf.compiler.operators.forms import axis_of, numbers
from m3net_tf.compiler.structures import Array, Resizing, Runs
from m3net_tf.tflite.graph import QUANTISE, REPLACE, Operation

_LOOPS = 3
_WEIGHT_BITS = 10  # of an interpolation
_MOST_PLACES = 1 << 16


def gather(lowering: Lowering, op: Operation) -> None:
    """GATHER with constant indices."""
    shape = op.input(0).shape
    indices: list[Sequence[int]] = [range(size) for size in shape]
    indices[axis_of(op, op.options["axis"], len(shape))] = numbers(op, 1)
    _move(lowering, op, indices)


def tile(lowering: Lowering, op: Operation) -> None:
    """TILE."""
    sizes = zip(op.input(0).shape, numbers(op, 1), strict=True)
    _move(lowering, op, [_repeated(op, size, times) for size, times in sizes])


def _repeated(op: Operation, size: int, times: int) -> Sequence[int]:
    if times == 1:
        return range(size)
    _require_few(op, size * times)
    return [*range(size)] * times


def _require_few(op: Operation, places: int) -> None:
    require(
        op, places <= _MOST_PLACES, f"makes {places} lines; it may make {_MOST_PLACES}", REPLACE
    )


def mirror_pad(lowering: Lowering, op: Operation) -> None:
    """MIRROR_PAD; it repeats the edge (SYMMETRIC) or not (REFLECT)."""
    edge = 0 if op.options["mode"] else 1
    indices: list[Sequence[int]] = []
    for size, (before, after) in zip(op.input(0).shape, op.constant(1), strict=True):
        first = range(edge + int(before) - 1, edge - 1, -1)
        last = range(size - 1 - edge, size - 1 - edge - int(after), -1)
        if len(first) + len(last):
            _require_few(op, len(first) + size + len(last))
            indices.append([*first, *range(size), *last])
        else:
            indices.append(range(size))
    _move(lowering, op, indices)


def nearest(lowering: Lowering, op: Operation) -> None:
    """RESIZE_NEAREST_NEIGHBOR."""
    shape = op.input(0).shape
    _require_few(op, max(op.output.shape[1:3]))
    indices: list[Sequence[int]] = [range(size) for size in shape]
    for axis in (1, 2):
        indices[axis] = _nearest(op, shape[axis], op.output.shape[axis])
    _move(lowering, op, indices)


def _nearest(op: Operation, size: int, count: int) -> list[int]:
    """For each line of the output the line of the input, computed in single precision."""
    align, centres = op.options["alignCorners"], op.options["halfPixelCenters"]
    scale = np.float32(size) / np.float32(count)
    if align and count > 1:
        scale = np.float32(size - 1) / np.float32(count - 1)
    places = (np.arange(count, dtype=np.float32) + np.float32(0.5 if centres else 0)) * scale
    lines = np.floor(places + np.float32(0.5)) if align else np.floor(places)
    return [int(line) for line in np.clip(lines, 0, size - 1)]


def _move(lowering: Lowering, op: Operation, indices: Sequence[Sequence[int]]) -> None:
    """The kernel's call; ``indices`` has the items of the input along each dimension."""
    require(
        op, op.input(0).same_quantization(op.output), "has another scale at its output", QUANTISE
    )
    view = lowering.read(op.input(0))
    target = lowering.write(op.output)
    require(op, target.contiguous, "writes into a concatenation, which is not supported", REPLACE)
    run, places = _runs(view, indices)
    require(op, all(len(each) <= _MOST_PLACES for each in places), "has too many items", REPLACE)
    first, second, third = (Array("places", "int32_t", each) for each in places)
    layer = Runs(first, second, third, tuple(map(len, places)), run)
    lowering.call(op, "copy_runs", [layer, view, target], [view], target)


def _runs(view: View, indices: Sequence[Sequence[int]]) -> tuple[int, list[npt.NDArray[np.int64]]]:
    """Bytes of a contiguous run, and the places of the runs in three nested loops."""
    run = view.item
    loops: list[npt.NDArray[np.int64]] = []
    for size, stride, lines in reversed([*zip(view.shape, view.strides, indices, strict=True)]):
        is_whole = lines == range(size) or (
            len(lines) == size and isinstance(lines, list) and lines == [*range(size)]
        )
        if not loops and is_whole and stride == run:
            run *= size
        elif not is_whole or size > 1:
            loops.insert(0, np.asarray(lines, np.int64) * stride)
    while len(loops) > _LOOPS:
        at = min(range(len(loops) - 1), key=lambda i: len(loops[i]) * len(loops[i + 1]))
        loops[at : at + 2] = [np.add.outer(loops[at], loops[at + 1]).reshape(-1)]
    return run, [np.zeros(1, np.int64)] * (_LOOPS - len(loops)) + loops


def bilinear(lowering: Lowering, op: Operation) -> None:
    """RESIZE_BILINEAR."""
    require(
        op, op.input(0).same_quantization(op.output), "has another scale at its output", QUANTISE
    )
    _require_few(op, max(op.output.shape[1:3]))
    view = lowering.read(op.input(0))
    target = lowering.write(op.output)
    require(op, target.contiguous, "writes into a concatenation, which is not supported", REPLACE)
    view = view if has_pixels(view) else lowering.packed_input(op, view)
    batches, _, _, channels = view.shape
    layer = Resizing(
        rows=_between(op, view, 1),
        columns=_between(op, view, 2),
        size=op.output.shape[1:3],
        batches=batches,
        channels=channels,
        batch_step=view.strides[0],
    )
    lowering.call(op, "resize_bilinear", [layer, view, target], [view], target)


def _between(op: Operation, view: View, axis: int) -> Array:
    """The rows or columns between which each one of the output lies, in whole numbers."""
    align, centres = op.options["alignCorners"], op.options["halfPixelCenters"]
    require(op, not (align and centres), "has both aligned corners and centres of pixels", REPLACE)
    size, count, one = view.shape[axis], op.output.shape[axis], 1 << _WEIGHT_BITS
    step = (one * size + count // 2) // count
    if align and count > 1:
        step = (one * (size - 1) + (count - 1) // 2) // (count - 1)
    places = np.arange(count, dtype=np.int64) * step
    if centres:
        places += step // 2 - one // 2
    low = np.maximum(places // one, 0)
    high = np.minimum(-(-places // one), size - 1)
    require(op, bool((low < size).all()), "reads outside its input")
    stride = view.strides[axis]
    rows = np.stack([low * stride, high * stride, places - one * low], axis=1)
    return Array("places", "m3net_between", rows)
