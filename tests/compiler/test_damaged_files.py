# SPDX-License-Identifier: Apache-2.0
"""Files with changed bytes: refused by one line, or C that stays within its memory."""

import numpy as np
import pytest
from emulated import Case, run_checked
from reference import random_inputs
from refusals import refuses
from single_operators import MAKERS
from wide_operators import WIDE_MAKERS

from m3net_tf.compiler.network import compile_network
from m3net_tf.compiler.read import read_network
from m3net_tf.system.errors import ModelError

FEW, MANY = 3, 60
_INPUTS = 4  # at most, of the program that runs the cases
_ITEMS = 100_000  # a changed shape may be large


def damage(rng, tflite):
    """The file with one or two bytes or bits changed."""
    broken = bytearray(tflite)
    for place in rng.integers(8, len(broken), int(rng.integers(1, 3))):
        bit = 1 << int(rng.integers(0, 8))
        broken[place] = rng.integers(0, 256) if rng.random() < 0.5 else broken[place] ^ bit
    return bytes(broken)


def run_damaged(seed, count, folder):
    """Compile damaged models of each operator; run what is accepted under the sanitizers."""
    rng = np.random.default_rng(seed)
    cases = []
    refused = 0
    for kind, make in (MAKERS | WIDE_MAKERS).items():
        tflite = make(rng)
        for number in range(count):
            try:
                network = compile_network(damage(rng, tflite))
            except ModelError as error:
                assert "\n" not in str(error)
                refused += 1
                continue
            items = sum(tensor.size for tensor in network.graph.inputs)
            if items > _ITEMS or network.plan.arena_bytes > _ITEMS or len(network.inputs) > _INPUTS:
                continue
            inputs = random_inputs(rng, network)
            cases.append(Case(f"{kind.lower()}_{number}", network, inputs))
    run_checked(cases, folder)
    return len(cases), refused


def test_damaged_files_are_refused_or_stay_within_their_memory(tmp_path):
    accepted, refused = run_damaged(0, FEW, tmp_path)
    assert accepted > 5
    assert refused > 30


def test_a_scale_out_of_the_range_of_float32_names_its_operator():
    tflite = MAKERS["RELU"](np.random.default_rng(0))
    graph = read_network(tflite)
    broken = tflite.replace(graph.inputs[0].scales.tobytes(), np.float32(1e30).tobytes())
    broken = broken.replace(graph.outputs[0].scales.tobytes(), np.float32(1e-30).tobytes())
    with refuses(ModelError, "RELU"):
        compile_network(broken)


@pytest.mark.exhaustive
@pytest.mark.parametrize("seed", range(1, 5))
def test_many_damaged_files(seed, tmp_path):
    accepted, refused = run_damaged(seed, MANY, tmp_path)
    assert accepted > 100
    assert refused > 500
