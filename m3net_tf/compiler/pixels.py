# SPDX-License-Identifier: Apache-2.0
"""The form of each convolution's kernel, as far as the arena has room.

A convolution computes several pixels at a time, whose windows are in the patch together; each
weight is loaded once for all of them. Two windows of bytes need as much memory as one of 16-bit
items. A depthwise convolution computes a line of the image channel by channel, where its output
overwrites no item of its input that is still to be read. If its window is a part of a line, scratch
memory holds four channels of so many pixels of the line as are computed at a time. Each convolution
gets the largest patch with which the arena grows by no more than the goal allows, or is no larger
than if the lines of a stripe did not share their memory.
"""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from m3net_tf.compiler.calls import Call, View
from m3net_tf.compiler.goals import Goal
from m3net_tf.compiler.limits import may_search
from m3net_tf.compiler.overlap import line_slack
from m3net_tf.compiler.plan import SLACK_BYTES, Improve, Plan, needs, plan_memory
from m3net_tf.compiler.stripes import COLUMNS, ROWS, Stripe, line_pixels, products, with_steps
from m3net_tf.compiler.structures import Convolution
from m3net_tf.compiler.weights import GROUP, LARGEST_INPUT, PLAIN_BLOCK
from m3net_tf.compiler.winograd import take_winograd

SHARED = "convolutions that load a weight once for two to four pixels"
ALONG_COLUMNS, ALONG_ROWS = 1, 2  # M3NET_ALONG_COLUMNS and M3NET_ALONG_ROWS
MOST_PIXELS = 4
_UPPER_LIMIT = 1 << 23  # of the sum of the upper one of two channels
_TWIN_ITEMS = 496  # M3NET_TWIN_ITEMS
_LINE_PIXELS = 6  # OUTPUTS of depthwise_line.c
_MOST_BLOCKS = 21  # whose pixels an int8_t can count
_MOST_TAPS = 15  # of which depthwise_line.c keeps the weights


def share_weights(
    calls: Sequence[Call],
    inputs: Sequence[View],
    outputs: Sequence[View],
    improve: Improve | None,
    goal: Goal,
) -> Plan:
    """Plan the memory, with the most pixels at a time for which there is room.

    Layers and scratch memory of convolutions among the calls change. Other arguments as for
    :func:`.plan_memory`.
    """
    plan = plan_memory(calls, inputs, outputs, improve)
    most_bytes = math.floor(plan.arena_bytes * (1 + goal.most_grown))
    plan = _with_most_pixels(plan, most_bytes, calls, inputs, outputs, improve)
    plan = take_winograd(plan, most_bytes, calls, inputs, outputs, improve, goal)
    _choose_lines(plan)
    for call in plan.calls:
        layer = call.arguments[0]
        slack = dict(call.slack)
        if call.kernel != "convolve_depthwise" or not isinstance(layer, Convolution):
            continue
        if layer.lines or not line_direction(layer, None):
            continue
        if not may_search(len(calls)):
            break
        call.slack[0] = line_slack(call.inputs[0], call.output, layer.window)
        other = plan_memory(calls, inputs, outputs, improve)
        if other.arena_bytes > plan.arena_bytes:
            call.slack = slack
        else:
            plan = other
            _choose_lines(plan)
    return plan


def take_smallest_forms(calls: Sequence[Call]) -> None:
    """Give the weights of all convolutions a byte each on every core, and one kernel."""
    for call in calls:
        for form in filter(None, (call, call.backward)):
            layer = form.arguments[0]
            if form.kernel == "convolve" and isinstance(layer, Convolution):
                weights = dataclasses.replace(layer.weights, ctype=PLAIN_BLOCK)
                form.arguments[0] = dataclasses.replace(
                    layer, weights=weights, plain=True, pixels=1
                )


def _choose_lines(plan: Plan) -> None:
    for call in plan.calls:
        for member in call.members:
            layer = member.arguments[0]
            if member.kernel == "convolve_depthwise" and isinstance(layer, Convolution):
                stripe = call if isinstance(call, Stripe) else None
                lines = _lines(layer, member, stripe, plan)
                pixels = layer.pixels if stripe or _in_order(layer, member, plan) else 1
                member.arguments[0] = dataclasses.replace(layer, lines=lines, pixels=pixels)


def _lines(layer: Convolution, member: Call, stripe: Stripe | None, plan: Plan) -> int:
    """The lines of a depthwise convolution, by the places of its input and its output."""
    if stripe:
        (stage,) = (stage for stage in stripe.stages if stage.call is member)
        source, target = stage.sources[0].view, stage.target.view
        line = dataclasses.replace(
            layer,
            input=with_steps(layer.input, source),
            output=with_steps(layer.output, target),
        )
        return line_direction(line, stripe.axis)
    apart, same_channel, distance = _overlap(member, plan)
    far = distance >= line_slack(member.inputs[0], member.output, layer.window)
    return line_direction(layer, None) if apart or same_channel or far else 0


