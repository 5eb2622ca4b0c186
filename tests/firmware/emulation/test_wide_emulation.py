# SPDX-License-Identifier: Apache-2.0
"""16-bit activations on the emulated Cortex-M4: int8 at both ends, the desktop's bytes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from firmware_helpers import BOARD, CLASSES, FRAMES, random_features, small_model, write_bundle

from m3net_tf.audio.frontend import FrontendConfig
from m3net_tf.boards.builds.boards import find_machine
from m3net_tf.boards.builds.build import build_compiled, build_firmware
from m3net_tf.boards.emulation.qemu import run_job
from m3net_tf.runtime.interpreter import activation_bits, run_reference

# Mirrors, gate, product and sums; normalisations and their reciprocal roots.
NETWORKS: dict[str, dict[str, object]] = {
    "m3net": {
        "sfp": [{"filters": 8, "kernel": (5, 5), "strides": (4, 4), "separable": False}],
        "tail": [{"filters": 8}],
    },
    "spectromasknet": {
        "modules": (1,),
        "channels": (4,),
        "strides": (4,),
        "expansion": 2,
        "groups": 2,
    },
}


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(name, marks=pytest.mark.slow if name == "spectromasknet" else ())
        for name in NETWORKS
    ],
)
def wide_tflite(request: pytest.FixtureRequest) -> bytes:
    """A network of some 2 000 parameters."""
    from m3net_tf.networks.models import build_model
    from m3net_tf.quantization.ptq import quantize_int16x8
    from m3net_tf.system.keras import keras

    keras.utils.set_random_seed(11)
    shape = (FrontendConfig().mel_bins, FRAMES, 1)
    name = request.param
    model = build_model(name, "mcu", input_shape=shape, classes=CLASSES, overrides=NETWORKS[name])
    return quantize_int16x8(model, random_features(20, seed=1)[..., None])


@pytest.mark.slow
@pytest.mark.parametrize("engine", [pytest.param("tflm", marks=pytest.mark.slow), "compiled"])
def test_the_board_gives_the_desktops_bytes(
    wide_tflite: bytes, engine: str, tmp_path: Path, request: pytest.FixtureRequest
):
    request.getfixturevalue("tflm_possible" if engine == "tflm" else "firmware_possible")
    assert activation_bits(wide_tflite) == 16
    model = small_model(wide_tflite)
    bundle = write_bundle(tmp_path / "bundle", model)
    assert "#define M3NET_MODEL_ACTIVATION_BITS 16" in (bundle / "model.h").read_text()
    if engine == "tflm":
        image = build_firmware(bundle, BOARD, tmp_path / "build")
    else:
        image = build_compiled(bundle, model, BOARD, tmp_path / "build")
    features = random_features(6, seed=2)
    features[0], features[1] = -128, 127
    result = run_job(image.elf, find_machine(BOARD), features)
    np.testing.assert_array_equal(result.outputs, run_reference(wide_tflite, features[..., None]))
    assert len(np.unique(result.outputs, axis=0)) > 1
