# SPDX-License-Identifier: Apache-2.0
"""The presets s, m and l: int8, within their memory limits, the same bytes everywhere."""

import functools

import numpy as np
import pytest
from firmware_helpers import BOARD, small_model, write_bundle

from m3net_tf.audio.frontend import FrontendConfig
from m3net_tf.boards.builds.boards import find_machine
from m3net_tf.boards.builds.build import build_firmware
from m3net_tf.boards.emulation.qemu import run_job
from m3net_tf.boards.emulation.starting import why_no_emulation
from m3net_tf.export.operators import operators_of
from m3net_tf.networks.models import build_model, presets_of
from m3net_tf.quantization.ptq import quantize_int8
from m3net_tf.runtime.interpreter import (
    host_arena_bytes,
    run_reference,
    run_tflm,
    tflm_unavailable_reason,
)
from m3net_tf.system.keras import keras

NETWORKS = ("m3net", "spectromasknet", "bilateral")
ARENA_BYTES = {"s": 64 * 1024, "m": 192 * 1024, "l": 512 * 1024}
WEIGHT_BYTES = {"s": 200_000, "m": 500_000, "l": 1_500_000}
MEL_BINS = 40

needs_tflm = pytest.mark.skipif(
    bool(tflm_unavailable_reason()), reason=tflm_unavailable_reason() or "TFLite Micro is there"
)
# The converter takes some 20 s for a network of 300 operators.
slow = pytest.mark.slow
CELLS = [
    pytest.param(name, size, marks=() if (name, size) == ("m3net", "s") else slow)
    for name in NETWORKS
    for size in ARENA_BYTES
]


def clips(name: str, size: str, count: int, seed: int) -> np.ndarray:
    """Noise, from quiet to loud and from high to low: otherwise all scores would be equal."""
    shape = presets_of(name)[size].input_shape
    values = np.random.default_rng(seed).normal(0, 1, (count, *shape))
    for number, value in enumerate(values):
        for _ in range(number):
            value += np.roll(value, 1, axis=1)
        value *= 10 * (number + 1) / value.std()
    return np.clip(np.round(values), -128, 127).astype(np.int8)


@functools.cache
def converted(name: str, size: str) -> bytes:
    """A preset in int8; scales, shifts and statistics as if it had been trained."""
    keras.backend.clear_session()
    keras.utils.set_random_seed(0)
    model = build_model(name, size)
    rng = np.random.default_rng(1)
    for weight in model.weights:
        value = weight.numpy()
        if weight.name.startswith("dense/kernel"):
            # So that scores differ; the bilateral network's features are already large.
            weight.assign((1 if name == "bilateral" else 8) * value)
        elif "gamma" in weight.name:
            weight.assign(value * rng.uniform(0.7, 1.4, value.shape))
        elif "beta" in weight.name or "bias" in weight.name:
            weight.assign(value + rng.normal(0, 0.1, value.shape))
    calibration = clips(name, size, 4, seed=2)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.0  # one step makes these clips' statistics the layer's
    model(calibration / np.float32(128), training=True)
    return quantize_int8(model, calibration)


@needs_tflm
@pytest.mark.parametrize(("name", "size"), CELLS)
def test_a_preset_fits_its_limits_and_gives_the_same_bytes(name, size):
    tflite = converted(name, size)
    operators = set(operators_of(tflite))  # refuses what TFLite Micro lacks
    assert not operators & {"DEQUANTIZE", "UNIDIRECTIONAL_SEQUENCE_LSTM"}
    assert len(tflite) <= WEIGHT_BYTES[size]  # including all other data in flash
    if size != "s":  # pointers of 64 bits count twice here: s is measured on the board
        assert host_arena_bytes(tflite) <= ARENA_BYTES[size]
    sounds = clips(name, size, 4, seed=3)
    scores = run_reference(tflite, sounds)
    assert len(np.unique(scores, axis=0)) > 1
    np.testing.assert_array_equal(run_tflm(tflite, sounds), scores)


@needs_tflm
def test_m3nets_diagonal_branch_waits_for_the_other():
    # Origin: measured with TFLite Micro on a 64-bit host; 31 536 bytes in the other order.
    assert host_arena_bytes(converted("m3net", "s")) <= 28_336


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_s_on_the_emulated_board(name, tmp_path):
    if reason := why_no_emulation(BOARD, "tflm"):
        pytest.skip(reason)
    tflite = converted(name, "s")
    sounds = clips(name, "s", 2, seed=4)
    expected = run_reference(tflite, sounds)
    # A waveform also consists of int8 features: as many columns as hold its bytes.
    columns = sounds.reshape(len(sounds), MEL_BINS, -1)
    config = FrontendConfig(mel_bins=MEL_BINS)
    model = small_model(
        tflite,
        config,
        classes=expected.shape[1],
        input_bytes=columns[0].size,
        arena_bytes=ARENA_BYTES["s"],
    )
    bundle = write_bundle(tmp_path / "bundle", model, config, frames=columns.shape[2])
    image = build_firmware(bundle, BOARD, tmp_path / "build")
    result = run_job(image.elf, find_machine(BOARD), columns)
    np.testing.assert_array_equal(result.outputs, expected)
    assert result.arena_used_bytes <= ARENA_BYTES["s"]
    if name == "m3net":  # 0.85 and 1.3 times what DS-CNN, MLPerf Tiny's, needs: 7.7 M, 22.8 kB
        assert result.model_instructions <= 0.85 * 7.7e6
        assert result.arena_used_bytes <= 1.3 * 22_800
