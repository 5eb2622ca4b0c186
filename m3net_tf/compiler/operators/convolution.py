# SPDX-License-Identifier: Apache-2.0
"""Convolution, depthwise convolution and fully connected layers."""

import dataclasses
import math
from collections.abc import Callable
from functools import partial
from itertools import product

import numpy as np

from m3net_tf.compiler.arithmetic import quantize_factor, wrap
from m3net_tf.compiler.calls import Argument, Block, View
from m3net_tf.compiler.lowering import Lowering
from m3net_tf.compiler.operators.common import (
    INT8_MAX,
    INT8_MIN,
    INT16_MAX,
    LARGEST_LONG_BIAS,
    LARGEST_LONG_SHIFT,
    activation_range,
    has_pixels,
    image_of,
    is_wide,
    require,
    window_of,
)
from m3net_tf.compiler.overlap import window_slack
from m3net_tf.compiler.structures import (
    Array,
    Convolution,
    Convolution16,
    Factor,
    Structure,
    Window,
)
from m3net_tf.compiler.weights import (
    LARGEST_INPUT,
    PLAIN_BLOCK,
    Weights,
    channel_rows,
    convolution_blocks,
    convolution_bytes,
    depthwise_taps,
    long_channel_rows,
    plain_bytes,
)
from m3net_tf.tflite.graph import QUANTISE, Operation, Tensor

_PATCH_BYTES = 2
_PLACE_BYTES = 4
_NO_LONG_SUMS = 2  # schema.TensorType.INT32


def convolution(lowering: Lowering, op: Operation) -> None:
    """CONV_2D; one call for each group of channels."""
    source, filters = op.input(0), op.input(1)
    weights = _weights(op, filters)
    channels, rows, columns, depth = weights.shape
    groups = source.shape[-1] // depth
    window = window_of(op, rows, columns, source.shape)
    view = _pixels(lowering, op, lowering.read(source))
    target = lowering.write(op.output)
    per_group = channels // groups
    for group in range(groups):
        part = slice(group * per_group, (group + 1) * per_group)
        _call_convolution(
            lowering,
            op,
            weights[part].reshape(per_group, -1),
            part,
            view.part(3, group * depth, depth),
            target.part(3, part.start, per_group),
            window,
        )


