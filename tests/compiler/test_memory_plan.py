# SPDX-License-Identifier: Apache-2.0
"""The planner: nothing that is needed at once collides, and the arena is near the lower bound."""

import zlib

import numpy as np
import pytest
from single_operators import MAKERS

from m3net_tf.compiler.calls import Block, Call, packed
from m3net_tf.compiler.network import compile_network
from m3net_tf.compiler.plan import SLACK_BYTES, plan_memory


def random_calls(rng):
    """Calls that each read one or two of the last tensors and write a new one."""
    first = packed(Block("input", int(rng.integers(4, 400))), (1,))
    views, calls = [first], []
    for number in range(int(rng.integers(2, 14))):
        inputs = [views[int(rng.integers(max(0, len(views) - 3), len(views)))] for _ in range(2)]
        output = packed(Block(f"tensor{number}", int(rng.integers(4, 400))), (1,))
        scratch = [Block("scratch", int(rng.integers(1, 64)))] if rng.random() < 0.3 else []
        calls.append(Call("copy", "", [*inputs, output, *scratch], inputs, output))
        views.append(output)
    return calls, [first], [views[-1]]


@pytest.mark.parametrize("seed", range(20))
def test_blocks_that_live_at_once_lie_apart(seed):
    calls, inputs, outputs = random_calls(np.random.default_rng(seed))
    plan = plan_memory(calls, inputs, outputs)
    for one in plan.lives:
        assert plan.places[one.block] % 4 == 0
        assert plan.places[one.block] + one.size + SLACK_BYTES <= plan.arena_bytes
        for other in plan.lives:
            if one is other or one.first > other.last or other.first > one.last:
                continue
            start, end = plan.places[one.block], plan.places[one.block] + one.size
            at = plan.places[other.block]
            assert end <= at or at + other.size <= start
    assert plan.lower_bound <= plan.arena_bytes
    assert plan.ratio < 1.25


def test_the_same_calls_get_the_same_places():
    for kind in ("CONV_2D", "ADD", "CONCATENATION"):
        tflite = MAKERS[kind](np.random.default_rng(zlib.crc32(kind.encode())))
        first, second = compile_network(tflite).plan, compile_network(tflite).plan
        assert list(first.places.values()) == list(second.places.values())
