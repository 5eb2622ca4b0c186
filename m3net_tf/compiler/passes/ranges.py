# SPDX-License-Identifier: Apache-2.0
"""The smallest and the largest byte of each channel, for every possible input."""

import math
from itertools import product

import numpy as np

from m3net_tf.compiler.arithmetic import Integers, divide
from m3net_tf.compiler.arithmetic import product as rounded_product
from m3net_tf.compiler.operators.common import INT8_MAX, INT8_MIN, activation_range, window_of
from m3net_tf.compiler.operators.convolution import bias_of, factors_of
from m3net_tf.compiler.operators.matrix import reduction_axes, reduction_factor
from m3net_tf.compiler.operators.tables import combine
from m3net_tf.compiler.structures import Factor
from m3net_tf.system.errors import ModelError
from m3net_tf.tflite.graph import WEIGHTED, Graph, Operation, Tensor

PAIRS = ("ADD", "SUB", "MUL")
SINGLE = ("TABLE", "AVERAGE_POOL_2D", "MAX_POOL_2D", "MEAN", "RESHAPE")
_LARGEST_SUM = 1 << 30  # after its left shift: beyond it the arithmetic may wrap or saturate

Range = tuple[Integers, Integers]
Ranges = dict[Tensor, Range]


def ranges_of(graph: Graph) -> Ranges:
    """The range of each channel, the last dimension, of each computed tensor.

    An operator without a rule below may give any byte, as an operator with a fault, which its
    lowering names.
    """
    ranges = {tensor: _any(tensor) for tensor in graph.tensors() if tensor.data is None}
    for op in graph.operations:
        if not is_plain(op):
            continue
        try:
            found = _range(op, ranges)
        except (ArithmeticError, ModelError):
            continue
        if found is not None:
            ranges[op.output] = found
    return ranges


def channels_of(tensor: Tensor) -> int:
    """Size of the last dimension; 1 of a scalar."""
    return tensor.shape[-1] if tensor.shape else 1


def is_plain(op: Operation) -> bool:
    """Whether an operator makes one tensor, and all that it reads and makes is int8, no state.

    Constants that are not int8, such as biases, do not count.
    """
    tensors = [tensor for tensor in op.inputs if tensor is not None and tensor.data is None]
    if len(op.outputs) != 1 or not tensors:
        return False
    return all(tensor.dtype == "int8" and not tensor.is_state for tensor in [*tensors, op.output])


def is_plain_layer(op: Operation) -> bool:
    """Whether a layer has one group, constant weights, and a channel of them for each input's."""
    source = op.input(0)
    filters = op.input(1)
    if source.data is not None or filters.data is None or not is_plain(op):
        return False
    bias = op.inputs[2] if len(op.inputs) > 2 else None
    if (
        filters.dtype != "int8"
        or any(filters.zero_points)
        or (bias is not None and bias.data is None)
    ):
        return False
    axis = 3 if op.kind == "DEPTHWISE_CONV_2D" else 0
    channels = filters.shape[axis]
    several = len(filters.scales) != 1
    if several and (len(filters.scales), filters.channel_axis) != (channels, axis):
        return False
    return source.shape[-1:] == filters.shape[-1:] and op.output.shape[-1:] == (channels,)


def is_by_channel(op: Operation) -> bool:
    """Whether each channel of the output depends on the same channel of the inputs alone."""
    if not is_plain(op):
        return False
    if op.kind == "DEPTHWISE_CONV_2D":
        return is_plain_layer(op)
    inputs = []
    if op.kind in PAIRS:
        inputs = [op.input(0), op.input(1)]
    elif op.kind in SINGLE:
        inputs = [op.input(0)]
    if op.kind == "MEAN" and len(op.input(0).shape) - 1 in reduction_axes(op):
        return False
    return bool(inputs) and all(
        tensor.dtype == "int8" and channels_of(tensor) == channels_of(op.output)
        for tensor in inputs
    )


def pads(op: Operation) -> bool:
    """Whether some window of a layer reaches over the edge of its image."""
    if op.kind == "FULLY_CONNECTED":
        return False
    source = op.input(0)
    _, rows, columns, _ = op.input(1).shape
    window = window_of(op, rows, columns, source.shape)
    _, height, width, _ = op.output.shape
    bottom = (height - 1) * window.row_stride - window.top + window.row_reach
    right = (width - 1) * window.column_stride - window.left + window.column_reach
    return max(window.top, window.left, bottom - source.shape[1], right - source.shape[2]) > 0


