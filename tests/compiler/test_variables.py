# SPDX-License-Identifier: Apache-2.0
"""Networks with variables of their own (VAR_HANDLE), which a second subgraph sets (CALL_ONCE)."""

import os
from pathlib import Path

import numpy as np
import pytest
from dead_channels import with_dead_channels
from reference import differing
from single_operators import Item, pack_model, svdf_layer, write_network
from stateful_networks import (
    StatefulNetwork,
    add,
    concatenate,
    delayed,
    depthwise,
    random_stateful,
    schema,
    tail,
)
from wide_operators import widen

from m3net_tf.compiler.host import build_host
from m3net_tf.compiler.network import compile_network
from m3net_tf.compiler.passes import REMOVED
from m3net_tf.runtime.interpreter import tflm_unavailable_reason
from m3net_tf.system.errors import ModelError

RUNS = 12
NEW_SEQUENCE = (5, 6)
FAST = ("-O0",)  # to compile
FRAMES = 500
RESETS = (170, 171, 333)
FEW = 24
FOLDER = os.environ.get("M3NET_MICRO_WAKE_WORD", "")
KEEPS_LINES = "variables that became lines that stay"
SOURCE = Item((1, 2, 1, 4), 0.05, -4)

needs_micro = pytest.mark.skipif(
    bool(tflm_unavailable_reason()), reason=tflm_unavailable_reason() or "TFLite Micro is there"
)


@needs_micro
def test_random_networks_with_variables_give_the_bytes_of_tflite_micro(tmp_path):
    """Until a reset: TFLite Micro sets variables to the zero point then, and not to the file's."""
    models = {f"network_{seed}": random_stateful(seed) for seed in range(FEW)}
    models |= {f"wide_{name}": widen(tflite) for name, tflite in list(models.items())[: FEW // 3]}
    wrong, networks = differing(models, tmp_path, RUNS, (), FAST)
    assert wrong == {}
    kept = [network.saved.get(KEEPS_LINES, 0) for network in networks.values()]
    assert sum(kept) > FEW / 2
    kernels = {call.operator for network in networks.values() for call in network.calls}
    assert {"READ_VARIABLE", "ASSIGN_VARIABLE", "MOVE_LINES"} <= kernels


@needs_micro
def test_networks_with_variables_and_dead_channels(tmp_path):
    rng = np.random.default_rng(0)
    models = {
        f"network_{seed}": with_dead_channels(rng, random_stateful(seed)) for seed in range(FEW)
    }
    wrong, networks = differing(models, tmp_path, RUNS, (), FAST)
    assert wrong == {}
    assert sum(network.saved[REMOVED] > 0 for network in networks.values()) > 0


@needs_micro
def test_a_reset_begins_a_new_sequence(tmp_path):
    network = StatefulNetwork()
    last = network.add(depthwise(delayed(network, np.random.default_rng(0), SOURCE), window=1))
    filters = write_network([svdf_layer(np.random.default_rng(2), Item((1, 9), 1 / 64, 3))])
    models = {"lines": network.write(last), "filters": filters}
    assert differing(models, tmp_path, RUNS, NEW_SEQUENCE, FAST)[0] == {}


def test_a_reset_sets_the_values_of_the_file(tmp_path):
    values = np.arange(8, dtype=np.int8).reshape(SOURCE.shape)
    network = StatefulNetwork()
    total = network.variable(SOURCE, 2, values)
    last = network.add(add(SOURCE, network.read(total)))
    network.assign(total, last)
    compiled = compile_network(network.write(last))
    host = build_host({"network": compiled}, tmp_path, ["-O0"])["network"]
    zero = np.full(SOURCE.shape, SOURCE.zero_point, np.int8)
    for _ in range(2):
        np.testing.assert_array_equal(host.run(zero)[0], values)
        np.testing.assert_array_equal(host.run(zero + 1)[0], values + 1)
        host.reset()


def test_lines_stay_in_the_tensor_that_reads_them():
    """Instead of a variable beside its concatenation, and two copies of it in each run."""
    network = StatefulNetwork()
    joint = delayed(network, np.random.default_rng(0), SOURCE)
    last = network.add(depthwise(joint, window=1))
    compiled = compile_network(network.write(last))
    assert compiled.saved[KEEPS_LINES] == 1
    assert [state.block.size for state in compiled.states] == [joint.shape[1] * 4]


def test_a_variable_that_something_else_reads_stays_one():
    network = StatefulNetwork()
    variable = network.variable(SOURCE, 3)
    old = network.read(variable)
    joint = network.add(concatenate([old, SOURCE], axis=1))
    network.assign(variable, network.add(tail(joint, 3)))
    compiled = compile_network(network.write(joint, network.add(add(old, old))))
    assert KEEPS_LINES not in {name for name, count in compiled.saved.items() if count}


def _damaged(change):
    network = StatefulNetwork()
    last = delayed(network, np.random.default_rng(0), SOURCE)
    tflite = network.write(last)
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAsModel(tflite, 0))
    change(model)
    return pack_model(model)


def _compute_start(model):
    model.subgraphs[1].tensors[1].buffer = 0


def _change_shape(model):
    model.subgraphs[1].tensors[1].shape = [1, 4, 2, 1][: len(model.subgraphs[1].tensors[1].shape)]


def _lose_handle(model):
    del model.subgraphs[0].operators[1]


def _add_subgraph(model):
    model.subgraphs.append(model.subgraphs[1])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_compute_start, "the compiler takes constants that are assigned to variables"),
        (_change_shape, "file is damaged|starts with values of another shape or type"),
        (_lose_handle, "which no VAR_HANDLE names"),
        (_add_subgraph, "the network has 3 subgraphs"),
    ],
)
def test_variables_that_do_not_fit_are_refused(change, message):
    with pytest.raises(ModelError, match=message):
        compile_network(_damaged(change))


@needs_micro
@pytest.mark.skipif(
    not FOLDER,
    reason="M3NET_MICRO_WAKE_WORD names no folder of microWakeWord's .tflite files, which are "
    "not part of this project",
)
def test_the_public_wake_words_give_the_bytes_of_tflite_micro(tmp_path):
    """Of github.com/esphome/micro-wake-word-models: 500 frames with resets in between."""
    files = sorted(Path(FOLDER).rglob("*.tflite"))
    models = {f"model_{number}": path.read_bytes() for number, path in enumerate(files)}
    assert len(models) > 0
    wrong, networks = differing(models, tmp_path, FRAMES, RESETS, FAST)
    assert wrong == {}
    assert all(network.saved[KEEPS_LINES] > 0 for network in networks.values())
