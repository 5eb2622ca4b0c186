# SPDX-License-Identifier: Apache-2.0
"""Every operator against TFLite Micro's reference kernel, on random models of one operator."""

import zlib

import numpy as np
import pytest
from reference import random_inputs, run_lite, run_micro
from single_operators import FLOAT_MAKERS, MAKERS
from wide_operators import WIDE_MAKERS

from m3net_tf.compiler.host import build_host
from m3net_tf.compiler.micro import runs_in_micro
from m3net_tf.compiler.network import compile_network
from m3net_tf.compiler.operators import OPERATORS, WIDE
from m3net_tf.runtime.interpreter import tflm_unavailable_reason

FEW, MANY = 8, 500
ALL_MAKERS = MAKERS | WIDE_MAKERS | FLOAT_MAKERS
SAME_KERNEL = {"EXPAND_DIMS", "SQUEEZE", "PADV2", "TABLE"}  # of RESHAPE, PAD and the tables
VARIABLES = {"ASSIGN_VARIABLE", "MOVE_LINES", "READ_VARIABLE"}  # see test_variables.py

pytestmark = pytest.mark.skipif(
    bool(tflm_unavailable_reason()), reason=tflm_unavailable_reason() or "TFLite Micro is there"
)


def compare(kinds, count, folder):
    """Kinds and numbers of the models whose bytes differ from TFLite Micro's."""
    models = {}
    for kind in kinds:
        rng = np.random.default_rng(zlib.crc32(kind.encode()))
        for number in range(count):
            models[f"{kind.lower()}_model_{number}"] = ALL_MAKERS[kind](rng)
    networks = {name: compile_network(tflite) for name, tflite in models.items()}
    hosts = build_host(networks, folder)
    different = []
    for name, tflite in models.items():
        rng = np.random.default_rng(zlib.crc32(name.encode()))
        inputs = random_inputs(rng, networks[name])
        if name.startswith("rsqrt"):
            lowest = -127 if inputs[0].dtype == np.int8 else 0  # zero stops nothing
            inputs = [np.maximum(inputs[0], lowest)]
        if runs_in_micro(tflite):
            expected = run_micro(tflite, inputs, len(networks[name].outputs))
        else:
            expected = run_lite(tflite, inputs)
        for mine, theirs in zip(hosts[name].run(*inputs), expected, strict=True):
            if not np.array_equal(mine.reshape(-1), theirs.reshape(-1)):
                different.append(name)
    return different


def test_what_is_not_compared_with_tflite_micro():
    rng = np.random.default_rng(0)
    others = {kind for kind, make in ALL_MAKERS.items() if not runs_in_micro(make(rng))}
    assert others == {"EXP", "GELU", "LOG", "RELU_0_TO_1", "RELU_N1_TO_1", "TILE"}


def test_every_operator_has_random_models():
    assert set(OPERATORS) - SAME_KERNEL - VARIABLES == set(MAKERS)
    assert {f"{kind}_16" for kind in WIDE - SAME_KERNEL - VARIABLES} == set(WIDE_MAKERS)


@pytest.mark.parametrize(
    "makers", [MAKERS, WIDE_MAKERS, FLOAT_MAKERS], ids=["int8", "int16", "float"]
)
def test_operators_give_the_bytes_of_tflite_micro(makers, tmp_path):
    assert compare(makers, FEW, tmp_path) == []


@pytest.mark.exhaustive
@pytest.mark.parametrize("kind", ALL_MAKERS)
def test_each_operator_on_many_shapes_and_scales(kind, tmp_path):
    assert compare([kind], MANY, tmp_path) == []
