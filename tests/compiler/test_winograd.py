# SPDX-License-Identifier: Apache-2.0
"""Convolutions by Winograd's F(4, 3): TFLite Micro's bytes, and where the compiler takes them."""

import collections
import dataclasses
import math

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from emulated import Case, run_cases, run_checked, why_not
from reference import random_inputs, run_micro
from single_operators import SAME, VALID, Item, write_network
from test_rewrites import conv

from m3net_tf.compiler.brief import usual_layer
from m3net_tf.compiler.calls import Call
from m3net_tf.compiler.emit import emit
from m3net_tf.compiler.folder import network_facts, report_lines
from m3net_tf.compiler.goals import CYCLES, GOALS, Goal
from m3net_tf.compiler.network import CompiledNetwork, compile_network
from m3net_tf.compiler.stripes import Stripe
from m3net_tf.compiler.winograd import (
    PIXELS,
    can_be_winograd,
    winograd_layer,
    winograd_layers,
    winograd_scratch,
)
from m3net_tf.runtime.interpreter import tflm_unavailable_reason

LIMIT = 1 << 28  # of a sum, which the kernel has eight times
OTHERS = Goal(winograd_bytes=0)
ROOM = Goal(most_grown=1)
STRIPES = Goal(least_saved=0, most_added=math.inf, most_grown=1)


@dataclasses.dataclass(frozen=True)
class Shape:
    """A convolution's batches, rows, columns, input channels and output channels."""

    batches: int
    rows: int
    columns: int
    depth: int
    channels: int


def convolution(
    shape: Shape, weights: np.ndarray, bias: np.ndarray, padding=SAME, zeros=(0, 0), scale=0.0
) -> bytes:
    """The file of a convolution of 3 x 3 windows; by default its outputs have the whole range."""
    source = Item((shape.batches, shape.rows, shape.columns, shape.depth), 0.1, zeros[0])
    filters = Item(weights.shape, 0.01, values=weights.astype(np.int8))
    lost = 0 if padding == SAME else 2
    size = (shape.batches, shape.rows - lost, shape.columns - lost, shape.channels)
    output = Item(size, scale or 0.02 * weights.shape[3], zeros[1])
    options = schema.Conv2DOptionsT(padding=padding, strideH=1, strideW=1)
    inputs = [source, filters, Item((shape.channels,), values=bias.astype(np.int32))]
    return write_network([("CONV_2D", inputs, [output], options)])


def random_convolution(rng: np.random.Generator) -> bytes:
    """A convolution of any size, padding and zero points; a third has extreme weights."""
    padding = SAME if rng.random() < 0.6 else VALID
    least = 1 if padding == SAME else 3
    rows, columns = (int(size) for size in rng.integers(least, least + 13, 2))
    depth, channels = (4 * int(count) for count in rng.integers(1, 6, 2))
    shape = Shape(int(rng.integers(1, 3)), rows, columns, depth, channels)
    weights = rng.integers(-127, 128, (channels, 3, 3, depth))
    if rng.random() < 0.3:
        weights = rng.choice([-127, 127], weights.shape)
        weights[0::2] -= weights[0::2] < 0  # -128 where a twin of 16 bits may have it
    zeros = [int(rng.choice([-128, 127, 0, 7, -90])) for _ in range(2)]
    bias = rng.integers(-5000, 5000, channels)
    return convolution(shape, weights, bias, padding, (zeros[0], zeros[1]))


def grouped_convolution(rng: np.random.Generator) -> bytes:
    """Two groups: each reads and writes some of the channels."""
    shape = Shape(1, 5, 7, 8, 8)
    return convolution(shape, rng.integers(-127, 128, (8, 3, 3, 4)), np.arange(8))


def largest_convolution(excess: int) -> bytes:
    """One whose largest sum, with inputs of -128, is the limit plus some number."""
    weights = np.full((16, 3, 3, 16), -127)
    bias = np.full(16, LIMIT + excess - 128 * 127 * weights[0].size)
    return convolution(Shape(1, 4, 8, 16, 16), weights, bias, scale=0.001 * LIMIT / 90)


