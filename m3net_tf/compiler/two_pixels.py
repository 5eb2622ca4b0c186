# SPDX-License-Identifier: Apache-2.0
"""Which convolutions compute two pixels at a time, so that each weight is loaded once for both.

The kernel then gathers two windows. It does so where the arena is no larger for it, or no larger
than if the lines of a stripe did not share their memory.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

from m3net_tf.compiler.calls import Call, View
from m3net_tf.compiler.plan import SLACK_BYTES, Improve, Plan, needs, plan_memory
from m3net_tf.compiler.stripes import Stripe, line_pixels, products
from m3net_tf.compiler.structures import Convolution


def share_weights(
    calls: Sequence[Call],
    inputs: Sequence[View],
    outputs: Sequence[View],
    improve: Improve | None = None,
) -> Plan:
    """Plan the memory, with two windows for each convolution for which there is room.

    Args:
        calls: of a network, among them stripes; layers and scratch memory of convolutions change.
        inputs: as for :func:`.plan_memory`.
        outputs: as for :func:`.plan_memory`.
        improve: as for :func:`.plan_memory`.
    """
    plan = plan_memory(calls, inputs, outputs, improve)
    pairs = [(call, member) for call in calls for member in call.members if _has_two(call, member)]
    pairs.sort(key=lambda pair: math.prod(pair[1].output.shape) * products(pair[1]))
    for call, member in pairs:
        _set_pixels(call, member, 2)
    room = {call: plan.arena_bytes - SLACK_BYTES for call in calls}
    room |= {call: room[call] + call.saved_bytes for call in calls if isinstance(call, Stripe)}
    while pairs:
        demands = needs(calls, inputs, outputs, range(len(calls)))
        tight = {call for call, need in zip(calls, demands, strict=True) if need > room[call]}
        larger = plan if tight else plan_memory(calls, inputs, outputs, improve)
        if not tight and larger.arena_bytes <= max(plan.arena_bytes, larger.lower_bound):
            return larger
        cheapest = next((pair for pair in pairs if pair[0] in tight), pairs[0])
        _set_pixels(*cheapest, 1)
        pairs.remove(cheapest)
    return plan


def _has_two(call: Call, member: Call) -> bool:
    """Whether a convolution has two pixels to compute, and weights that two pixels can share."""
    layer = member.arguments[0]
    if not isinstance(layer, Convolution) or member.kernel != "convolve" or layer.plain:
        return False
    if isinstance(call, Stripe):
        return line_pixels(call, member) > 1
    return math.prod(member.output.shape[1:3]) > 1


def _set_pixels(call: Call, member: Call, pixels: int) -> None:
    """Give a convolution's patch room for a number of windows."""
    (patch,) = member.scratch
    for form in filter(None, (member, member.backward)):
        layer = form.arguments[0]
        assert isinstance(layer, Convolution)
        size = patch.size // layer.pixels * pixels
        form.arguments[0] = dataclasses.replace(layer, pixels=pixels)
    patch.size = size
    if isinstance(call, Stripe):
        call.shared.size = max(block.size for stage in call.stages for block in stage.call.scratch)