def _overlap(member: Call, plan: Plan) -> tuple[bool, bool, int]:
    """How the input and the output of a depthwise convolution lie in the arena.

    Returns:
        Whether they are apart; whether a channel overwrites items of the same channel alone, which
        have been read; and bytes from the output's start to the input's.
    """
    (source,), target = member.inputs, member.output
    ends = plan.places[source.block], plan.places[target.block]
    apart = ends[0] + source.block.size <= ends[1] or ends[1] + target.block.size <= ends[0]
    distance = ends[0] + source.offset - ends[1] - target.offset
    steps = {*source.strides[:3], *target.strides[:3], distance}
    return apart, not any(step % source.shape[3] for step in steps), distance


def _in_order(layer: Convolution, member: Call, plan: Plan) -> bool:
    """Whether a line may be computed some pixels at a time, a channel after the other.

    With dilations, and along several columns, pixels are computed in another order than the one
    for which the plan lets the output overwrite the input: each must overwrite its own alone.
    """
    apart, same_channel, distance = _overlap(member, plan)
    if apart or not same_channel:
        return apart
    window = layer.window
    as_planned = window.rows == 1 or layer.output.columns == 1
    if as_planned and window.row_dilation == window.column_dilation == 1:
        return True
    return distance == 0 and member.inputs[0].strides == member.output.strides


def _with_most_pixels(
    plan: Plan,
    most_bytes: int,
    calls: Sequence[Call],
    inputs: Sequence[View],
    outputs: Sequence[View],
    improve: Improve | None,
) -> Plan:
    """The plan with the largest patches for which an arena has room, else a given one."""
    room = {call: most_bytes - SLACK_BYTES for call in calls}
    room |= {call: room[call] + call.saved_bytes for call in calls if isinstance(call, Stripe)}
    choices = [_Choice(call, member) for call in calls for member in call.members]
    left = [choice for choice in choices if len(choice.counts) > 1]
    left.sort(key=lambda choice: math.prod(choice.member.output.shape) * products(choice.member))
    while left and may_search(len(calls)):
        demands = needs(calls, inputs, outputs)
        tight = {call for call, need in zip(calls, demands, strict=True) if need > room[call]}
        larger = plan if tight else plan_memory(calls, inputs, outputs, improve)
        if not tight and larger.arena_bytes <= max(most_bytes, larger.lower_bound):
            return larger
        largest = max(
            (choice for choice in left if choice.call in tight),
            key=lambda choice: choice.member.scratch[0].size,
            default=None,
        )
        choice = largest or left[0]  # else the one with the fewest products
        choice.shrink()
        if len(choice.counts) == 1:
            left.remove(choice)
    for choice in left:
        while len(choice.counts) > 1:
            choice.shrink()
    return plan


def pixel_counts(layer: Convolution, pixels: int) -> list[int]:
    """How many pixels, of an image or of a line, a convolution may compute at a time, most first.

    The kernels of several pixels have sums of 24 bits for upper channels, the one of two pixels of
    each part of a large window; and outputs with the whole range of int8.
    """
    fits = layer.narrow and layer.full and not layer.plain
    if pixels == 1 or not fits or layer.output.channels % 2:
        return [1]
    sums = _upper_sums(layer)
    if sums.sum(axis=0).max() >= _UPPER_LIMIT:
        by_parts = sums.max() < _UPPER_LIMIT and layer.output.channels % GROUP == 0
        return [2, 1] if by_parts else [1]
    most = 3 if pixels == 5 else MOST_PIXELS  # not four and a single one
    if layer.output.channels % GROUP:
        return [*range(min(pixels, most), 2, -1), 1]  # the kernel of two has four channels
    return list(range(min(pixels, most), 1, -1))


def _upper_sums(layer: Convolution) -> npt.NDArray[np.int64]:
    """Largest absolute sums of the upper channels, shape (parts of a window, channels)."""
    sizes = LARGEST_INPUT * np.abs(layer.weights.values[:, 1::2])
    items = sizes.shape[2]
    first = items - (items - 1) // _TWIN_ITEMS * _TWIN_ITEMS
    sums = np.add.reduceat(sizes, [0, *range(first, items, _TWIN_ITEMS)], axis=2)
    sums = sums.reshape(-1, sums.shape[2]).T
    sums[0] += np.abs(layer.channels.values[1::2, 0])
    return sums


def patch_windows(pixels: int) -> int:
    """Windows of 16-bit items that have as many bytes as the patch for some pixels at a time."""
    return 1 if pixels == 2 else pixels


