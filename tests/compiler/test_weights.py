# SPDX-License-Identifier: Apache-2.0
"""Forms of a convolution's weights, pixels that share them, and constants that are stored once."""

import collections
import dataclasses
import itertools
import math
from collections.abc import Iterator

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from emulated import Case, run_cases, why_not
from reference import random_inputs, run_micro
from single_operators import SAME, VALID, Item, write_model, write_network
from test_rewrites import concatenate, conv, depthwise

from m3net_tf.compiler.emit import emit
from m3net_tf.compiler.goals import GOALS, Goal
from m3net_tf.compiler.host import build_host
from m3net_tf.compiler.network import CompiledNetwork, compile_network
from m3net_tf.compiler.pixels import (
    line_counts,
    line_direction,
    line_scratch,
    patch_windows,
    pixel_counts,
)
from m3net_tf.compiler.stripes import COLUMNS, ROWS
from m3net_tf.compiler.structures import Factor
from m3net_tf.compiler.weights import BLOCKS, PLAIN_BLOCK, channel_rows, convolution_blocks
from m3net_tf.runtime.interpreter import tflm_unavailable_reason

BLOCK = BLOCKS[0]
OTHERS = Goal(winograd_bytes=0)


def convolution(weights: np.ndarray, size: tuple[int, int] = (6, 6), stride: int = 1) -> bytes:
    """A convolution with padding; weights (output channels, rows, columns, channels)."""
    source = Item((1, *size, weights.shape[3]), 0.1, 3)
    lengths = [-(-length // stride) for length in size]
    output = Item((1, *lengths, weights.shape[0]), 0.1 * weights.shape[3], -2)
    filters = Item(weights.shape, 0.01, values=weights.astype(np.int8))
    bias = np.random.default_rng(0).integers(-5000, 5000, len(weights)).astype(np.int32)
    options = schema.Conv2DOptionsT(padding=SAME, strideH=stride, strideW=stride)
    inputs = [source, filters, Item((len(weights),), values=bias)]
    return write_model("CONV_2D", inputs, [output], options)


def extreme_convolution() -> bytes:
    """One whose weights are all -128, which no twin can hold."""
    return convolution(np.full((5, 3, 3, 6), -128))


@pytest.mark.parametrize(
    ("weights", "form"),
    [
        ([[-128] * 4, [-127] * 4], BLOCK),
        ([[-1] * 4, [-128] * 4], PLAIN_BLOCK),  # the upper one would be -129
        ([[0] * 4, [-128] * 4], BLOCK),
        ([[1] * 9000, [127] * 9000], BLOCK),
    ],
)
def test_weights_have_twins_where_all_fit(weights, form):
    blocks = convolution_blocks(np.array(weights))
    assert blocks.ctype == form
    assert blocks.size == 4 * -(-len(weights[0]) // 4) * 4  # a byte for each


def test_pixels_share_weights_where_the_arena_has_room():
    source = Item((1, 8, 8, 4), 0.1)
    wide, large = conv(source, 64)
    narrow, small = conv(large, 4)
    last, end = conv(small, 4)
    tflite = write_network([wide, narrow, last], [end])
    network = compile_network(tflite, goal=Goal(least_saved=1))
    pixels = [call.arguments[0].pixels for call in network.calls]
    assert pixels[-1] == 4 and 2 in pixels  # those that need the most memory have windows of bytes
    assert network.plan.arena_bytes == network.plan.lower_bound


def test_ram_is_for_the_constants_that_a_run_reads_most():
    source = Item((1, 8, 8, 4), 0.1)
    often, large = conv(source, 64)
    seldom, small = conv(large, 4, window=8, padding=schema.Padding.VALID)
    tflite = write_network([often, seldom], [small])
    first, second = (call.arguments[0].in_memory() for call in compile_network(tflite).calls)
    both = [first.weights, first.channels]
    for spare in (0, second.channels.size):
        granted = sum(array.size for array in both) + spare
        network = compile_network(tflite, goal=Goal(ram_bytes=granted))
        expected = both + ([second.channels] if spare else [])
        assert network.in_ram == {array.key: array.size for array in expected}
        assert emit(network, "some").source.count("M3NET_IN_RAM static const") == len(expected)


def test_ram_is_for_weights_of_lines_too():
    step, end = depthwise(Item((1, 8, 8, 4), 0.1), 3)
    network = compile_network(write_network([step], [end]), goal=Goal(ram_bytes=1 << 10))
    assert network.calls[0].arguments[0].lines
    assert len(network.in_ram) == 2
    assert emit(network, "some").source.count("M3NET_IN_RAM static const") == 2


CORES = ["cortex-m3", "cortex-m4", "cortex-m33", "cortex-m55"]


@pytest.fixture(scope="module")
def cases():
    """Convolutions of all lengths of windows, with each number of pixels that they may take."""
    rng = np.random.default_rng(5)
    found = []
    for channels in (3, 4, 8, 12):  # by four, in a loop of its own
        step, end = depthwise(Item((1, *rng.integers(1, 6, 2).tolist(), channels), 0.1, 5), 3)
        tflite = write_network([step], [end])
        network = compile_network(tflite)
        case = Case(f"depthwise_{channels}", network, random_inputs(rng, network))
        found.append((tflite, case))
    directions = collections.Counter[int]()
    for number, tflite in enumerate(depthwise_lines(rng)):
        for axis in (ROWS, COLUMNS):
            network = with_lines(compile_network(tflite), axis)
            layer = network.calls[0].arguments[0]
            directions[layer.lines] += 1
            case = Case(f"lines_{number}_{axis}", network, random_inputs(rng, network))
            found.append((tflite, case))
    assert min(directions[1], directions[2]) > 3
    forms = collections.Counter[tuple[int, int]]()  # by stride and dilation
    in_place = 0
    for number, tflite in enumerate(windows_in_a_line(rng)):
        layer = compile_network(tflite).calls[0].arguments[0]
        for count in line_counts(layer, None):
            network = with_line(compile_network(tflite), count)
            if count > 1:
                _, _, *strides, down, right, _, _ = dataclasses.astuple(layer.window)
                forms[max(strides), max(down, right)] += 1
            case = Case(f"line_{number}_{count}", network, random_inputs(rng, network))
            found.append((tflite, case))
        network = compile_network(tflite, goal=Goal(most_grown=9))  # the output over the input
        if network.calls[0].arguments[0].pixels > 1:
            in_place += 1
            case = Case(f"in_place_{number}", network, random_inputs(rng, network))
            found.append((tflite, case))
    assert in_place > 9
    assert min(forms[1, 1], forms[2, 1], forms[1, 2] + forms[1, 3]) > 3
    for columns in range(4, 8):
        tflite = depthwise_pair(columns)
        network = compile_network(tflite)
        for call in network.calls:
            image = call.arguments[0].input
            goal = call.arguments[0].output
            assert call.arguments[0].lines and goal.column_step == 2 * image.column_step
        found.append((tflite, Case(f"pair_{columns}", network, random_inputs(rng, network))))
    files = {"extreme": extreme_convolution()}
    # Windows of 1152 items, whose upper sums do not fit 24 bits together.
    files["large"] = convolution(np.full((6, 3, 3, 128), 127), (3, 3))
    files["large_by_parts"] = convolution(np.full((8, 3, 3, 128), 127), (3, 3))
    assert possible_pixels(compile_network(files["large_by_parts"], goal=OTHERS)) == [2, 1]
    for number, columns in enumerate((3, 8, 11, 15)):  # of an image of three colours
        weights = rng.integers(-127, 128, (4, 3, 3, 3))
        files[f"colours_{columns}"] = convolution(weights, (5, columns), 1 + number % 2)
    for number in range(30):
        channels = rng.integers(1, 11, 1) if number % 3 == 0 else 4 * rng.integers(1, 4, 1)
        shape = (*channels, *rng.integers(1, 4, 2), *rng.integers(1, 24, 1))
        size = tuple(int(length) for length in rng.integers(1, 6, 2))
        files[f"convolution_{number}"] = convolution(rng.integers(-127, 128, shape), size)
    most = collections.Counter[int]()
    for name, tflite in files.items():
        network = compile_network(tflite, goal=GOALS["flash"])
        found.append((tflite, Case(f"{name}_small", network, random_inputs(rng, network))))
        for pixels in possible_pixels(compile_network(tflite, goal=OTHERS)):
            most[pixels] += 1
            network = with_pixels(compile_network(tflite, goal=OTHERS), pixels)
            inputs = random_inputs(rng, network)
            if name.startswith("large"):
                inputs = [np.full_like(inputs[0], 64)]
            found.append((tflite, Case(f"{name}_{pixels}", network, inputs)))
    assert min(most[2], most[3], most[4]) > 3
    return found


def depthwise_lines(rng: np.random.Generator) -> Iterator[bytes]:
    """Depthwise convolutions of 3 x 3 pixels, of all lengths of lines and some strides."""
    all_strides = ((1, 1), (2, 2), (3, 3), (2, 1))  # the last ones not by lines
    for strides, padding, rows in itertools.product(all_strides, (SAME, VALID), range(4, 9)):
        columns = 12 - rows if strides == (1, 1) else 20 - rows
        channels = 8 if rows % 2 else 20
        options = schema.DepthwiseConv2DOptionsT()
        options.strideH, options.strideW = strides
        options.depthMultiplier = options.dilationHFactor = options.dilationWFactor = 1
        options.padding = padding
        source = Item((1, rows, columns, channels), 0.1, int(rng.integers(-128, 128)))
        filters = Item((1, 3, 3, channels), [0.01] * channels, axis=3)
        filters.values = rng.integers(-127, 128, filters.shape).astype(np.int8)
        bias = Item((channels,), values=rng.integers(-999, 999, channels).astype(np.int32))
        lost = 0 if padding == SAME else 2
        lengths = zip((rows, columns), strides, strict=True)
        size = [-(-(length - lost) // stride) for length, stride in lengths]
        end = Item((1, *size, channels), 0.1, -7)
        yield write_network([("DEPTHWISE_CONV_2D", [source, filters, bias], [end], options)], [end])


def windows_in_a_line(rng: np.random.Generator) -> Iterator[bytes]:
    """Depthwise convolutions of 1 x n and n x 1 pixels, with strides, dilations and padding."""
    for number in range(40):
        stride, dilation = ((1, 1), (1, 1), (2, 1), (1, int(rng.integers(2, 4))))[number % 4]
        taps, length, others = int(rng.integers(3, 16)), int(rng.integers(6, 40)), number % 3
        if stride == 2:  # from nine taps on
            taps, length = 9 + taps // 2, 24 + length
        channels = int(rng.integers(1, 10)) + (16 if number % 5 == 2 else 0)
        padding = VALID if length >= (taps - 1) * dilation + 3 and number % 5 else SAME
        lost = (taps - 1) * dilation if padding == VALID else 0
        outputs = -(-(length - lost) // stride)
        line = [(length, outputs, stride, dilation, taps), (others + 1, others + 1, 1, 1, 1)]
        rows, columns = line if number % 2 else reversed(line)
        options = schema.DepthwiseConv2DOptionsT(padding=padding, depthMultiplier=1)
        options.strideH, options.strideW = rows[2], columns[2]
        options.dilationHFactor, options.dilationWFactor = rows[3], columns[3]
        source = Item((1, rows[0], columns[0], channels), 0.1, int(rng.choice([-128, 0, 127, 9])))
        filters = Item((1, rows[4], columns[4], channels), [0.01] * channels, axis=3)
        filters.values = rng.integers(-127, 128, filters.shape).astype(np.int8)
        if number % 7 == 0:
            filters.values = rng.choice(np.array([-128, 127], np.int8), filters.shape)
        bias = Item((channels,), values=rng.integers(-9999, 9999, channels).astype(np.int32))
        end = Item((1, rows[1], columns[1], channels), float(rng.uniform(0.02, 0.4)), -7)
        if number % 6 == 0:
            end.zero_point = -128
        yield write_network([("DEPTHWISE_CONV_2D", [source, filters, bias], [end], options)], [end])


def with_line(network: CompiledNetwork, count: int) -> CompiledNetwork:
    """A depthwise convolution with some pixels of a line at a time, scratch memory at the end."""
    (call,) = network.calls
    layer = call.arguments[0]
    call.arguments[0] = dataclasses.replace(layer, pixels=count)
    (scratch,) = call.scratch
    if count > 1:
        scratch.size = max(scratch.size, line_scratch(layer, count))
    plan = network.plan
    plan.places[call.output.block] = -(-plan.arena_bytes // 4) * 4
    plan.places[scratch] = -(-(plan.places[call.output.block] + call.output.block.size) // 4) * 4
    arena_bytes = plan.places[scratch] + scratch.size
    return dataclasses.replace(network, plan=dataclasses.replace(plan, arena_bytes=arena_bytes))


def depthwise_pair(columns: int) -> bytes:
    """Two depthwise convolutions that write into a concatenation."""
    source = Item((1, 5, columns, 8), 0.1, 5)
    first, one = depthwise(source, 3)
    second, other = depthwise(source, 3)
    both, end = concatenate([one, other])
    return write_network([first, second, both], [end])


def with_lines(network: CompiledNetwork, axis: int) -> CompiledNetwork:
    """A depthwise convolution by lines where it can be, with its output behind the arena."""
    (call,) = network.calls
    layer = call.arguments[0]
    plan = network.plan
    # The steps along a row of the image are equal only if it is as long as the output's.
    call.arguments[0] = dataclasses.replace(layer, lines=line_direction(layer, axis))
    output = call.output.block
    plan.places[output] = -(-plan.arena_bytes // 4) * 4
    arena_bytes = plan.places[output] + output.size + 4
    return dataclasses.replace(network, plan=dataclasses.replace(plan, arena_bytes=arena_bytes))


def test_channels_with_equal_outputs_have_a_factor_of_zero():
    spread = np.array([1000, 0, 1 << 20])
    bias = np.array([3, -5000, 7])
    factors = [Factor(1 << 30, -25), Factor(1 << 30, 0), Factor(1 << 30, -9)]
    rows, narrow = channel_rows(bias, factors, spread, 11)
    assert narrow
    assert rows.values[:3, 1].tolist() == [0, 0, 1 << 30]
    assert rows.values[:2, 2].tolist() == [2 * 11 + 1, 2 * -128 + 1]


def possible_pixels(network: CompiledNetwork) -> list[int]:
    (call,) = network.calls
    return pixel_counts(call.arguments[0], math.prod(call.output.shape[1:3]))


def with_pixels(network: CompiledNetwork, pixels: int) -> CompiledNetwork:
    """A convolution that computes some pixels at a time, with its patch behind the arena."""
    (call,) = network.calls
    layer = call.arguments[0]
    (patch,) = call.scratch
    plan = network.plan
    patch.size = -(-layer.weights.values.shape[2] // 4) * 4 * 2
    call.arguments[0] = dataclasses.replace(layer, pixels=pixels)
    plan.places[patch] = plan.arena_bytes
    patch.size *= patch_windows(pixels)
    arena_bytes = plan.arena_bytes + patch.size
    return dataclasses.replace(network, plan=dataclasses.replace(plan, arena_bytes=arena_bytes))


@pytest.fixture(scope="module")
def expected(cases):
    if reason := tflm_unavailable_reason():
        pytest.skip(reason)
    return [run_micro(tflite, case.inputs, 1)[0].reshape(-1) for tflite, case in cases]


def test_convolutions_on_this_machine(cases, expected, tmp_path):
    hosts = build_host({case.name: case.network for _, case in cases}, tmp_path)
    for (_, case), output in zip(cases, expected, strict=True):
        np.testing.assert_array_equal(hosts[case.name].run(*case.inputs)[0].reshape(-1), output)


@pytest.mark.slow
@pytest.mark.skipif(bool(why_not()), reason=why_not() or "an emulator is there")
@pytest.mark.parametrize("core", CORES)
def test_convolutions_on_an_emulated_core(core, cases, expected, tmp_path):
    outcomes = run_cases([case for _, case in cases], tmp_path, core)
    for (_, case), outcome, output in zip(cases, outcomes, expected, strict=True):
        np.testing.assert_array_equal(outcome.output, output, case.name)


def test_equal_layers_are_one_structure():
    first, second, *ends = (Item((1, 2, 3, 4), 0.5) for _ in range(4))
    steps = [("ABS", [first], [ends[0]], None), ("ABS", [second], [ends[1]], None)]
    source = emit(compile_network(write_network(steps, ends)), "one").source
    assert source.count("static const m3net_loop") == 1
    assert source.count("m3net_look_up(&one_layer_0,") == 2