def with_winograd(network: CompiledNetwork, pixels: int) -> CompiledNetwork:
    """All calls in this form, with their scratch memory behind the arena."""
    plan = network.plan
    end = -(-plan.arena_bytes // 4) * 4
    for call in network.calls:
        layer = call.arguments[0]
        assert can_be_winograd(layer)
        (patch,) = call.scratch
        patch.size = winograd_scratch(layer, pixels)
        plan.places[patch] = end
        end += patch.size
        call.arguments[0] = winograd_layer(usual_layer(layer), pixels)
    return dataclasses.replace(network, plan=dataclasses.replace(plan, arena_bytes=end))


@pytest.fixture(scope="module")
def cases() -> list[tuple[bytes, Case]]:
    """Convolutions in this form, and networks in which the compiler chose it."""
    rng = np.random.default_rng(11)
    files = {f"random_{number}": random_convolution(rng) for number in range(16)}
    files["grouped"] = grouped_convolution(rng)
    files["largest"] = largest_convolution(-1)
    found = []
    for number, (name, tflite) in enumerate(files.items()):
        network = with_winograd(compile_network(tflite, goal=OTHERS), PIXELS[number % 2])
        inputs = random_inputs(rng, network)
        if name == "largest":
            inputs = [np.full_like(inputs[0], -128)]
        found.append((tflite, Case(name, network, inputs)))
    for name, tflite in (("even", blocks(12)), ("odd", blocks(15))):
        network = compile_network(tflite, goal=STRIPES)
        assert any(isinstance(call, Stripe) for call in network.calls)
        assert winograd_layers(network.calls)
        found.append((tflite, Case(name, network, random_inputs(rng, network))))
    return found


def blocks(columns: int, seed: int = 1) -> bytes:
    """A residual block whose convolutions can run line by line; seed 0: with equal weights."""
    source = Item((1, 12, columns, 16), 0.1, 3)
    first, one = conv(source, 16, 3)
    second, two = conv(one, 16, 3, rng=np.random.default_rng(seed or 16))
    total = Item(source.shape, 0.2, -4)
    add = ("ADD", [source, two], [total], schema.AddOptionsT())
    return write_network([first, second, add], [total])


@pytest.fixture(scope="module")
def expected(cases):
    if reason := tflm_unavailable_reason():
        pytest.skip(reason)
    return [run_micro(tflite, case.inputs, 1)[0].reshape(-1) for tflite, case in cases]


@pytest.mark.slow
def test_the_bytes_on_this_machine(cases, expected, tmp_path):
    outputs = run_checked([case for _, case in cases], tmp_path, "-DM3NET_ENGINE_WINOGRAD=1")
    for (_, case), output, right in zip(cases, outputs, expected, strict=True):
        np.testing.assert_array_equal(output, right, case.name)


@pytest.mark.skipif(bool(why_not()), reason=why_not() or "an emulator is there")
@pytest.mark.parametrize("core", ["cortex-m4", "cortex-m55"])  # the other one has its own kernels
def test_the_bytes_on_an_emulated_core(core, cases, expected, tmp_path):
    outcomes = run_cases([case for _, case in cases], tmp_path, core)
    for (_, case), outcome, right in zip(cases, outcomes, expected, strict=True):
        np.testing.assert_array_equal(outcome.output, right, case.name)


def test_a_sum_that_may_reach_the_limit_keeps_the_other_kernel():
    below, at = (compile_network(largest_convolution(excess), goal=ROOM) for excess in (-1, 0))
    assert winograd_layers(below.calls) and not winograd_layers(at.calls)
    assert not can_be_winograd(at.calls[0].arguments[0])


@pytest.mark.parametrize("change", ["window", "stride", "depth", "channels", "range"])
def test_other_convolutions_keep_their_kernels(change):
    depth, channels = 6 if change == "depth" else 8, 6 if change == "channels" else 8
    size = 5 if change == "window" else 3
    stride = 2 if change == "stride" else 1
    options = schema.Conv2DOptionsT(padding=SAME, strideH=stride, strideW=stride)
    if change == "range":
        options.fusedActivationFunction = schema.ActivationFunctionType.RELU
    source = Item((1, 16, 16, depth), 0.1, 3)
    filters = Item((channels, size, size, depth), 0.01)
    filters.values = np.random.default_rng(0).integers(-127, 128, filters.shape).astype(np.int8)
    output = Item((1, 16 // stride, 16 // stride, channels), 0.2, 0)
    tflite = write_network([("CONV_2D", [source, filters, None], [output], options)])
    assert not winograd_layers(compile_network(tflite).calls)


def used(network: CompiledNetwork) -> collections.Counter[str]:
    """How many calls there are of each function."""
    return collections.Counter(member.function for member in members(network))


def members(network: CompiledNetwork) -> list[Call]:
    return [member for call in network.calls for member in call.members]


def test_goals_decide_by_flash_and_by_the_arena():
    tflite = blocks(16)
    assert used(compile_network(tflite, goal=ROOM))["convolve_winograd"] == 2
    assert used(compile_network(tflite, goal=GOALS["flash"]))["convolve_plain"] == 2
    weights = 9 * 16 * 16
    one = dataclasses.replace(ROOM, winograd_bytes=2 * 3 * weights - 1)
    network = compile_network(tflite, goal=one)
    assert used(network)["convolve_winograd"] == 1
    equal = compile_network(blocks(16, seed=0), goal=one)
    assert used(equal)["convolve_winograd"] == 2  # their weights are stored once
    assert [layer["added_bytes"] for layer in winograd_layers(network.calls)] == [3 * weights]
    sizes = [
        emit(each, "one").constant_bytes for each in (network, compile_network(tflite, goal=OTHERS))
    ]
    assert sizes[0] - sizes[1] == 3 * weights


def test_the_report_names_the_layers_and_their_flash(tmp_path):
    network = compile_network(blocks(16), goal=ROOM)
    facts = network_facts(network, emit(network, "one"))
    assert [layer["added_bytes"] for layer in facts["winograd"]] == [3 * 9 * 16 * 16] * 2
    text = "\n".join(report_lines(tmp_path, "one", facts))
    for layer in facts["winograd"]:
        assert f"{layer['name']}: {layer['added_bytes']} bytes" in text


def test_the_arena_grows_by_at_most_what_the_goal_allows():
    source = Item((1, 8, 8, 64), 0.1)
    step, end = conv(source, 64, 3)
    tflite = write_network([step], [end])
    before = compile_network(tflite, goal=OTHERS).arena_bytes
    grown = []
    for part in (0, 0.05, 1):
        network = compile_network(tflite, goal=dataclasses.replace(CYCLES, most_grown=part))
        assert network.arena_bytes <= (1 + part) * before
        grown.append(used(network)["convolve_winograd"])
    assert grown[-1] == 1
    assert grown == sorted(grown)


def test_small_images_keep_the_other_kernel():
    """Most outputs of a tile would lie outside the image."""
    for size, expected in (((16, 1), 0), ((16, 16), 1)):
        step, end = conv(Item((1, *size, 16), 0.1), 16, 3)
        network = compile_network(write_network([step], [end]), goal=ROOM)
        assert used(network)["convolve_winograd"] == expected