def line_direction(layer: Convolution, axis: int | None) -> int:
    """Along which lines a depthwise convolution may be computed channel by channel; 0 for none.

    Args:
        layer: layer of the convolution on the image, or on a line.
        axis: along which lines follow each other in a stripe, else None.
    """
    window, source, target = layer.window, layer.input, layer.output
    if not (layer.narrow and layer.full) or target.channels % GROUP:
        return 0
    if (window.rows, window.columns) != (3, 3):
        return 0
    if window.row_stride != window.column_stride or window.row_stride > 2:
        return 0
    if (window.row_dilation, window.column_dilation) != (1, 1):
        return 0
    by_rows = axis == COLUMNS
    rows = _outside(source.rows, target.rows, window.row_stride, window.top)
    columns = _outside(source.columns, target.columns, window.column_stride, window.left)
    outputs = target.rows if by_rows else target.columns
    if rows > 1 or columns > 1 or not 2 <= outputs < 256:
        return 0
    return ALONG_ROWS if by_rows else ALONG_COLUMNS


def line_counts(layer: Convolution, axis: int | None) -> list[int]:
    """How many pixels of a line a depthwise convolution may compute at a time, most first.

    Other arguments as for :func:`line_direction`. Empty if the window is not a part of a line.
    """
    window, source, target = layer.window, layer.input, layer.output
    if not (layer.narrow and layer.full) or 1 not in (window.rows, window.columns):
        return []
    if window.columns == 1:
        inputs, outputs, before = source.rows, target.rows, window.left
        taps, stride, dilation = window.rows, window.row_stride, window.row_dilation
    else:
        inputs, outputs, before = source.columns, target.columns, window.top
        taps, stride, dilation = window.columns, window.column_stride, window.column_dilation
    crosses = axis == (ROWS if window.columns == 1 else COLUMNS)
    if crosses or before or inputs < dilation or taps > _MOST_TAPS:
        return []
    if stride > 2 or (stride > 1 and dilation > 1):
        return []
    # Smaller windows, and fewer pixels at a time on average, take less one by one.
    least_taps, least_pixels = (3, 5) if stride == 1 else (9, 10)
    if taps < least_taps:
        return []
    least, most = outputs // dilation, -(-outputs // dilation)  # of every so many pixels
    blocks = min(-(-most // _LINE_PIXELS), _MOST_BLOCKS)
    counts = [_LINE_PIXELS * (blocks >> shift) for shift in range(blocks.bit_length())]
    return [*(count for count in counts if least >= least_pixels * -(-most // count)), 1]


def line_scratch(layer: Convolution, pixels: int) -> int:
    """Bytes of scratch memory of a depthwise convolution that computes some pixels at a time."""
    window = layer.window
    taps = window.rows * window.columns
    stride = max(window.row_stride, window.column_stride)
    return (pixels * stride + taps) // 2 * GROUP * 4


def _outside(inputs: int, outputs: int, stride: int, before: int) -> int:
    """Most lines of a window of three that are outside an image."""
    behind = (outputs - 1) * stride + 3 - before - inputs
    return max(before, behind, 3 - inputs)


class _Choice:
    """A convolution that may compute some pixels at a time.

    Attributes:
        call: the call, or the stripe that it is in.
        counts: numbers of pixels, the largest first; the first one is chosen. Empty without a
            choice.
    """

    def __init__(self, call: Call, member: Call) -> None:
        self.call, self.member = call, member
        self.counts: list[int] = []
        layer = member.arguments[0]
        if not isinstance(layer, Convolution):
            return
        self._window_bytes = member.scratch[0].size
        stripe = call if isinstance(call, Stripe) else None
        if member.kernel == "convolve":
            shape = member.output.shape
            pixels = line_pixels(stripe, member) if stripe else math.prod(shape[1:3])
            self.counts = pixel_counts(layer, pixels)
        else:
            self.counts = line_counts(layer, stripe.axis if stripe else None)
        if self.counts:
            self._set()

    def shrink(self) -> None:
        """Choose the next smaller count."""
        self.counts.pop(0)
        self._set()

    def _set(self) -> None:
        for form in filter(None, (self.member, self.member.backward)):
            layer = form.arguments[0]
            assert isinstance(layer, Convolution)
            form.arguments[0] = dataclasses.replace(layer, pixels=self.counts[0])
        (patch,) = self.member.scratch
        if self.member.kernel == "convolve":
            patch.size = self._window_bytes * patch_windows(self.counts[0])
        else:
            layer = self.member.arguments[0]
            assert isinstance(layer, Convolution)
            line = line_scratch(layer, self.counts[0]) if self.counts[0] > 1 else 0
            patch.size = max(self._window_bytes, line)
        if isinstance(self.call, Stripe):
            self.call.share_scratch()
