# SPDX-License-Identifier: Apache-2.0
"""Channels that are constant or unread go, and no byte changes."""

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from reference import random_inputs, run_micro
from single_operators import Item, write_network
from test_rewrites import check, concatenate, conv, depthwise, like

from m3net_tf.compiler.host import build_host
from m3net_tf.compiler.network import compile_network
from m3net_tf.runtime.interpreter import tflm_unavailable_reason

pytestmark = pytest.mark.skipif(
    bool(tflm_unavailable_reason()), reason=tflm_unavailable_reason() or "TFLite Micro is there"
)

IMAGE = Item((1, 6, 5, 8), 0.05, -4)
NAME = "channels that are constant or unread"
DEAD = (0, 2, 3, 7)


def constant(step, value, channels=DEAD):
    """Make channels of a layer of output scale 0.2 and zero point 5 constant: a step of 400."""
    kind, (_, filters, bias), (output,), _ = step
    scale = 0.05 * 0.01
    where = (..., list(channels)) if kind == "DEPTHWISE_CONV_2D" else list(channels)
    filters.values[where] = 0
    bias.values[list(channels)] = round((value - output.zero_point) * output.scale / scale)
    return step


def unread(step, channels=DEAD):
    """Give a layer weights of zero for channels of its input."""
    step[1][1].values[..., list(channels)] = 0
    return step


def removed(steps, folder):
    return check(steps, folder).saved.get(NAME, 0)


def test_a_constant_becomes_part_of_the_bias(tmp_path):
    first, a = conv(IMAGE, 8)
    assert removed([constant(first, 40), conv(a, 6)[0]], tmp_path) == len(DEAD)


@pytest.mark.parametrize(("value", "count"), [(5, len(DEAD)), (40, 0)])
def test_a_padded_reader_takes_only_the_zero_point(value, count, tmp_path):
    first, a = conv(IMAGE, 8)
    assert removed([constant(first, value), conv(a, 6, window=3)[0]], tmp_path) == count


def test_a_reader_without_padding_takes_any_constant(tmp_path):
    first, a = conv(IMAGE, 8)
    last, _ = conv(a, 6, window=3, padding=schema.Padding.VALID)
    assert removed([constant(first, 40), last], tmp_path) == len(DEAD)


def test_a_reader_of_stride_two(tmp_path):
    first, a = conv(IMAGE, 8)
    last, output = conv(a, 6, window=3)
    last[3].strideH = last[3].strideW = 2
    output.shape = (1, 3, 3, 6)
    assert removed([constant(first, 5), last], tmp_path) == len(DEAD)


def test_a_channel_that_no_weight_reads(tmp_path):
    first, a = conv(IMAGE, 8)
    assert removed([first, unread(conv(a, 6, window=3)[0])], tmp_path) == len(DEAD)


def test_a_second_reader_keeps_what_it_reads(tmp_path):
    first, a = conv(IMAGE, 8)
    second, b = conv(a, 6)
    third, c = conv(a, 6, window=3)
    last = ("ADD", [b, c], [like(b)], schema.AddOptionsT())
    assert removed([first, unread(second), unread(third, (2, 3, 4)), last], tmp_path) == 2


@pytest.mark.parametrize(("value", "count"), [(5, 2 * len(DEAD)), (120, 0)])
def test_a_depthwise_layer_in_between(value, count, tmp_path):
    first, a = conv(IMAGE, 8)
    second, b = depthwise(a)
    assert removed([constant(first, value), second, conv(b, 6)[0]], tmp_path) == count


def test_a_depthwise_layer_that_becomes_constant(tmp_path):
    first, a = conv(IMAGE, 8)
    second, b = depthwise(a)
    steps = [first, constant(second, 20), conv(b, 6)[0]]
    assert removed(steps, tmp_path) == 2 * len(DEAD)


@pytest.mark.parametrize(("second_dead", "count"), [(DEAD, 8), ((1, 2, 7), 4), ((1, 4), 0)])
def test_a_sum_is_constant_where_both_terms_are(second_dead, count, tmp_path):
    first, a = conv(IMAGE, 8)
    second, b = conv(IMAGE, 8, rng=np.random.default_rng(99))
    total = like(a)
    step = ("ADD", [a, b], [total], schema.AddOptionsT())
    steps = [constant(first, 30), constant(second, 9, second_dead), step, conv(total, 6)[0]]
    assert removed(steps, tmp_path) == count


