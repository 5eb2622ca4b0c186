# SPDX-License-Identifier: Apache-2.0
"""How many pixels convolutions compute at a time; each weight is loaded once for all of them.

The windows of these pixels are in the patch together. Each convolution gets the largest patch that
leaves the arena no larger, or no larger than if the lines of a stripe did not share their memory.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from m3net_tf.compiler.calls import Call, View
from m3net_tf.compiler.plan import SLACK_BYTES, Improve, Plan, needs, plan_memory
from m3net_tf.compiler.stripes import Stripe, line_pixels, products
from m3net_tf.compiler.structures import Convolution
from m3net_tf.compiler.weights import GROUP, LARGEST_INPUT

SHARED = "convolutions that load a weight once for two or three pixels"
_UPPER_LIMIT = 1 << 23  # of the sum of the upper one of two channels


def share_weights(
    calls: Sequence[Call],
    inputs: Sequence[View],
    outputs: Sequence[View],
    improve: Improve | None = None,
) -> Plan:
    """Plan the memory, with the most pixels at a time for which there is room.

    Args:
        calls: of a network, among them stripes; layers and scratch memory of convolutions change.
        inputs: as for :func:`.plan_memory`.
        outputs: as for :func:`.plan_memory`.
        improve: as for :func:`.plan_memory`.
    """
    plan = plan_memory(calls, inputs, outputs, improve)
    room = {call: plan.arena_bytes - SLACK_BYTES for call in calls}
    room |= {call: room[call] + call.saved_bytes for call in calls if isinstance(call, Stripe)}
    choices = [_Choice(call, member) for call in calls for member in call.members]
    left = [choice for choice in choices if len(choice.counts) > 1]
    left.sort(key=lambda choice: math.prod(choice.member.output.shape) * products(choice.member))
    while left:
        demands = needs(calls, inputs, outputs, range(len(calls)))
        tight = {call for call, need in zip(calls, demands, strict=True) if need > room[call]}
        larger = plan if tight else plan_memory(calls, inputs, outputs, improve)
        if not tight and larger.arena_bytes <= max(plan.arena_bytes, larger.lower_bound):
            return larger
        largest = max((choice for choice in left if choice.call in tight), key=_patch, default=None)
        choice = largest or left[0]  # else the one with the fewest products
        choice.shrink()
        if len(choice.counts) == 1:
            left.remove(choice)
    return plan


def _patch(choice: _Choice) -> int:
    return choice.member.scratch[0].size


def pixel_counts(layer: Convolution, pixels: int) -> list[int]:
    """How many pixels a convolution may compute at a time, the most first.

    The kernel of several pixels has sums of 24 bits for upper channels, and outputs with the whole
    range of int8. It computes three pixels where their number is odd.

    Args:
        layer: of the convolution.
        pixels: of an image or of a line.
    """
    fits = layer.narrow and layer.full and not layer.plain
    if pixels == 1 or not fits or layer.output.channels % GROUP:
        return [1]
    biases = layer.channels.values[:, 0]
    reach = np.abs(biases) + LARGEST_INPUT * np.abs(layer.weights.values).sum(axis=2).reshape(-1)
    if reach[1::2].max() >= _UPPER_LIMIT:
        return [1]
    return [3, 2, 1] if pixels % 2 else [2, 1]


class _Choice:
    """A convolution that may compute some pixels at a time.

    Attributes:
        call: the call, or the stripe that it is in.
        member: the call.
        counts: of pixels, the largest first; the first one is chosen. Empty if there is no choice.
    """

    def __init__(self, call: Call, member: Call) -> None:
        self.call, self.member = call, member
        self.counts: list[int] = []
        layer = member.arguments[0]
        if not isinstance(layer, Convolution) or member.kernel != "convolve":
            return
        self._window_bytes = member.scratch[0].size
        pixels = math.prod(member.output.shape[1:3])
        if isinstance(call, Stripe):
            pixels = line_pixels(call, member)
        self.counts = pixel_counts(layer, pixels)
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
        patch.size = self._window_bytes * self.counts[0]
        if isinstance(self.call, Stripe):
            scratches = [block for stage in self.call.stages for block in stage.call.scratch]
            self.call.shared.size = max(block.size for block in scratches)
