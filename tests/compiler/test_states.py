# SPDX-License-Identifier: Apache-2.0
"""Networks that get one frame per run: what a run leaves behind is there in the next one."""

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from reference import differing
from single_operators import Item, lstm, lstm_layer, svdf_layer, write_network
from wide_operators import widen

from m3net_tf.compiler.emit import emit
from m3net_tf.compiler.host import build_host
from m3net_tf.compiler.network import compile_network
from m3net_tf.runtime.desktop import load_compiled
from m3net_tf.runtime.interpreter import run_tflm, tflm_unavailable_reason

RUNS = 9
NEW_SEQUENCE = (0, 4, 5)
CELLS = 6

pytestmark = pytest.mark.skipif(
    bool(tflm_unavailable_reason()), reason=tflm_unavailable_reason() or "TFLite Micro is there"
)


def two_layers(rng, classes=3):
    """An LSTM on another one, and a dense layer that needs memory between the runs' states."""
    source = Item((1, 1, 8), 1 / 64, 3)
    first = lstm_layer(rng, source, CELLS)
    second = lstm_layer(rng, first[2][0], CELLS)
    return write_network([first, second, dense(rng, second[2][0], CELLS, classes)])


def dense(rng, source, depth, classes):
    """Sums with random weights."""
    values = rng.integers(-127, 128, (classes, depth)).astype(np.int8)
    bias = Item((classes,), source.scale * 0.01, values=np.zeros(classes, np.int32))
    inputs = [source, Item(values.shape, 0.01, values=values), bias]
    return "FULLY_CONNECTED", inputs, [Item((1, classes), 0.02, 5)], schema.FullyConnectedOptionsT()


def keyword_benchmark(rng):
    """The form of TFLite Micro's: int16 features, filters over time, and shares of 32 bits."""
    source = Item((1, 12), 0.001, dtype="int16")
    features = Item((1, 12), 0.06, -128)
    filters = svdf_layer(rng, features)
    scores = dense(rng, filters[2][0], filters[2][0].shape[1], 2)
    shares = Item((1, 2), 2.0**-16, -32768, dtype="int16")
    return write_network(
        [
            ("QUANTIZE", [source], [features], None),
            filters,
            scores,
            ("SOFTMAX", scores[2], [shares], schema.SoftmaxOptionsT(beta=1.0)),
            ("QUANTIZE", [shares], [Item((1, 2), 2.0**-15, dtype="int32")], None),
        ]
    )


def models():
    rng = np.random.default_rng(5)
    narrow = {"two": two_layers(rng), **{f"one_{n}": lstm(rng) for n in range(4)}}
    return narrow | {f"wide_{name}": widen(tflite) for name, tflite in narrow.items()}


def test_states_last_from_run_to_run_until_a_reset_as_in_tflite_micro(tmp_path):
    networks = models() | {"benchmark": keyword_benchmark(np.random.default_rng(2))}
    assert differing(networks, tmp_path, RUNS, NEW_SEQUENCE)[0] == {}


def test_a_reset_changes_what_follows(tmp_path):
    network = compile_network(models()["two"])
    host = build_host({"network": network}, tmp_path)["network"]
    values = np.full(network.graph.inputs[0].shape, 90, np.int8)
    first, second = (host.run(values)[0].tobytes() for _ in range(2))
    host.reset()
    assert first != second
    assert host.run(values)[0].tobytes() == first


def test_each_clip_begins_a_new_sequence():
    tflite = models()["two"]
    clips = np.random.default_rng(0).integers(-128, 128, (5, 1, 8)).astype(np.int8)
    np.testing.assert_array_equal(load_compiled(tflite)(clips), run_tflm(tflite, clips))


def test_the_header_says_whether_a_caller_must_reset():
    states = 2 * CELLS * (2 + 1)  # of two layers: a cell of two bytes, an output of one
    header = emit(compile_network(models()["two"]), "kws").header
    assert f"#define KWS_STATE_BYTES {states}\n" in header
    assert "void kws_reset(int8_t *arena);" in header
