# SPDX-License-Identifier: Apache-2.0
"""Which lines of its inputs an operator reads for a line of its output, and the operator on a part.

Each kind of operator has a rule. An operator without a rule, or whose rule refuses it, needs the
whole window.
"""

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from m3net_tf.compiler.operators.common import window_of
from m3net_tf.compiler.operators.forms import axis_of, numbers, strides_of
from m3net_tf.tflite.graph import Operation, Tensor

_IMAGE_AXES = (1, 2)  # rows and columns


class WholeError(Exception):
    """An operator needs the whole window; the message says why."""


@dataclasses.dataclass(frozen=True)
class Reading:
    """Lines of an input: line j of the output reads ``stride * j - before + dilation * k``.

    ``k`` counts the ``taps``.
    """

    stride: int = 1
    before: int = 0
    taps: int = 1
    dilation: int = 1

    def span(self, first: int, end: int, lines: int) -> tuple[int, int]:
        """Lines from the first to behind the last that some outputs read, inside the input."""
        start = first * self.stride - self.before
        stop = (end - 1) * self.stride - self.before + (self.taps - 1) * self.dilation + 1
        return max(start, 0), min(stop, lines)


@dataclasses.dataclass(frozen=True)
class Rule:
    """An operator whose outputs are made line by line.

    Attributes:
        axes: the streamed dimension of each output.
        readings: readings by the index of a streamed input.
        options: options of the operator that computes the lines from ``first`` on; gets ``first``
            and the first line of the input that it is given. None: its options as they are.
        constants: changed constants of the operator on a part, by the index of the input; gets the
            outputs' first line and the line behind the last, and the input's.
    """

    axes: list[int]
    readings: dict[int, Reading]
    options: Callable[[int, int], dict[str, Any]] | None = None
    constants: Callable[[int, int, int, int], dict[int, np.ndarray]] | None = None


#: The streamed dimension of each input that has one, by the input's index.
Axes = Mapping[int, int]


def rule_of(op: Operation, axes: Axes) -> Rule:
    """The rule of an operator; ``axes`` are of its streamed inputs, at least one.

    Raises:
        WholeError: it needs the whole window.
    """
    for index, tensor in enumerate(op.inputs):
        if tensor is not None and tensor.data is None and index not in axes:
            raise WholeError("reads what depends on the whole window")
    make = _RULES.get(op.kind)
    if make is None:
        raise WholeError(f"{op.kind} has no rule for single lines")
    return make(op, axes)


def _one(axes: Axes) -> tuple[int, int]:
    """The one streamed input and its axis.

    Raises:
        WholeError: there are several, as where a RESHAPE computes its sizes.
    """
    if len(axes) > 1:
        raise WholeError("reads several streamed tensors")
    ((index, axis),) = axes.items()
    return index, axis


def _window(op: Operation, axes: Axes) -> Rule:
    _, axis = _one(axes)
    if axis not in _IMAGE_AXES:
        raise WholeError("sums along the axis with weights of its own for each line")
    if op.kind in ("CONV_2D", "DEPTHWISE_CONV_2D"):
        _, rows, columns, _ = op.input(1).shape
    else:
        rows, columns = op.options["filterHeight"], op.options["filterWidth"]
    window = window_of(op, rows, columns, op.input(0).shape)
    reading = Reading(window.row_stride, window.top, window.rows, window.row_dilation)
    if axis == _IMAGE_AXES[1]:
        reading = Reading(window.column_stride, window.left, window.columns, window.column_dilation)

    def options(first: int, start: int) -> dict[str, Any]:
        before = start - (first * reading.stride - reading.before)
        padding = (before, window.left) if axis == _IMAGE_AXES[0] else (window.top, before)
        return {**op.options, "explicit_padding": padding}

    return Rule([axis], {0: reading}, options)


def _each(op: Operation, axes: Axes) -> Rule:
    """Operators that compute each item from one item, or each row of the last dimension."""
    index, axis = _one(axes)
    if op.kind in ("LOG_SOFTMAX", "SOFTMAX") and axis == len(op.output.shape) - 1:
        raise WholeError("compares the lines with each other")
    return Rule([axis], {index: Reading()})