def test_a_gate_that_is_shut(tmp_path):
    first, a = conv(IMAGE, 8)
    second, b = conv(IMAGE, 8, rng=np.random.default_rng(99))
    gated = like(a)
    step = ("MUL", [a, b], [gated], schema.MulOptionsT())
    steps = [first, constant(second, 5), step, conv(gated, 6)[0]]
    assert removed(steps, tmp_path) == 2 * len(DEAD)


def test_a_concatenation_of_channels(tmp_path):
    first, a = conv(IMAGE, 8)
    second, b = conv(IMAGE, 4)
    joint, c = concatenate([a, b])
    steps = [constant(first, 30), constant(second, 9, (1,)), joint, conv(c, 6)[0]]
    assert removed(steps, tmp_path) == len(DEAD) + 1


def test_two_channels_of_a_constant_layer_stay(tmp_path):
    first, a = conv(IMAGE, 8)
    steps = [constant(first, 30, range(8)), conv(a, 6)[0]]
    assert removed(steps, tmp_path) == 6


def test_an_output_of_the_network_keeps_its_channels(tmp_path):
    first, a = conv(IMAGE, 8)
    network = compile_network(write_network([constant(first, 30), conv(a, 6)[0]]))
    assert network.graph.outputs[0].shape[-1] == 6
    assert removed([constant(conv(IMAGE, 8)[0], 30)], tmp_path) == 0


def random_network(seed):
    """Layers with constant and unread channels, residual sums, gates, joints and pooling."""
    rng = np.random.default_rng(seed)
    tensors = [IMAGE]
    steps = []
    for _ in range(9):
        source = tensors[-1 - int(rng.integers(0, min(2, len(tensors))))]
        alike = [t for t in tensors if t.shape == source.shape and t.scale == source.scale]
        other = alike[int(rng.integers(0, len(alike)))]
        kind = rng.choice(["conv", "conv", "depthwise", "ADD", "MUL", "joint", "RELU"])
        if kind in ("conv", "depthwise"):
            window = int(rng.choice([1, 3]))
            step, output = (
                conv(source, 8, window=window, rng=rng)
                if kind == "conv"
                else depthwise(source, window)
            )
            dead = np.flatnonzero(rng.random(output.shape[3]) < 0.5)
            constant(step, int(rng.choice([output.zero_point, 30])), dead)
            if kind == "conv":
                unread(step, np.flatnonzero(rng.random(source.shape[3]) < 0.3))
        elif kind == "joint":
            step, output = concatenate([source, other] if other is not source else [source])
        elif kind == "RELU":
            output = like(source)
            step = ("RELU", [source], [output], None)
        else:
            output = like(source)
            options = schema.AddOptionsT() if kind == "ADD" else schema.MulOptionsT()
            step = (str(kind), [source, other], [output], options)
        output.shape = tuple(int(size) for size in output.shape)
        steps.append(step)
        tensors.append(output)
    steps.append(conv(tensors[-1], 3)[0])
    read = {id(item) for _, inputs, _, _ in steps for item in inputs}
    ends = [output for _, _, outputs, _ in steps for output in outputs if id(output) not in read]
    return write_network(steps, ends)


def test_random_networks_with_dead_channels(tmp_path):
    models = {f"network_{seed}": random_network(seed) for seed in range(60)}
    networks = {name: compile_network(tflite) for name, tflite in models.items()}
    hosts = build_host(networks, tmp_path, ["-O0"])
    rng = np.random.default_rng(3)
    for name, network in networks.items():
        for _ in range(3):
            inputs = random_inputs(rng, network)
            expected = run_micro(models[name], inputs, len(network.outputs))
            for mine, theirs in zip(hosts[name].run(*inputs), expected, strict=True):
                np.testing.assert_array_equal(mine, theirs, name)
    assert sum(network.saved[NAME] > 0 for network in networks.values()) > 20
