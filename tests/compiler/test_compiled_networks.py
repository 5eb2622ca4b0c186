# SPDX-License-Identifier: Apache-2.0
"""Whole networks: the bytes of TFLite Micro, less memory, the same C for the same file."""

import functools

import numpy as np
import pytest
from emulated import Case, run_cases, run_checked, why_not
from reference import run_micro

from m3net_tf.compiler.emit import emit
from m3net_tf.compiler.host import build_host
from m3net_tf.compiler.network import compile_network
from m3net_tf.networks.models import build_model, presets_of
from m3net_tf.quantization.ptq import quantize_int8
from m3net_tf.runtime.interpreter import host_allocations, tflm_unavailable_reason
from m3net_tf.system.keras import keras

FEW, MANY = 10, 1000
MOST_CONSTANTS = {"spectromasknet": 0.85, "bilateral": 0.75}  # bytes of flash for one of the file
DS_CNN = ("ds_cnn", "mcu")
NETWORKS = [
    pytest.param(*DS_CNN, id="ds_cnn"),
    pytest.param("m3net", "s", id="m3net"),
    pytest.param("sparknet", "mcu", marks=pytest.mark.slow, id="sparknet"),
    pytest.param("bc_resnet", "tau1", marks=pytest.mark.slow, id="bc_resnet"),
    pytest.param("spectromasknet", "s", marks=pytest.mark.slow, id="spectromasknet"),
    pytest.param("bilateral", "s", marks=pytest.mark.slow, id="bilateral"),
]

pytestmark = pytest.mark.skipif(
    bool(tflm_unavailable_reason()), reason=tflm_unavailable_reason() or "TFLite Micro is there"
)


def noise(shape, count, seed):
    """Maps from quiet to loud."""
    rng = np.random.default_rng(seed)
    loudness = rng.uniform(2, 90, (count, *[1] * len(shape)))
    values = rng.normal(0, 1, (count, *shape)) * loudness
    return np.clip(np.round(values), -128, 127).astype(np.int8)


@functools.cache
def converted(name, preset):
    """A preset in int8, its normalisations settled on noise."""
    keras.backend.clear_session()
    keras.utils.set_random_seed(0)
    model = build_model(name, preset)
    maps = noise(presets_of(name)[preset].input_shape, 8, seed=1)
    for layer in model.layers:
        if hasattr(layer, "momentum"):
            layer.momentum = 0.0
    model(maps / np.float32(128), training=True)
    return quantize_int8(model, maps)


@pytest.mark.parametrize(("name", "preset"), NETWORKS)
def test_a_network_gives_the_bytes_of_tflite_micro_in_half_its_memory(name, preset, tmp_path):
    tflite = converted(name, preset)
    network = compile_network(tflite)
    host = build_host({"network": network}, tmp_path)["network"]
    outputs = []
    for clip in noise(network.graph.inputs[0].shape, FEW, seed=2):
        outputs.append(host.run(clip)[0])
        np.testing.assert_array_equal(outputs[-1], run_micro(tflite, [clip], 1)[0])
    assert len(np.unique(np.array(outputs), axis=0)) > 1
    assert network.plan.arena_bytes <= 0.5 * sum(host_allocations(tflite))
    assert network.plan.ratio <= 1.01
    constants = emit(network, "network").constant_bytes
    assert constants <= MOST_CONSTANTS.get(name, 1.3) * len(tflite)


@pytest.mark.exhaustive
@pytest.mark.parametrize(("name", "preset"), NETWORKS)
def test_a_network_gives_the_same_bytes_for_many_inputs(name, preset, tmp_path):
    tflite = converted(name, preset)
    network = compile_network(tflite)
    host = build_host({"network": network}, tmp_path)["network"]
    for clip in noise(network.graph.inputs[0].shape, MANY, seed=3):
        np.testing.assert_array_equal(host.run(clip)[0], run_micro(tflite, [clip], 1)[0])


@pytest.mark.slow
def test_a_network_is_clean_under_sanitizers(tmp_path):
    tflite = converted(*DS_CNN)
    network = compile_network(tflite)
    clip = noise(network.graph.inputs[0].shape, 1, seed=4)[0]
    output = run_checked([Case("network", network, [clip])], tmp_path)[0]
    np.testing.assert_array_equal(output, run_micro(tflite, [clip], 1)[0].reshape(-1))


@pytest.mark.parametrize(
    "core",
    [
        *(pytest.param(core, marks=pytest.mark.slow) for core in ("cortex-m3", "rv32imac")),
        *("cortex-m4", "cortex-m55"),
    ],
)
def test_a_network_on_an_emulated_core(core, tmp_path):
    if reason := why_not(core):
        pytest.skip(reason)
    tflite = converted(*DS_CNN)
    network = compile_network(tflite)
    clips = noise(network.graph.inputs[0].shape, 2, seed=5)
    outcomes = run_cases([Case("network", network, [clip]) for clip in clips], tmp_path, core)
    for clip, outcome in zip(clips, outcomes, strict=True):
        expected = run_micro(tflite, [clip], 1)[0].reshape(-1)
        np.testing.assert_array_equal(outcome.output, expected)
    # TFLite Micro with CMSIS-NN takes 7.64 M on Cortex-M4, and 1.79 M with Helium. The portable
    # kernels take 22.4 M on RISC-V.
    most = {"cortex-m4": 0.6 * 7.64e6, "cortex-m55": 0.65 * 1.79e6, "rv32imac": 0.5 * 22.4e6}
    assert outcomes[0].instructions <= most.get(core, np.inf)


def test_equal_files_give_equal_c():
    first, second = (emit(compile_network(converted(*DS_CNN)), "network") for _ in range(2))
    assert first == second


def test_the_header_says_what_the_caller_needs():
    network = compile_network(converted(*DS_CNN))
    header = emit(network, "kws").header
    for line in (
        f"#define KWS_ARENA_BYTES {network.plan.arena_bytes}",
        f'#define KWS_SHA256 "{network.graph.sha256}"',
        "#define KWS_INPUT_0_BYTES 490",
        "#define KWS_INPUT_0_ZERO_POINT (0)",
        "#define KWS_OUTPUT_0_BYTES 12",
        "void kws_run(int8_t *arena);",
    ):
        assert line in header