def _binary(op: Operation, axes: Axes) -> Rule:
    dimensions = len(op.output.shape)
    places = {axis + dimensions - len(op.input(index).shape) for index, axis in axes.items()}
    if len(places) > 1:
        raise WholeError("joins tensors that are streamed along different dimensions")
    (place,) = places
    for index, tensor in enumerate(op.inputs):
        assert tensor is not None
        at = place - (dimensions - len(tensor.shape))
        if tensor.data is not None and at >= 0 and tensor.shape[at] > 1:
            raise WholeError("has a constant that differs from line to line")
        if index in axes and tensor.shape[at] != op.output.shape[place]:
            raise WholeError("repeats a line")
    return Rule([place], {index: Reading() for index in axes})


def _fully_connected(op: Operation, axes: Axes) -> Rule:
    index, axis = _one(axes)
    source = op.input(0)
    output = op.output
    if axis == len(source.shape) - 1 or source.shape[-1] != op.input(1).shape[1]:
        raise WholeError("sums along the axis with weights of its own for each line")
    if len(output.shape) == len(source.shape):
        return Rule([axis], {index: Reading()})
    if math.prod(source.shape[:-1]) != source.shape[axis]:
        raise WholeError("joins the axis with another one")
    place = output.shape.index(source.shape[axis])
    return Rule([place], {index: Reading()})


def _reduction(op: Operation, axes: Axes) -> Rule:
    index, axis = _one(axes)
    shape = op.input(0).shape
    reduced = {place % len(shape) for place in numbers(op, 1)}
    if axis in reduced:
        raise WholeError("reduces the axis")
    if op.options.get("keepDims"):
        return Rule([axis], {index: Reading()})
    return Rule([axis - sum(place < axis for place in reduced)], {index: Reading()})


def _reshape(op: Operation, axes: Axes) -> Rule:
    index, axis = _one(axes)
    shape = op.input(index).shape
    before = math.prod(shape[:axis])
    lines = shape[axis]
    for place, size in enumerate(op.output.shape):
        if size == lines and math.prod(op.output.shape[:place]) == before:
            return Rule([place], {index: Reading()})
    raise WholeError("joins the axis with another one")


def _transpose(op: Operation, axes: Axes) -> Rule:
    index, axis = _one(axes)
    return Rule([numbers(op, 1).index(axis)], {index: Reading()})


def _reverse(op: Operation, axes: Axes) -> Rule:
    index, axis = _one(axes)
    dimensions = len(op.output.shape)
    if axis in {axis_of(op, place, dimensions) for place in numbers(op, 1)}:
        raise WholeError("mirrors the axis")
    return Rule([axis], {index: Reading()})


def _slice(op: Operation, axes: Axes) -> Rule:
    index, axis = _one(axes)
    starts = numbers(op, 1)

    def constants(first: int, end: int, _start: int, _stop: int) -> dict[int, np.ndarray]:
        sizes = [*op.output.shape]
        sizes[axis] = end - first
        begin = [*starts]
        begin[axis] = 0
        return {1: np.array(begin, np.int32), 2: np.array(sizes, np.int32)}

    return Rule([axis], {index: Reading(before=-starts[axis])}, constants=constants)


def _strided_slice(op: Operation, axes: Axes) -> Rule:
    index, axis = _one(axes)
    chosen = strides_of(op)
    mask = int(op.options["shrinkAxisMask"])
    place = axis - sum(mask >> at & 1 for at in range(axis))
    if axis >= len(chosen):
        return Rule([place], {index: Reading()})
    lines = op.input(0).shape[axis]
    if mask >> axis & 1 or chosen[axis].step != 1:
        raise WholeError("takes single lines of the axis")
    if len(chosen[axis]) < lines:
        raise WholeError("takes a part of the axis")
    return Rule([place], {index: Reading()}, constants=_all_lines(op, axis))


def _all_lines(op: Operation, axis: int) -> Callable[..., dict[int, np.ndarray]]:
    """Constants of a STRIDED_SLICE that takes all lines of what it is given."""

    def constants(_first: int, _end: int, start: int, stop: int) -> dict[int, np.ndarray]:
        begins, ends = numbers(op, 1), numbers(op, 2)
        begins[axis], ends[axis] = 0, stop - start
        return {1: np.array(begins, np.int32), 2: np.array(ends, np.int32)}

    return constants


