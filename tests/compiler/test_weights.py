# SPDX-License-Identifier: Apache-2.0
"""Which weights of convolutions are bytes, and that equal constants are stored once."""

import numpy as np
import pytest
from single_operators import Item, write_network

from m3net_tf.compiler.calls import Block, Call, Layer, packed
from m3net_tf.compiler.emit import emit
from m3net_tf.compiler.network import compile_network
from m3net_tf.compiler.weights import WeightRule, convolution_blocks, shrink_weights

PIXELS = (3, 1, 2, 40)
PAIR_BYTES = 4 * 8 * 2  # of one layer below


def convolution(pixels: int, value: int) -> Call:
    """A pointwise convolution of eight channels to four."""
    blocks = convolution_blocks(np.full((4, 8), value))
    view = packed(Block("pixels", 4 * pixels), (1, pixels, 1, 4))
    layer = Layer("m3net_convolution", {"blocks": blocks, "in_bytes": 0})
    return Call("convolve", "CONV_2D", [layer], [view], view)


def in_bytes(calls: list[Call]) -> list[int]:
    return [call.arguments[0].members["in_bytes"] for call in calls]


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
        name = "byte_blocks" if flag else "blocks"
        assert call.arguments[0].members[name].size == PAIR_BYTES // (1 + flag)


def test_equal_weights_of_two_layers_have_one_form_and_count_once():
    rule = WeightRule(3, 2 * PAIR_BYTES)
    calls = [convolution(2, 7), convolution(2, 7), convolution(9, 1)]
    shrink_weights(calls, rule)
    assert in_bytes(calls) == [0, 0, 0]
    calls = [convolution(2, 7), convolution(1, 7), convolution(9, 1)]
    shrink_weights(calls, rule)
    assert in_bytes(calls) == [1, 1, 0]


def test_equal_layers_are_one_structure():
    first, second, *ends = (Item((1, 2, 3, 4), 0.5) for _ in range(4))
    steps = [("ABS", [first], [ends[0]], None), ("ABS", [second], [ends[1]], None)]
    source = emit(compile_network(write_network(steps, ends)), "one").source
    assert source.count("static const m3net_loop") == 1
    assert source.count("m3net_look_up(&one_layer_0,") == 2