def operand_range(op: Operation, index: int, ranges: Ranges) -> Range:
    """The range by channel of an operand of a sum or a product."""
    tensor = op.input(index)
    if tensor.data is None:
        return ranges[tensor]
    values = np.asarray(tensor.data, np.int64).reshape(-1, channels_of(tensor))
    return values.min(axis=0), values.max(axis=0)


def _any(tensor: Tensor) -> Range:
    count = channels_of(tensor)
    return np.full(count, INT8_MIN, np.int64), np.full(count, INT8_MAX, np.int64)


def _range(op: Operation, ranges: Ranges) -> Range | None:
    if op.kind in WEIGHTED:
        return _of_layer(op, ranges[op.input(0)]) if is_plain_layer(op) else None
    if op.kind in PAIRS:
        return _of_pair(op, ranges) if is_by_channel(op) else None
    if op.kind == "CONCATENATION":
        return _of_parts(op, ranges)
    if op.kind not in SINGLE or not is_by_channel(op):
        return None
    low, high = ranges[op.input(0)]
    if op.kind == "TABLE":
        table = np.asarray(op.options["table"], np.int64)
        parts = [table[a : b + 1] for a, b in zip(low - INT8_MIN, high - INT8_MIN, strict=True)]
        return np.array([part.min() for part in parts]), np.array([part.max() for part in parts])
    if op.kind == "RESHAPE":
        return low, high
    if op.kind == "MEAN":
        return _of_mean(op, low, high)
    ends = activation_range(op, op.output)
    return np.clip(low, *ends), np.clip(high, *ends)


def _of_layer(op: Operation, source: Range) -> Range | None:
    """The range of sums of weights times inputs; a padded pixel is the zero point, so adds 0."""
    low, high = (end - op.input(0).zero_point for end in source)
    if pads(op):
        low, high = np.minimum(low, 0), np.maximum(high, 0)
    weights = op.constant(1)
    is_depthwise = op.kind == "DEPTHWISE_CONV_2D"
    axes = (0, 1, 2) if is_depthwise else tuple(range(1, weights.ndim - 1))
    above = np.maximum(weights, 0).sum(axis=axes, dtype=np.int64)
    below = np.minimum(weights, 0).sum(axis=axes, dtype=np.int64)
    part = slice(0, op.output.shape[-1])
    bias = bias_of(op, part)
    if is_depthwise:
        sums = bias + above * low + below * high, bias + above * high + below * low
    else:
        sums = bias + above @ low + below @ high, bias + above @ high + below @ low
    factors = factors_of(op, part)
    ends = activation_range(op, op.output)
    return _outputs(op, sums, factors, ends)


def _outputs(
    op: Operation, sums: Range, factors: list[Factor], ends: tuple[int, int]
) -> Range | None:
    """Sums times factors, one for each channel; None if one is so large that it may wrap."""
    multipliers = np.array([factor.multiplier for factor in factors], np.int64)
    shifts = np.array([factor.shift for factor in factors], np.int64)
    left = np.maximum(shifts, 0)
    right = np.maximum(-shifts, 0)
    if (np.abs(sums) > _LARGEST_SUM >> left).any():
        return None
    low, high = (divide(rounded_product(each << left, multipliers), right) for each in sums)
    zero = op.output.zero_point
    return np.clip(low + zero, *ends), np.clip(high + zero, *ends)


def _of_mean(op: Operation, low: Integers, high: Integers) -> Range | None:
    count = math.prod(op.input(0).shape[axis] for axis in reduction_axes(op))
    factors = [reduction_factor(op, count)] * len(low)
    zero = op.input(0).zero_point
    sums = count * (low - zero), count * (high - zero)
    return _outputs(op, sums, factors, (INT8_MIN, INT8_MAX))


def _of_pair(op: Operation, ranges: Ranges) -> Range:
    """Sums and products take their extremes at the ends of their inputs' ranges."""
    ends = product(*(operand_range(op, index, ranges) for index in (0, 1)))
    corners = [combine(op, first, second).astype(np.int64) for first, second in ends]
    return np.min(corners, axis=0), np.max(corners, axis=0)


def _of_parts(op: Operation, ranges: Ranges) -> Range | None:
    tensors = [tensor for tensor in op.inputs if tensor is not None]
    last = len(op.output.shape) - 1
    if op.options["axis"] not in (-1, last) or any(tensor not in ranges for tensor in tensors):
        return None
    if any(not tensor.same_quantization(op.output) for tensor in tensors):
        return None
    low = np.concatenate([ranges[tensor][0] for tensor in tensors])
    high = np.concatenate([ranges[tensor][1] for tensor in tensors])
    return low, high
