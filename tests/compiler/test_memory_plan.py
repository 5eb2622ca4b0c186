# SPDX-License-Identifier: Apache-2.0
"""The planner: nothing that is needed at once collides, and the arena is near the lower bound."""

import zlib

import numpy as np
import pytest
from single_operators import MAKERS

from m3net_tf.compiler.calls import Block, Call, packed
from m3net_tf.compiler.network import compile_network
from m3net_tf.compiler.plan import SLACK_BYTES, Placing, plan_memory
from m3net_tf.compiler.solver import solve


def random_calls(rng, most=14):
    """Calls that each read one or two of the last tensors and write a new one."""
    first = packed(Block("input", int(rng.integers(4, 400))), (1,))
    views = [first]
    calls = []
    for number in range(int(rng.integers(2, most))):
        inputs = [views[int(rng.integers(max(0, len(views) - 3), len(views)))] for _ in range(2)]
        output = packed(Block(f"tensor{number}", int(rng.integers(4, 400))), (1,))
        scratch = [Block("scratch", int(rng.integers(1, 64)))] if rng.random() < 0.3 else []
        calls.append(Call("copy", "", "", "", [*inputs, output, *scratch], inputs, output))
        views.append(output)
    return calls, [first], [views[-1]]


@pytest.mark.parametrize("seed", range(20))
def test_blocks_that_live_at_once_lie_apart(seed):
    calls, inputs, outputs = random_calls(np.random.default_rng(seed))
    plan = plan_memory(calls, inputs, outputs)
    require_apart(plan)
    assert plan.lower_bound <= plan.arena_bytes
    assert plan.ratio < 1.25


def require_apart(plan):
    for one in plan.lives:
        assert plan.places[one.block] % 4 == 0
        assert plan.places[one.block] + one.size + SLACK_BYTES <= plan.arena_bytes
        for other in plan.lives:
            if one is other or one.first > other.last or other.first > one.last:
                continue
            start = plan.places[one.block]
            end = plan.places[one.block] + one.size
            at = plan.places[other.block]
            assert end <= at or at + other.size <= start


def test_blocks_that_end_too_high_get_an_earlier_turn():
    for seed in (6, 10, 31):
        calls, inputs, outputs = random_calls(np.random.default_rng(seed), most=150)
        assert plan_memory(calls, inputs, outputs).ratio == 1


@pytest.mark.parametrize("seed", range(8))
def test_the_solver_finds_the_optimum(seed):
    """Its distances between blocks are the planner's."""
    pytest.importorskip("ortools", reason="the solver needs pip install -e '.[solver]'")
    calls, inputs, outputs = random_calls(np.random.default_rng(seed))
    for call in calls:
        call.slack[0] = int(np.random.default_rng(seed).integers(-40, 200))
    plan = plan_memory(calls, inputs, outputs)
    solved, again = (plan_memory(calls, inputs, outputs, solve) for _ in range(2))
    assert plan.lower_bound <= solved.lower_bound == solved.arena_bytes <= plan.arena_bytes
    assert list(solved.places.values()) == list(again.places.values())


def test_the_solver_keeps_blocks_apart():
    """It has to place all blocks itself, as it gets a plan that wastes memory."""
    pytest.importorskip("ortools", reason="the solver needs pip install -e '.[solver]'")

    def from_a_pile(problem, _):
        places = {}
        size = 0
        for life in problem.lives:
            places[life.block] = size
            size += life.size
        return solve(problem, Placing(places, size, problem.lower_bound))

    plan = plan_memory(*random_calls(np.random.default_rng(0)), from_a_pile)
    require_apart(plan)
    assert plan.planner.startswith("CP-SAT")
    assert plan.arena_bytes == plan.lower_bound


def test_the_same_calls_get_the_same_places():
    for kind in ("CONV_2D", "ADD", "CONCATENATION"):
        tflite = MAKERS[kind](np.random.default_rng(zlib.crc32(kind.encode())))
        first = compile_network(tflite).plan
        second = compile_network(tflite).plan
        assert list(first.places.values()) == list(second.places.values())
