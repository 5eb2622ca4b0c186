# SPDX-License-Identifier: Apache-2.0
"""The WebAssembly module: features, scores and events of Python to the bit, without imports."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from firmware_helpers import (
    APPS,
    FRAMES,
    easy_detector,
    run_tool,
    skip_or_fail,
    small_model,
    write_bundle,
)

from m3net_tf.audio.frontend import FrontendConfig, fixed_features_int8
from m3net_tf.audio.frontend.level import Gain, Microphone
from m3net_tf.compiler.wasm import build_module, wasm_unavailable_reason
from m3net_tf.export.c_files import compile_model
from m3net_tf.runtime import Detector, DetectorConfig
from m3net_tf.runtime.interpreter import run_reference
from m3net_tf.system.errors import FirmwareError

CONFIG = FrontendConfig()


DETECTOR = easy_detector(CONFIG, threshold=0.1, release=0.09)  # every run makes an event
STREAMED = dataclasses.replace(DETECTOR, run_columns=4)


def build(
    folder: Path, tflite: bytes, detector: DetectorConfig, push_columns: int | None = None
) -> Path:
    model = small_model(tflite, push_columns=push_columns)
    bundle = write_bundle(folder / "bundle", model, detector=detector)
    build_module(compile_model(model), bundle, folder / "m3net.wasm")
    return folder / "m3net.wasm"


@pytest.mark.parametrize(
    ("network", "push_columns", "detector"),
    [
        pytest.param("small_tflite", None, DETECTOR, marks=pytest.mark.slow),
        ("streaming_tflite", 4, STREAMED.with_gain(Gain(26.0, automatic=True))),
    ],
)
def test_features_scores_and_events_are_pythons(
    network: str,
    push_columns: int | None,
    detector: DetectorConfig,
    sounds: np.ndarray,
    tmp_path: Path,
    request: pytest.FixtureRequest,
):
    tflite: bytes = request.getfixturevalue(network)
    missing = "" if shutil.which("node") else "node not found: apt-get install nodejs"
    if reason := wasm_unavailable_reason() or missing:
        skip_or_fail(reason)
    module = build(tmp_path, tflite, detector, push_columns)
    pcm = (sounds[[0, 4, 2, 7]] * 32768).astype("<i2").reshape(-1)
    pcm = pcm[: len(pcm) // CONFIG.hop_samples * CONFIG.hop_samples]
    if detector.gain.used:
        pcm = (pcm // 20).astype("<i2")
    (tmp_path / "pcm").write_bytes(pcm.tobytes())
    microphone = Microphone(CONFIG, detector.gain)
    pcm = microphone.push(pcm)
    assert (microphone.gain > 0) is detector.gain.used
    answer = json.loads(run_tool("node", APPS / "wasm" / "run.mjs", module, tmp_path / "pcm"))
    assert answer["imports"] == [] and answer["status"] == 0
    assert answer["frames"] == FRAMES and answer["sample_rate_hz"] == CONFIG.sample_rate_hz

    columns = np.array(answer["columns"], np.int8).T
    np.testing.assert_array_equal(columns, fixed_features_int8(CONFIG, pcm))
    reference = Detector(detector)
    runs = []
    events = []
    for place, column in enumerate(columns.T):
        if reference.wants_inference(column):
            window = columns[:, place + 1 - FRAMES : place + 1]
            runs.append(run_reference(tflite, window[None, ..., None])[0])
            if event := reference.step(runs[-1]):
                events.append([event.column, event.label, event.score])
    np.testing.assert_array_equal(answer["runs"], runs)
    assert answer["events"] == events and len(events) > 2
    window = columns[:, -FRAMES:]
    np.testing.assert_array_equal(np.array(answer["input"]).reshape(window.shape), window)
    expected = run_reference(tflite, window[None, ..., None])[0]
    np.testing.assert_array_equal(answer["scores"], expected)


def test_without_its_tools_it_says_what_to_install(
    small_tflite: bytes, tmp_path: Path, monkeypatch
):
    monkeypatch.setenv("PATH", "")
    words = "clang and wasm-ld not found: apt-get install clang lld"
    with pytest.raises(FirmwareError, match=words):
        build(tmp_path, small_tflite, DETECTOR)
