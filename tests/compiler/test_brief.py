# SPDX-License-Identifier: Apache-2.0
"""The shorter requantisation gives the same bytes for every sum, and on emulated cores."""

import collections
from collections.abc import Iterator

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from emulated import Case, run_cases, why_not
from reference import random_inputs, run_micro
from single_operators import SAME, VALID, Item, write_network
from test_weights import possible_pixels, with_lines, with_pixels

from m3net_tf.compiler.brief import brief_layer
from m3net_tf.compiler.emit import emit
from m3net_tf.compiler.goals import GOALS, Goal
from m3net_tf.compiler.network import CompiledNetwork, compile_network
from m3net_tf.compiler.stripes import COLUMNS, ROWS
from m3net_tf.compiler.structures import Convolution, row_parts
from m3net_tf.runtime.interpreter import tflm_unavailable_reason

OTHERS = Goal(winograd_bytes=0)
#: M3NET_BRIEF_DEPTHWISE, M3NET_BRIEF_LOWER and _UPPER: shifts of a sum to the left.
LEFT = {3: 1, 4: 0, 12: 8}


def layer_of(
    rng: np.random.Generator,
    window: tuple[int, int, int],
    size: tuple[int, int],
    *,
    channels: int = 8,
    depthwise: bool = False,
    alike: bool = False,
    most: int = 127,
    stride: int = 1,
    padding: int = SAME,
    zero_point: int = -128,
) -> bytes:
    """A convolution of windows of (rows, columns, channels), by default with ReLU's outputs."""
    kind = "DEPTHWISE_CONV_2D" if depthwise else "CONV_2D"
    options = getattr(schema, "DepthwiseConv2DOptionsT" if depthwise else "Conv2DOptionsT")()
    options.padding, options.strideH, options.strideW = padding, stride, stride
    options.dilationHFactor = options.dilationWFactor = 1
    *lines, depth = window
    shape = (1, *lines, channels) if depthwise else (channels, *window)
    if depthwise:
        options.depthMultiplier, depth = 1, channels
    source = Item((1, *size, depth), 0.1, int(rng.integers(-128, 128)))
    scales = rng.uniform(0.005, 0.02, 1 if alike else channels).tolist()
    filters = Item(shape, scales[0] if alike else scales, axis=3 if depthwise else 0)
    filters.values = rng.integers(-most, most + 1, shape).astype(np.int8)
    items = int(np.prod(lines)) * (1 if depthwise else depth)
    bias = rng.integers(-most * items, most * items, channels).astype(np.int32)
    lost = [0 if padding == SAME else line - 1 for line in lines]
    lengths = [-(-(a - b) // stride) for a, b in zip(size, lost, strict=True)]
    end = Item((1, *lengths, channels), max(0.00025 * most * items**0.5, 0.1), zero_point)
    step = (kind, [source, filters, Item((channels,), values=bias)], [end], options)
    return write_network([step], [end])


def layer(network: CompiledNetwork) -> Convolution:
    (call,) = network.calls
    found = call.arguments[0]
    assert isinstance(found, Convolution)
    return found


def renewed(network: CompiledNetwork) -> CompiledNetwork:
    """With constants for the form that a layer has got after it was compiled."""
    (call,) = network.calls
    call.arguments[0] = brief_layer(layer(network), call.function)
    return network


def brief_outputs(sums: np.ndarray, row: list[int], usual_bias: int) -> np.ndarray:
    """As a kernel computes them, from the sums with the usual bias."""
    bias, multiplier, offset, _, right = row
    shifted = (sums + bias - usual_bias) << LEFT[right]
    assert np.abs(shifted).max() < 1 << 31
    product = ((shifted * multiplier + (1 << 31)) >> 32) + offset
    assert np.abs(product).max() < 1 << 31
    return np.clip(product >> right, -128, 127)


def usual_outputs(sums: np.ndarray, row: list[int]) -> np.ndarray:
    """TensorFlow Lite's arithmetic of a narrow channel: two roundings."""
    _, multiplier, offset, _, right = row
    product = (sums * multiplier + (1 << 30)) >> 31
    half = 1 << (right - 1)
    rounded = np.sign(product) * ((np.abs(product) + half) >> right)
    return np.clip(rounded + (offset >> right), -128, 127)


@pytest.mark.parametrize("depthwise", [False, True])
@pytest.mark.parametrize("alike", [False, True])
def test_outputs_are_equal_for_every_sum(depthwise, alike):
    rng = np.random.default_rng(3)
    compared = 0
    for depth in (1, 3, 12):
        tflite = layer_of(rng, (3, 3, depth), (5, 1), depthwise=depthwise, alike=alike)
        found = layer(compile_network(tflite, goal=OTHERS))
        assert found.brief
        usual, brief = row_parts(found.channels)
        weights = found.weights.values.reshape(8, -1)
        for row, short, each in zip(usual.tolist(), brief.tolist(), weights, strict=True):
            ends = np.array([-128 * each, 127 * each])
            least, most = row[0] + ends.min(axis=0).sum(), row[0] + ends.max(axis=0).sum()
            sums = np.arange(least, most + 1)
            expected = usual_outputs(sums, row)
            np.testing.assert_array_equal(brief_outputs(sums, short, row[0]), expected)
            compared += len(np.unique(expected))
    assert compared > 3 * 8 * 100


def test_only_what_is_proved_is_brief():
    rng = np.random.default_rng(4)
    rectified = layer_of(rng, (3, 3, 4), (5, 5))
    assert layer(compile_network(rectified, goal=OTHERS)).brief
    assert not layer(compile_network(rectified, goal=GOALS["flash"])).brief
    around_zero = layer_of(rng, (3, 3, 4), (5, 5), zero_point=3)
    assert not layer(compile_network(around_zero, goal=OTHERS)).brief
    six = layer_of(rng, (3, 3, 4), (5, 5), channels=6)
    assert not layer(compile_network(six, goal=OTHERS)).brief
    source = emit(compile_network(rectified, goal=OTHERS), "one").source
    assert source.count("#if M3NET_ENGINE_BRIEF\n") == 1


def networks() -> Iterator[tuple[str, bytes, CompiledNetwork]]:
    """Layers in each form that a kernel has for them."""
    rng = np.random.default_rng(6)
    for number in range(24):
        depth = int(rng.integers(1, 30))
        lines = (1, 1) if number % 2 else tuple(rng.integers(1, 4, 2).tolist())
        size = tuple(rng.integers(1, 6, 2).tolist())
        tflite = layer_of(rng, (*lines, depth), size, alike=number % 3 == 0)
        for pixels in {1, *possible_pixels(compile_network(tflite, goal=OTHERS))}:
            network = with_pixels(compile_network(tflite, goal=OTHERS), pixels)
            yield f"pixels_{number}_{pixels}", tflite, renewed(network)
    for number in range(4):  # windows that are added in parts
        tflite = layer_of(rng, (3, 3, 128), (3, 3), alike=number > 1, most=6)
        network = with_pixels(compile_network(tflite, goal=OTHERS), 1 + number % 2)
        yield f"parts_{number}_{1 + number % 2}", tflite, renewed(network)
    for number in range(24):
        size = (4 + number % 4, 4 + number // 6)
        stride, padding = 1 + number % 5 // 4, SAME if number % 3 else VALID
        tflite = layer_of(
            rng, (3, 3, 1), size, depthwise=True, most=70, stride=stride, padding=padding
        )
        for axis in (ROWS, COLUMNS):
            network = with_lines(compile_network(tflite), axis)
            yield f"lines_{number}_{axis}", tflite, renewed(network)
        yield f"usual_{number}", tflite, compile_network(tflite)


CORES = [
    pytest.param("cortex-m3", marks=pytest.mark.slow),
    "cortex-m4",
    pytest.param("cortex-m33", marks=pytest.mark.slow),
    pytest.param("cortex-m55", marks=pytest.mark.slow),
]


@pytest.mark.slow
@pytest.mark.skipif(
    bool(why_not() or tflm_unavailable_reason()),
    reason=why_not() or tflm_unavailable_reason() or "an emulator is there",
)
@pytest.mark.parametrize("core", CORES)
def test_outputs_on_an_emulated_core(core, tmp_path):
    rng = np.random.default_rng(7)
    forms = collections.Counter[str]()
    cases, expected = [], []
    for name, tflite, network in networks():
        found = layer(network)
        if found.brief:
            kind = "parts" if "parts" in name else network.calls[0].function
            forms[f"{kind} {found.pixels} {found.alike}"] += 1
        inputs = random_inputs(rng, network)
        cases.append(Case(name, network, inputs))
        expected.append(run_micro(tflite, inputs, 1)[0].reshape(-1))
    for form in ("convolve 1 False", "convolve 1 True", "convolve 2 False", "convolve 3 False"):
        assert forms[form] > 2, forms
    assert forms["convolve 4 False"] > 2 and forms["convolve_depthwise 1 False"] > 20, forms
    assert forms["parts 1 False"] + forms["parts 1 True"] == 2, forms
    assert forms["parts 2 False"] + forms["parts 2 True"] == 2, forms
    outcomes = run_cases(cases, tmp_path, core)
    for case, outcome, output in zip(cases, outcomes, expected, strict=True):
        np.testing.assert_array_equal(outcome.output, output, case.name)