def _call_convolution(
    lowering: Lowering,
    op: Operation,
    weights: Weights,
    part: slice,
    view: View,
    target: View,
    window: Window,
) -> None:
    """The kernel's call for some of the output channels; weights (channels, items)."""
    patch = Block("patch", -(-weights.shape[1] // 4) * 4 * _PATCH_BYTES)
    layer_of: Callable[[View, View], Structure]
    if is_wide(op):
        layer_of = partial(_layer_16, op, convolution_bytes(weights), part, window)
    else:
        packed = convolution_blocks(weights)
        channels = _channels(op, weights, part)
        layer_of = partial(_layer, op, packed, channels, window)

    call = lowering.call(
        op,
        "convolve_16" if is_wide(op) else "convolve",
        [layer_of(view, target), view, target, patch],
        [view],
        target,
        slack={0: window_slack(view, target, window, channels_at_once=True)},
    )
    is_pointwise = view.shape[:3] == target.shape[:3] and weights.shape[1] == view.shape[3]
    if is_pointwise and view.contiguous and target.contiguous:
        source, goal = _from_last_pixel(view), _from_last_pixel(target)
        call.backward = call.reversed([layer_of(source, goal), source, goal, patch], source, goal)
        call.backward_slack = _pointwise_backward_slack(view, target)


def _from_last_pixel(view: View) -> View:
    """The pixels in reversed order, channels unchanged."""
    mirrored = view.mirrored()
    offset = mirrored.offset - (view.shape[3] - 1) * view.strides[3]
    strides = (*mirrored.strides[:3], view.strides[3])
    return dataclasses.replace(view, offset=offset, strides=strides)


def _pointwise_backward_slack(view: View, target: View) -> int:
    """Least bytes from the input's start to the output's, if the last pixel is computed first.

    Both are contiguous. A pixel of the output must not overwrite a pixel that is still to be read.
    """
    pixels = math.prod(view.shape[:3])
    excess = (view.shape[3] - target.shape[3]) * view.item
    if pixels == 1:
        return -target.block.size
    return max(excess, (pixels - 1) * excess)


def depthwise(lowering: Lowering, op: Operation) -> None:
    """DEPTHWISE_CONV_2D; with a depth multiplier above 1 it becomes a convolution."""
    source, filters = op.input(0), op.input(1)
    weights = _weights(op, filters)
    _, rows, columns, channels = weights.shape
    window = window_of(op, rows, columns, source.shape)
    view = _pixels(lowering, op, lowering.read(source))
    target = lowering.write(op.output)
    taps = weights.reshape(rows * columns, channels)
    multiplier = channels // source.shape[-1]
    if multiplier > 1:
        for channel in range(source.shape[-1]):
            part = slice(channel * multiplier, (channel + 1) * multiplier)
            one = view.part(3, channel, 1)
            goal = target.part(3, part.start, multiplier)
            _call_convolution(lowering, op, taps[:, part].T, part, one, goal, window)
        return
    part = slice(0, channels)
    scratch: list[Argument] = []
    if is_wide(op):
        layer: Structure = _layer_16(op, plain_bytes(taps), part, window, view, target)
    else:
        rows_of_channels = _channels(op, taps.T, part)
        layer = _layer(op, depthwise_taps(taps), rows_of_channels, window, view, target)
        places = ((rows * columns + 1) // 2 * 2 + 2) * _PLACE_BYTES
        scratch.append(Block("places and padding", places + -(-channels // 4) * 4))
    kernel = "convolve_depthwise_16" if is_wide(op) else "convolve_depthwise"
    slack = window_slack(view, target, window, channels_at_once=False)
    lowering.call(op, kernel, [layer, view, target, *scratch], [view], target, slack={0: slack})


def transposed(lowering: Lowering, op: Operation) -> None:
    """TRANSPOSE_CONV: for each place within a stride, a convolution of its part of the weights."""
    filters, source = op.input(1), op.input(2)
    bias = op.inputs[3] if len(op.inputs) > 3 else None
    layer = dataclasses.replace(
        op,
        inputs=[source, filters, bias],
        options={**op.options, "quantizedBiasType": 0},  # without a bias, sums have 64 bits, too
    )
    weights = _weights(layer, filters)
    channels, rows, columns, _ = weights.shape
    window = window_of(op, rows, columns, op.output.shape, source.shape)
    view = _pixels(lowering, op, lowering.read(source))
    target = lowering.write(op.output)
    row_phases = _phases(rows, window.row_stride, window.top, target.shape[1])
    column_phases = _phases(columns, window.column_stride, window.left, target.shape[2])
    for (y, top, row_taps), (x, left, column_taps) in product(row_phases, column_phases):
        part = weights[:, row_taps][:, :, column_taps]
        if part.size == 0:
            part = np.zeros((channels, 1, 1, weights.shape[3]), np.int64)
        goal = target.part(1, y, -(-(target.shape[1] - y) // window.row_stride), window.row_stride)
        count = -(-(target.shape[2] - x) // window.column_stride)
        goal = goal.part(2, x, count, window.column_stride)
        place = Window(part.shape[1], part.shape[2], top=max(top, 0), left=max(left, 0))
        begin = view.part(1, max(-top, 0), view.shape[1] - max(-top, 0))
        begin = begin.part(2, max(-left, 0), view.shape[2] - max(-left, 0))
        flat = part.reshape(channels, -1)
        _call_convolution(lowering, layer, flat, slice(0, channels), begin, goal, place)


def _phases(taps: int, stride: int, before: int, size: int) -> list[tuple[int, int, list[int]]]:
    """For each place in a stride: first line, lines of its window before the image, and its taps.

    Args:
        taps: lines of the weights.
        stride: lines of the output from one line of the input to the next.
        before: lines of the output that its padding removes.
        size: lines of the output.
    """
    phases = []
    for line in range(min(stride, size)):
        last, first_tap = divmod(line + before, stride)  # the last line that it reads
        chosen = [*range(first_tap, taps, stride)][::-1]
        phases.append((line, max(len(chosen), 1) - 1 - last, chosen))
    return phases


def fully_connected(lowering: Lowering, op: Operation) -> None:
    """FULLY_CONNECTED, as a 1 x 1 convolution, or of several rows if an item has many channels."""
    source, filters = op.input(0), op.input(1)
    weights = _weights(op, filters)
    channels, depth = weights.shape
    pixels = source.size // depth
    rows = next(n for n in range(1, depth + 1) if depth % n == 0 and depth // n <= INT16_MAX)
    batches, pixels = (1, pixels) if rows == 1 else (pixels, 1)
    view = lowering.packed_input(op, lowering.read(source))
    view = view.reshaped((batches, pixels * rows, 1, depth // rows))
    target = lowering.write(op.output).reshaped((batches, pixels, 1, channels))
    part = slice(0, channels)
    _call_convolution(lowering, op, weights, part, view, target, Window(rows=rows, columns=1))


def _weights(op: Operation, filters: Tensor) -> Weights:
    require(op, not any(filters.zero_points), "has weights whose zero point is not zero", QUANTISE)
    return np.asarray(filters.data, np.int64)


def _pixels(lowering: Lowering, op: Operation, view: View) -> View:
    return view if has_pixels(view) else lowering.packed_input(op, view)


def _channels(op: Operation, weights: Weights, part: slice) -> tuple[Array, bool]:
    """Rows of ``m3net_channel`` of some output channels; weights (channels, items)."""
    source = op.input(0)
    bias = bias_of(op, part)
    # sum(weight * (input - zero point)) = sum(weight * input) - zero point * sum(weight)
    start = wrap(bias - source.zero_point * weights.sum(axis=1))
    spread = LARGEST_INPUT * np.abs(weights).sum(axis=1)
    return channel_rows(start, factors_of(op, part), spread, op.output.zero_point)


def _layer(
    op: Operation,
    weights: Array,
    channels: tuple[Array, bool],
    window: Window,
    view: View,
    target: View,
) -> Convolution:
    minimum, maximum = activation_range(op, op.output)
    return Convolution(
        weights=weights,
        channels=channels[0],
        input=image_of(op, view),
        output=image_of(op, target),
        window=window,
        batches=view.shape[0],
        padding=op.input(0).zero_point,
        plain=weights.ctype == PLAIN_BLOCK,
        pixels=1,
        lines=0,
        narrow=channels[1],
        full=(minimum, maximum) == (INT8_MIN, INT8_MAX),
        alike=len(np.unique(channels[0].values[: target.shape[3], 1:], axis=0)) == 1,
        minimum=minimum,
        maximum=maximum,
    )


def _layer_16(
    op: Operation, weights: Array, part: slice, window: Window, view: View, target: View
) -> Convolution16:
    """Constants of one call, for some of the output channels."""
    minimum, maximum = activation_range(op, op.output)
    return Convolution16(
        weights=weights,
        channels=_long_channels(op, part),
        input=image_of(op, view),
        output=image_of(op, target),
        window=window,
        batches=view.shape[0],
        minimum=minimum,
        maximum=maximum,
        long_sums=_has_long_sums(op),
    )


def _has_long_sums(op: Operation) -> bool:
    """Whether sums have 64 bits, by the type of the bias or, without a bias, by an option."""
    bias = op.inputs[2] if len(op.inputs) > 2 else None
    if bias is not None:
        return bias.dtype == "int64"
    return op.options.get("quantizedBiasType") != _NO_LONG_SUMS


def _long_channels(op: Operation, part: slice) -> Array:
    """Rows of ``m3net_channel_16`` of some output channels."""
    bias = bias_of(op, part)
    factors = factors_of(op, part)
    long_sums = _has_long_sums(op)
    require(op, bool((np.abs(bias) < LARGEST_LONG_BIAS).all()), "has a bias above 2^46")
    require(
        op,
        not long_sums or all(factor.shift <= LARGEST_LONG_SHIFT for factor in factors),
        "has an output scale too small for its input",
        QUANTISE,
    )
    return long_channel_rows(bias if long_sums else wrap(bias), factors)


def bias_of(op: Operation, part: slice) -> Weights:
    """Bias of some output channels, one-dimensional; zeros if the layer has none."""
    if len(op.inputs) < 3 or op.inputs[2] is None:
        return np.zeros(part.stop - part.start, np.int64)
    return np.asarray(op.constant(2), np.int64).reshape(-1)[part]


def factors_of(op: Operation, part: slice) -> list[Factor]:
    """Requantisation factors of some output channels, computed as TFLite Micro does."""
    source, filters = op.input(0), op.input(1)
    scales = filters.scales
    count = part.stop - part.start
    to = float(op.output.scale)
    if op.kind == "FULLY_CONNECTED" and len(scales) == 1:
        # A product in single precision; convolutions take it in double precision.
        real = float(np.float32(source.scale * np.float32(scales[0]))) / to
        return [quantize_factor(real)] * count
    if len(scales) == 1:
        return [quantize_factor(float(source.scale) * float(scales[0]) / to)] * count
    axis = 3 if op.kind == "DEPTHWISE_CONV_2D" else 0
    require(
        op,
        filters.channel_axis == axis and len(scales) == filters.shape[axis],
        "has weights with scales along another dimension than its outputs",
        QUANTISE,
    )
    return [quantize_factor(float(source.scale) * float(scale) / to) for scale in scales[part]]
