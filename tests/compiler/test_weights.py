# SPDX-License-Identifier: Apache-2.0
"""Which weights of convolutions are bytes, and that equal constants are stored once."""

import json

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from emulated import Case, run_cases, why_not
from reference import random_inputs
from single_operators import SAME, Item, write_model, write_network
from typer.testing import CliRunner

from m3net_tf.boards.builds.boards import load_board
from m3net_tf.cli import app
from m3net_tf.compiler.calls import Block, Call, packed
from m3net_tf.compiler.emit import emit
from m3net_tf.compiler.network import compile_network
from m3net_tf.compiler.structures import Convolution, Image, Window
from m3net_tf.compiler.weights import WeightRule, convolution_blocks, shrink_weights

PIXELS = (3, 1, 2, 40)
PAIR_BYTES = 4 * 8 * 2  # of one layer below


def convolution(pixels: int, value: int) -> Call:
    """A pointwise convolution of eight channels to four."""
    blocks = convolution_blocks(np.full((4, 8), value))
    view = packed(Block("pixels", 4 * pixels), (1, pixels, 1, 4))
    image = Image(pixels, 1, 4, *view.strides[:3])
    flags = {"padding": 0, "in_bytes": False, "narrow": True, "full": True}
    limits = {"batches": 1, "minimum": -128, "maximum": 127}
    layer = Convolution(blocks, blocks, image, image, Window(1, 1), **flags, **limits)
    return Call("convolve", "CONV_2D", "", "", [layer], [view], view)


def in_bytes(calls: list[Call]) -> list[int]:
    return [call.arguments[0].in_bytes for call in calls]


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        (WeightRule(0), [0, 0, 0, 0]),
        (WeightRule(2), [0, 1, 1, 0]),
        (WeightRule(0, 4 * PAIR_BYTES), [0, 0, 0, 0]),
        (WeightRule(0, 4 * PAIR_BYTES - 1), [0, 1, 0, 0]),
        (WeightRule(0, 3 * PAIR_BYTES), [0, 1, 1, 0]),
        (WeightRule(2, 3 * PAIR_BYTES - 1), [1, 1, 1, 0]),
        (WeightRule(0, 0), [1, 1, 1, 1]),
    ],
)
def test_weights_with_few_uses_are_bytes_and_more_where_flash_is_short(rule, expected):
    calls = [convolution(pixels, value) for value, pixels in enumerate(PIXELS)]
    shrink_weights(calls, rule)
    assert in_bytes(calls) == expected
    for call, flag in zip(calls, expected, strict=True):
        assert call.arguments[0].weights.size == PAIR_BYTES // (1 + flag)


def test_equal_weights_of_two_layers_have_one_form_and_count_once():
    rule = WeightRule(3, 2 * PAIR_BYTES)
    calls = [convolution(2, 7), convolution(2, 7), convolution(9, 1)]
    shrink_weights(calls, rule)
    assert in_bytes(calls) == [0, 0, 0]
    calls = [convolution(2, 7), convolution(1, 7), convolution(9, 1)]
    shrink_weights(calls, rule)
    assert in_bytes(calls) == [1, 1, 0]


def wide_convolution(rng: np.random.Generator) -> bytes:
    """Windows of 3 x 3 on 6 x 6 pixels, 64 channels: 72 KiB of weights as pairs, 36 uses each."""
    source, output = Item((1, 6, 6, 64), 0.1, 3), Item((1, 6, 6, 64), 20.0, -2)
    filters = Item((64, 3, 3, 64), 0.01)
    filters.values = rng.integers(-127, 128, filters.shape).astype(np.int8)
    bias = Item((64,), values=rng.integers(-5000, 5000, 64).astype(np.int32))
    options = schema.Conv2DOptionsT()
    options.padding, options.strideH, options.strideW = SAME, 1, 1
    options.dilationHFactor, options.dilationWFactor = 1, 1
    return write_model("CONV_2D", [source, filters, bias], [output], options)


@pytest.mark.parametrize(
    ("options", "form"),
    [
        (["--weights-flash", str(72 << 10)], "m3net_block "),
        (["--weights-flash", str((72 << 10) - 1)], "m3net_byte_block "),
        (["--board", "nrf52840dk"], "m3net_block "),
        ([], "m3net_block "),
    ],
)
def test_the_command_takes_flash_for_speed(options, form, tmp_path):
    model = tmp_path / "wide.tflite"
    model.write_bytes(wide_convolution(np.random.default_rng(0)))
    words = ["compile", str(model), "--out", str(tmp_path / "out"), "--json", *options]
    done = CliRunner().invoke(app, words, catch_exceptions=False, standalone_mode=False)
    assert f"static const {form}" in (tmp_path / "out" / "model.c").read_text()
    assert (json.loads(done.stdout)["constant_bytes"] > 70 << 10) == (form == "m3net_block ")


def test_a_quarter_of_the_boards_flash_is_for_weights():
    board = load_board("stm32f4_discovery")
    assert board.weights_flash_bytes == board.flash_bytes // 4 == 192 << 10


@pytest.mark.skipif(bool(why_not()), reason=why_not() or "an emulator is there")
def test_with_the_boards_flash_an_m4_is_no_slower_than_an_m3(tmp_path):
    rng = np.random.default_rng(0)
    tflite = wide_convolution(rng)
    rules = {"m4": WeightRule(most_bytes=load_board("nrf52840dk").weights_flash_bytes)}
    rules["bytes"] = WeightRule(most_bytes=64 << 10)
    networks = {name: compile_network(tflite, rule) for name, rule in rules.items()}
    inputs = random_inputs(rng, networks["m4"])
    cases = [Case(name, network, inputs) for name, network in networks.items()]
    m4, in_bytes = run_cases(cases, tmp_path / "m4", "cortex-m4")
    m3, _ = run_cases(cases, tmp_path / "m3", "cortex-m3")
    assert m4.instructions < m3.instructions < in_bytes.instructions
    assert m4.output.tobytes() == in_bytes.output.tobytes() == m3.output.tobytes()


def test_equal_layers_are_one_structure():
    first, second, *ends = (Item((1, 2, 3, 4), 0.5) for _ in range(4))
    steps = [("ABS", [first], [ends[0]], None), ("ABS", [second], [ends[1]], None)]
    source = emit(compile_network(write_network(steps, ends)), "one").source
    assert source.count("static const m3net_loop") == 1
    assert source.count("m3net_look_up(&one_layer_0,") == 2
