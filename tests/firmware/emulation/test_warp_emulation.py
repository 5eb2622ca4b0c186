# SPDX-License-Identifier: Apache-2.0
"""DiffRes on the emulated Cortex-M4: two networks and the warp give the desktop's bytes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from firmware_helpers import BOARD, FRAMES, random_features, small_model, write_bundle

from m3net_tf.audio.frontend import FrontendConfig
from m3net_tf.boards.builds.boards import find_machine
from m3net_tf.boards.builds.build import build_compiled, build_firmware
from m3net_tf.boards.builds.image import FirmwareImage
from m3net_tf.boards.emulation.qemu import run_job
from m3net_tf.export.c_files import CModel
from m3net_tf.export.operators import operators_of
from m3net_tf.export.warp_tables import write_warp_tables
from m3net_tf.quantization.methods import Method, Quantizer
from m3net_tf.runtime.interpreter import host_arena_bytes, run_reference
from m3net_tf.runtime.network import Int8Network

CLASSES = 12
#: The limits of preset ``s``.
ARENA_BYTES, WEIGHTS_BYTES = 64_000, 200_000


def clips(count: int, seed: int) -> np.ndarray:
    """Int8 maps whose frames differ in loudness, (clips, bins, frames, 1)."""
    rng = np.random.default_rng(seed)
    loudness = rng.normal(-40, 40, (count, 1, FRAMES))
    noise = rng.normal(0, 25, (count, FrontendConfig().mel_bins, FRAMES))
    return np.clip(loudness + noise, -128, 127).astype(np.int8)[..., None]


@pytest.fixture(scope="module", params=["ptq+least-error+equalize+bias", "int16x8"])
def network(tflm_possible: None, request: pytest.FixtureRequest) -> Int8Network:
    """Preset ``s`` with weights as they start, its normalisations fitted to the clips."""
    from m3net_tf.networks.models import build_model
    from m3net_tf.system.keras import keras

    keras.utils.set_random_seed(5)
    model = build_model("diffres", "s")
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.5
    calibration = clips(16, seed=1)
    for _ in range(8):
        model(calibration / np.float32(128), training=True)
    head = model.get_layer("dense")
    head.set_weights([20 * weights for weights in head.get_weights()])
    return Quantizer(model, calibration).quantize(Method.parse(request.param)).network


@pytest.fixture(scope="module")
def firmware(network: Int8Network, tmp_path_factory: pytest.TempPathFactory) -> FirmwareImage:
    folder = tmp_path_factory.mktemp("diffres")
    write_export(folder, network)
    return build_firmware(folder, BOARD, folder / "build")


def write_export(folder: Path, network: Int8Network) -> CModel:
    assert network.warp
    model = small_model(
        network.tflite,
        classes=CLASSES,
        operators=tuple(sorted({name for part in network.parts for name in operators_of(part)})),
        arena_bytes=ARENA_BYTES,
        importance=network.importance,
    )
    write_bundle(folder, model)
    write_warp_tables(network.warp, folder)
    return model


@pytest.mark.slow
def test_same_bytes_as_the_desktop(network: Int8Network, firmware: FirmwareImage):
    features = np.concatenate([clips(6, seed=2), random_features(2, seed=3)[..., None]])
    features[-1] = -128
    expected = network.run(run_reference, features)
    assert len(np.unique(expected, axis=0)) >= 6
    result = run_job(firmware.elf, find_machine(BOARD), features[..., 0], report_features=True)
    np.testing.assert_array_equal(result.outputs, expected)
    np.testing.assert_array_equal(result.features, features[..., 0])
    # One arena for both: less than the two need separately.
    apart = sum(map(host_arena_bytes, network.parts))
    assert result.arena_used_bytes < min(ARENA_BYTES, apart)
    assert sum(map(len, network.parts)) < WEIGHTS_BYTES


@pytest.mark.slow
def test_same_bytes_with_the_compiled_engine(network: Int8Network, tmp_path: Path):
    model = write_export(tmp_path, network)
    image = build_compiled(tmp_path, model, BOARD, tmp_path / "build")
    features = np.concatenate([clips(6, seed=2), random_features(2, seed=3)[..., None]])
    result = run_job(image.elf, find_machine(BOARD), features[..., 0], report_features=True)
    np.testing.assert_array_equal(result.outputs, network.run(run_reference, features))
    np.testing.assert_array_equal(result.features, features[..., 0])
    assert result.arena_used_bytes == result.arena_size_bytes
