# SPDX-License-Identifier: Apache-2.0
"""Files whose graph was changed and written again."""

import dataclasses

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from refusals import refuses
from single_operators import MAKERS, Item, changed, write_network

from m3net_tf.system.errors import ModelError
from m3net_tf.tflite.read import read_graph
from m3net_tf.tflite.write import write_graph, write_scales

BIAS = Item((4,), 0.01, values=np.arange(4, dtype=np.int32))


@pytest.fixture
def dense():
    """Two dense layers whose biases are one constant of the file."""
    weights = Item((4, 4), 0.1, values=np.eye(4, dtype=np.int8))
    items = [Item((1, 4), 0.1, 3) for _ in range(3)]
    twin = dataclasses.replace(BIAS)
    options = schema.FullyConnectedOptionsT()
    tflite = write_network(
        [
            ("FULLY_CONNECTED", [items[0], weights, BIAS], [items[1]], options),
            ("FULLY_CONNECTED", [items[1], weights, twin], [items[2]], options),
        ]
    )

    def share(graph):
        first, second = (graph.tensors[op.inputs[2]] for op in graph.operators)
        second.buffer = first.buffer

    return changed(tflite, share)


def facts(graph):
    return [
        (op.kind, [(t.index, t.shape, t.scales, t.zero_points, t.data) for t in op.inputs])
        for op in graph.operations
    ]


def test_without_a_change_the_network_stays():
    for kind in ("CONV_2D", "RESHAPE", "SOFTMAX"):
        tflite = MAKERS[kind](np.random.default_rng(0))
        graph = read_graph(tflite)
        written = write_graph(tflite, graph)
        np.testing.assert_equal(facts(read_graph(written)), facts(graph))
        assert write_graph(written, read_graph(written)) == written


def test_a_changed_constant_leaves_its_twins_alone(dense):
    graph = read_graph(dense)
    first, second = graph.operations
    second.input(2).data = second.constant(2) + 1
    again = read_graph(write_graph(dense, graph))
    np.testing.assert_array_equal(again.operations[0].constant(2), first.constant(2))
    np.testing.assert_array_equal(again.operations[1].constant(2), first.constant(2) + 1)
    np.testing.assert_array_equal(again.operations[1].constant(1), first.constant(1))
    assert again.inputs[0].data is None


def test_an_operator_less_and_a_range_more(dense):
    graph = read_graph(dense)
    graph.operations.pop()
    graph.outputs = [graph.operations[0].output]
    graph.outputs[0].range = -0.5, 2.0
    again = read_graph(write_graph(dense, graph))
    assert [op.kind for op in again.operations] == ["FULLY_CONNECTED"]
    assert again.outputs[0].name == graph.outputs[0].name
    assert again.outputs[0].range == (-0.5, 2.0)
    assert again.inputs[0].range is None


def test_scales_change_no_other_byte(dense):
    graph = read_graph(dense)
    written = write_scales(dense, {graph.inputs[0].index: np.float32(0.25)})
    assert read_graph(written).inputs[0].scale == 0.25
    differing = sum(old != new for old, new in zip(dense, written, strict=True))
    assert 0 < differing <= 4


def test_a_type_that_numpy_lacks_has_the_bytes_of_the_file(dense):
    def narrow(graph):
        for op in graph.operators:
            graph.tensors[op.inputs[1]].type = schema.TensorType.INT4

    weights = read_graph(changed(dense, narrow)).operations[0].input(1)
    assert (weights.dtype, weights.data.dtype, weights.data.size) == ("int4", np.uint8, 16)


@pytest.mark.parametrize("damage", [b"", b"nonsense" * 20])
def test_what_is_no_network(damage):
    with refuses(ModelError, "TFLite"):
        read_graph(damage)


def test_more_indices_than_any_network_has(dense, monkeypatch):
    monkeypatch.setattr("m3net_tf.tflite.read.MOST_INDICES", 10)
    with refuses(ModelError, "10 inputs and outputs"):
        read_graph(dense)
