# SPDX-License-Identifier: Apache-2.0
"""Live detection of an export that streams: the scores and events of whole windows."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest
from firmware_helpers import (
    APPS,
    FRAMES,
    compile_for_host,
    easy_detector,
    run_tool,
    skip_or_fail,
    small_model,
    write_bundle,
)

from m3net_tf.audio.frontend import FrontendConfig
from m3net_tf.audio.frontend.level import Microphone
from m3net_tf.boards.builds.boards import find_machine
from m3net_tf.boards.builds.build import build_compiled
from m3net_tf.boards.builds.sources import FIRMWARE_DIR
from m3net_tf.boards.emulation.listening import Heard, expected_events, hear
from m3net_tf.boards.emulation.starting import why_no_emulation
from m3net_tf.compiler.host import WARNINGS, engine_folder, engine_sources
from m3net_tf.export import Bundle
from m3net_tf.export.c_files import CModel, compile_model, network_files
from m3net_tf.export.pushes import push_columns, streaming_detector
from m3net_tf.runtime import DetectorConfig, Event
from m3net_tf.runtime.network import Int8Network

CONFIG = FrontendConfig()
RUN_COLUMNS = 4
_CORE = (
    "classifier",
    "crc32",
    "detector",
    "frontend",
    "level",
    "listener",
    "live",
    "platform_defaults",
    "recognizer",
    "ring",
    "status",
)


def detector(threshold: float = 0.2, **changes: object) -> DetectorConfig:
    easy = easy_detector(CONFIG, threshold=threshold, release=0.15)
    return dataclasses.replace(easy, run_columns=RUN_COLUMNS, **changes)


def models(tflite: bytes) -> dict[str, CModel]:
    """Live detection by pushes and by whole windows."""
    model = small_model(tflite)
    return {"pushes": dataclasses.replace(model, push_columns=RUN_COLUMNS), "windows": model}


def recording(sounds: np.ndarray) -> np.ndarray:
    """Sounds with silence between them, int16."""
    silence = np.zeros(sounds.shape[1])
    parts = [part for sound in sounds[[0, 4, 2, 7]] for part in (sound, silence)]
    return (np.concatenate(parts) * 32767).astype("<i2")


def test_the_detector_gets_columns_that_the_network_streams(
    small_tflite: bytes, streaming_tflite: bytes
):
    default = DetectorConfig.default(CONFIG, FRAMES, ["a", "b"])
    streaming = Int8Network(streaming_tflite)
    small = Int8Network(small_tflite)
    config = streaming_detector(default, streaming, CONFIG)
    assert config == dataclasses.replace(default, run_columns=RUN_COLUMNS)
    assert push_columns(streaming, CONFIG, RUN_COLUMNS) == RUN_COLUMNS
    assert push_columns(streaming, CONFIG, 5) is None  # no multiple of the stride
    # It streams, but what remains is too much.
    assert streaming_detector(default, small, CONFIG) == default
    assert streaming_detector(default, small, CONFIG, stream=True).run_columns == 4


def test_both_networks_share_their_weights(streaming_tflite: bytes):
    streamed, whole = (
        compile_model(model)["m3net_network"] for model in models(streaming_tflite).values()
    )
    assert streamed.stream is not None and whole.stream is None
    assert whole.arena_bytes <= streamed.arena_bytes <= 2 * whole.arena_bytes
    texts = [
        network_files(model, compile_model(model)) for model in models(streaming_tflite).values()
    ]
    weights = [text["m3net_network.c"].count("M3NET_WORD_ALIGNED") for text in texts]
    assert weights[0] == weights[1] > 0


def live_program(folder: Path, model: CModel, settings: DetectorConfig) -> Path:
    """Live detection on this computer, which reads samples from standard input."""
    write_bundle(folder, model, detector=settings)
    for file, text in network_files(model, compile_model(model)).items():
        (folder / file).write_text(text)
    core = FIRMWARE_DIR / "core"
    sources = [*(core / f"{part}.c" for part in _CORE), *engine_sources()]
    sources += [FIRMWARE_DIR / "compiled" / "inference.c", APPS / "live_host" / "main.c"]
    sources += [
        folder / f"{part}.c" for part in ("m3net_network", "model_labels", "frontend_tables")
    ]
    options = (*WARNINGS, "-DM3NET_FRONTEND_FIXED")
    folders = (folder, core, engine_folder())
    return compile_for_host(folder / "program", sources, folders, *options)


@pytest.mark.slow
@pytest.mark.parametrize("gate", [{}, {"gate_level": -110, "gate_hold_columns": 3}])
def test_the_host_gives_the_same_scores_and_events(
    streaming_tflite: bytes, sounds: np.ndarray, gate: dict, tmp_path: Path
):
    said = {}
    for name, model in models(streaming_tflite).items():
        program = live_program(tmp_path / name, model, detector(**gate))
        pcm = recording(sounds).tobytes()
        for words in ([], ["interrupted"]):
            said[" ".join([name, *words])] = run_tool(program, *words, data=pcm).decode()
    assert len({*said.values()}) == 1
    assert "event" in said["pushes"]
    assert ("skipped 0\n" in said["pushes"]) is not bool(gate)


@pytest.mark.slow
def test_the_automatic_gain_comes_before_the_front_end(
    streaming_tflite: bytes, sounds: np.ndarray, tmp_path: Path
):
    """A quiet microphone gives what Python's amplified samples give without a gain."""
    model = models(streaming_tflite)["windows"]
    settings = detector(automatic_gain=True)
    quiet = (recording(sounds) // 40).astype(np.int16)
    microphone = Microphone(CONFIG, settings.gain)
    amplified = microphone.push(quiet)
    assert microphone.reading.gain_db > 15
    plain = live_program(tmp_path / "plain", model, detector())
    amplifying = live_program(tmp_path / "amplifying", model, settings)
    expected = run_tool(plain, data=amplified.tobytes())
    assert run_tool(amplifying, data=quiet[: len(amplified)].tobytes()) == expected
    assert run_tool(plain, data=quiet.tobytes()) != expected


def on_this_machine(settings: DetectorConfig, heard: Heard) -> list[Event]:
    """Events of a board's columns and scores."""
    export = SimpleNamespace(
        detector=settings, frontend=CONFIG, detector_scores=lambda outputs: outputs
    )
    return expected_events(cast(Bundle, export), heard.columns, heard.scores)


@pytest.mark.slow
@pytest.mark.parametrize("board", ["mps2_an386", "mps3_an547"])
def test_a_board_gives_the_same_scores_and_events_for_less(
    streaming_tflite: bytes, sounds: np.ndarray, board: str, tmp_path: Path
):
    if reason := why_no_emulation(board):
        skip_or_fail(reason)
    gated = detector(0.57, gate_level=-110, gate_hold_columns=3)
    bundle = write_bundle(tmp_path / "bundle", small_model(streaming_tflite), detector=gated)
    heard = {}
    for name, model in models(streaming_tflite).items():
        image = build_compiled(bundle, model, board, tmp_path / "build")
        heard[name] = hear(image.elf, find_machine(board), recording(sounds))
    pushes = heard["pushes"]
    windows = heard["windows"]
    np.testing.assert_array_equal(pushes.columns, windows.columns)
    np.testing.assert_array_equal(pushes.ends, windows.ends)
    np.testing.assert_array_equal(pushes.scores, windows.scores)
    assert pushes.events == windows.events != []
    assert pushes.events == on_this_machine(gated, pushes)
    before = np.concatenate([[0], pushes.ends[:-1]])
    begins = pushes.ends - before != RUN_COLUMNS
    assert 1 < begins.sum() < len(begins)  # the gate was closed in between
    assert pushes.instructions[~begins].max() < windows.instructions.min() / 3
