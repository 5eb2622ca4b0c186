# SPDX-License-Identifier: Apache-2.0
"""The compiler prefers forms of a layer in the order of their modelled cycles."""

import dataclasses
import itertools
from pathlib import Path

import numpy as np
import pytest
from single_operators import SAME, VALID, Item, write_network
from test_rewrites import conv, depthwise

from m3net_tf.boards.builds.build import build_compiled
from m3net_tf.boards.emulation.cycles import FLASHES, run_cycles
from m3net_tf.boards.emulation.starting import why_no_emulation
from m3net_tf.boards.measure.layers import ModelledLayer, kernels_of, modelled_layers
from m3net_tf.compiler.engines import COMPILED
from m3net_tf.compiler.goals import Goal
from m3net_tf.compiler.network import CompiledNetwork, compile_network
from m3net_tf.compiler.pixels import line_direction, patch_windows, take_smallest_forms
from m3net_tf.compiler.plan import plan_memory
from m3net_tf.export.c_files import compile_model, network_files
from m3net_tf.lab.bench.untrained import write_untrained
from m3net_tf.runtime.interpreter import tflm_unavailable_reason
from m3net_tf.runtime.network import Int8Network
from m3net_tf.system.extras import is_installed

BOARD = "mps2_an386"
PIXELS = (4, 3, 2, 1)
SHAPES = ((16, 3), (64, 1))  # channels and window of the convolutions


def chain() -> bytes:
    """For each shape convolutions with each number of pixels, and plain; two depthwise ones."""
    item = Item((1, 7, 9, 16), 0.05, -4)
    steps = []
    for channels, window in SHAPES:
        step, item = conv(item, channels)
        steps.append(step)
        for _ in range(len(PIXELS) + 1):
            step, item = conv(item, channels, window)
            steps.append(step)
    for _ in range(2):
        step, item = depthwise(item)
        steps.append(step)
    return write_network(steps, [item])


def take_forms(network: CompiledNetwork) -> CompiledNetwork:
    """The chain with the form of each layer, in memory that nothing else uses."""
    calls = network.calls
    for number in range(len(SHAPES)):
        first = 1 + number * (len(PIXELS) + 2)
        for call, pixels in zip(calls[first:], PIXELS, strict=False):
            call.arguments[0] = dataclasses.replace(call.arguments[0], pixels=pixels)
            call.scratch[0].size = call.arguments[0].weights.values.shape[2] * 2
            call.scratch[0].size *= patch_windows(pixels)
        take_smallest_forms([calls[first + len(PIXELS)]])
    lines, pixels = (call.arguments[0] for call in calls[-2:])
    calls[-2].arguments[0] = dataclasses.replace(lines, lines=line_direction(lines, None))
    calls[-1].arguments[0] = dataclasses.replace(pixels, lines=0)
    for call in calls:
        call.slack.clear()
    return dataclasses.replace(network, plan=plan_memory(calls, network.inputs, network.outputs))


def modelled(tflite: bytes, network: CompiledNetwork, folder: Path) -> list[ModelledLayer]:
    """The modelled costs of the layers of a network."""
    shape = network.graph.inputs[0].shape
    clips = np.random.default_rng(0).integers(-128, 128, shape).astype(np.int8)
    size = network.graph.outputs[0].size
    model, columns = write_untrained(Int8Network(tflite), clips, size, folder)
    (name,) = compile_model(model)
    files = network_files(model, {name: network})
    image = build_compiled(folder, model, BOARD, folder / "build", files)
    kernels = list(kernels_of(network))
    cost, _ = run_cycles(image.elf, BOARD, columns, kernels=[kernel for _, kernel in kernels])
    return modelled_layers(kernels, cost["calls"])


@pytest.mark.slow
def test_the_preferred_form_has_the_fewest_cycles_with_each_flash(tmp_path: Path):
    reason = why_no_emulation(BOARD, COMPILED) or tflm_unavailable_reason()
    if reason or not is_installed("unicorn"):
        pytest.skip(reason or "unicorn is missing: pip install -e '.[cycles]'")
    tflite = chain()
    goal = Goal(least_saved=1, winograd_bytes=0)
    costs = modelled(tflite, take_forms(compile_network(tflite, goal=goal)), tmp_path)
    groups = [costs[1 : len(PIXELS) + 2], costs[len(PIXELS) + 3 : -2], costs[-2:]]
    forms = [[each["form"] for each in group] for group in groups]
    assert forms[0] == forms[1]
    assert [len(set(group)) for group in forms] == [5, 5, 2]
    for group, flash in itertools.product(groups, FLASHES):
        cycles = [each["cycles"][flash] for each in group]
        if group is not groups[-1] and flash == "0 wait states":
            # Three pixels take less than 1 % fewer cycles than four, which read less flash.
            assert cycles[1] < cycles[0] < 1.01 * cycles[1]
            cycles[:2] = reversed(cycles[:2])
        assert cycles == sorted(cycles), (flash, forms)
    for group in groups[:2]:
        reads = [each["flash_reads"] for each in group]
        assert reads == sorted(reads)


def convolutions() -> bytes:
    """Two convolutions of 3 x 3 windows of an image of 12 columns, and one of five columns."""
    item = Item((1, 12, 12, 4), 0.05, -4)
    steps = []
    for channels, window, padding in ((16, 1, SAME), (16, 3, SAME), (32, 3, SAME), (16, 8, VALID)):
        step, item = conv(item, channels, window, padding)
        steps.append(step)
    step, item = conv(item, 16, 3)
    return write_network([*steps, step], [item])


def with_room(network: CompiledNetwork) -> CompiledNetwork:
    """Four pixels at a time in layers of other forms, in memory that nothing else uses."""
    for call in network.calls:
        layer = call.arguments[0]
        call.slack.clear()
        if not layer.is_winograd:
            call.arguments[0] = dataclasses.replace(layer, pixels=4)
            call.scratch[0].size = layer.weights.values.shape[2] * 2 * patch_windows(4)
    return dataclasses.replace(
        network, plan=plan_memory(network.calls, network.inputs, network.outputs)
    )


@pytest.mark.slow
def test_winograd_is_taken_where_it_has_the_fewest_cycles_with_each_flash(tmp_path: Path):
    reason = why_no_emulation(BOARD, COMPILED) or tflm_unavailable_reason()
    if reason or not is_installed("unicorn"):
        pytest.skip(reason or "unicorn is missing: pip install -e '.[cycles]'")
    tflite = convolutions()
    costs = []
    for flash_bytes in (0, 1 << 20):
        goal = Goal(least_saved=1, winograd_bytes=flash_bytes, most_grown=9)
        folder = tmp_path / str(flash_bytes)
        folder.mkdir()
        costs.append(modelled(tflite, with_room(compile_network(tflite, goal=goal)), folder))
    taken = ["Winograd" in layer["form"] for layer in costs[1]]
    assert taken == [False, True, True, False, False]
    for other, layer, flash in itertools.product(*costs, FLASHES):
        if layer["layer"] == other["layer"] and layer["form"] != other["form"]:
            assert layer["cycles"][flash] < 0.8 * other["cycles"][flash], (layer["layer"], flash)