def _split(op: Operation, axes: Axes) -> Rule:
    index, axis = _one(axes)
    place = numbers(op, 2 if op.kind == "SPLIT_V" else 0)[0]
    if axis_of(op, place, len(op.input(index).shape)) == axis:
        raise WholeError("splits the axis")
    return Rule([axis] * len(op.outputs), {index: Reading()})


def _concatenation(op: Operation, axes: Axes) -> Rule:
    if len(set(axes.values())) > 1 or len(axes) < len(op.inputs):
        raise WholeError("joins tensors that are not all streamed along one dimension")
    axis = axes[0]
    if axis_of(op, int(op.options["axis"]), len(op.output.shape)) == axis:
        raise WholeError("concatenates along the axis")
    return Rule([axis], {index: Reading() for index in axes})


def _pad(op: Operation, axes: Axes) -> Rule:
    index, axis = _one(axes)
    amounts = op.constant(1)
    before = int(amounts[axis][0])
    lines = op.input(0).shape[axis]

    def constants(first: int, end: int, _start: int, _stop: int) -> dict[int, np.ndarray]:
        changed = np.array(amounts)
        changed[axis] = max(before - first, 0), max(end - before - lines, 0)
        return {1: changed}

    return Rule([axis], {index: Reading(before=before)}, constants=constants)


_RULES: dict[str, Callable[[Operation, Axes], Rule]] = {
    **dict.fromkeys(("CONV_2D", "DEPTHWISE_CONV_2D", "AVERAGE_POOL_2D", "MAX_POOL_2D"), _window),
    **dict.fromkeys(("ABS", "LEAKY_RELU", "LOGISTIC", "QUANTIZE", "RELU", "RELU6"), _each),
    **dict.fromkeys(("LOG_SOFTMAX", "RSQRT", "SOFTMAX", "TABLE", "TANH"), _each),
    **dict.fromkeys(("ADD", "MAXIMUM", "MINIMUM", "MUL", "SQUARED_DIFFERENCE", "SUB"), _binary),
    **dict.fromkeys(("MEAN", "REDUCE_MAX", "SUM"), _reduction),
    **dict.fromkeys(("EXPAND_DIMS", "RESHAPE", "SQUEEZE"), _reshape),
    **dict.fromkeys(("PAD", "PADV2"), _pad),
    **dict.fromkeys(("SPLIT", "SPLIT_V"), _split),
    "CONCATENATION": _concatenation,
    "FULLY_CONNECTED": _fully_connected,
    "REVERSE_V2": _reverse,
    "SLICE": _slice,
    "STRIDED_SLICE": _strided_slice,
    "TRANSPOSE": _transpose,
}


def part_of(
    op: Operation,
    rule: Rule,
    lines: tuple[int, int],
    inputs: Mapping[int, Tensor],
    starts: Mapping[int, tuple[int, int]],
    outputs: list[Tensor],
) -> Operation:
    """The operator on some lines.

    Args:
        op: on the whole window.
        lines: lines of the outputs: the first, and the one behind the last.
        inputs: the lines that it reads, by the index of the input.
        starts: where they begin and end in the whole input, by the index of the input.
        outputs: the lines that it computes.
    """
    index = min(inputs)
    start, stop = starts[index]
    changed = rule.constants(*lines, start, stop) if rule.constants else {}
    options = rule.options(lines[0], start) if rule.options else op.options
    return Operation(
        kind=op.kind,
        inputs=[
            inputs.get(place, _constant(tensor, changed.get(place)))
            for place, tensor in enumerate(op.inputs)
        ],
        outputs=outputs,
        options=options,
    )


def _constant(tensor: Tensor | None, values: np.ndarray | None) -> Tensor | None:
    """The tensor, or a constant of other values."""
    if tensor is None or values is None:
        return tensor
    values = values.astype(f"<{tensor.data.dtype.str[1:]}" if tensor.data is not None else "<i4")
    return dataclasses.replace(tensor, shape=values.shape, data=values)
