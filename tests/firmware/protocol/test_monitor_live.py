# SPDX-License-Identifier: Apache-2.0
"""Live detection on the emulated board: sound in real time, events as in Python."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import time

import numpy as np
import pytest
from firmware_helpers import CLASSES, FRAMES, BuiltFirmware, without_sleep

from m3net_tf.audio.frontend import FrontendConfig
from m3net_tf.boards.device import Device, open_port
from m3net_tf.boards.emulation.qemu import console_command
from m3net_tf.runtime.detector import Detector
from m3net_tf.runtime.detector_config import DetectorConfig
from m3net_tf.runtime.interpreter import run_reference
from m3net_tf.runtime.recognizer import listen

#: Sixty for the figure in the documentation.
SECONDS = float(os.environ.get("M3NET_LIVE_SECONDS", "6"))
#: 31 million instructions a second: a little more than the real board's 25 MHz.
PACE = ("-icount", "shift=5")
STACK_LIMIT_BYTES = 4096
HOP_US = 20_000


def scene() -> np.ndarray:
    """Bursts of tones and noise at random gaps, int16."""
    rng = np.random.default_rng(8)
    sound = rng.normal(0, 60, int(SECONDS * 16_000))
    at = 2000
    while at < len(sound) - 20_000:
        time_s = np.arange(int(rng.integers(3000, 14_000))) / 16_000
        tone = np.sin(2 * np.pi * rng.uniform(100, 6000) * time_s)
        burst = tone if rng.random() < 0.5 else rng.normal(0, 0.5, len(time_s))
        sound[at : at + len(time_s)] += rng.uniform(500, 20_000) * burst
        at += len(time_s) + int(rng.integers(1000, 9000))
    return np.clip(np.round(sound), -32768, 32767).astype(np.int16)


def lively(config: DetectorConfig, scores: np.ndarray) -> DetectorConfig:
    """Thresholds in the middle of an untrained network's scores, so that there are events."""
    classes = []
    for label, settings in enumerate(config.classes):
        high, low = np.quantile(scores[:, label], (0.8, 0.5))
        classes.append(
            dataclasses.replace(
                settings,
                threshold=float(high),
                release=float(low),
                suppression_columns=10,
                window_runs=2,
                hits=1 + label % 2,
            )
        )
    return dataclasses.replace(config, classes=tuple(classes), gate_level=-60, gate_hold_columns=20)


@pytest.fixture(scope="module")
def live_session(built: BuiltFirmware, build_variant, tmp_path_factory):
    """The board's output for the scene: columns, scores and events, statistics and memory."""
    pcm = scene()
    frontend = FrontendConfig()
    default = DetectorConfig.default(frontend, FRAMES, [f"label{i}" for i in range(CLASSES)])

    def model(windows: np.ndarray) -> np.ndarray:
        return run_reference(built.tflite, windows)

    tape = listen(frontend, model, default, [pcm])
    config = lively(default, (tape.scores.astype(float) + 128) / 256)
    elf = build_variant(detector=config)
    elf = without_sleep(elf, tmp_path_factory.mktemp("live") / "live.elf")
    column_count = 1 + (len(pcm) - 512) // 320
    columns: list[bytes] = []
    scores: dict[int, bytes] = {}
    events: list[tuple[int, int, int]] = []
    latencies_us: list[int] = []
    port = open_port(
        "qemu:mps2_an386",
        firmware=lambda _: elf,
        sound=pcm.astype("<i2").tobytes(),
        emulator_arguments=PACE,
    )
    with Device(port) as device:
        device.request("stream mic columns scores")
        while len(columns) < column_count:
            message = device.stream(300.0)
            assert message is not None
            if message.word == "column":
                assert message.number("column") == len(columns)
                columns.append(bytes.fromhex(message.fields["values"]))
            elif message.word == "scores":
                scores[message.number("column")] = bytes.fromhex(message.fields["out"])
            elif message.word == "event":
                events.append(tuple(message.number(key) for key in ("column", "label", "score")))
                latencies_us.append(message.number("latency_us"))
            else:
                assert message.word == "level"
        statistics = device.request("stat", timeout_s=300).numbers()
        memory = device.request("memory", timeout_s=300).numbers()
    features = np.stack([np.frombuffer(column, np.int8) for column in columns], axis=1)
    return config, model, features, scores, events, latencies_us, statistics, memory, pcm


def test_events_are_those_of_the_python_detector(live_session):
    """Exactly, from the board's columns, which are within a step of the reference."""
    from m3net_tf.audio.frontend import features_int8

    config, model, features, scores, events, _, _, _, pcm = live_session
    apart = np.abs(features.astype(int) - features_int8(FrontendConfig(), pcm / 32768.0))
    assert apart.max() <= 2 and (apart <= 1).mean() >= 0.999
    detector = Detector(config)
    expected = []
    runs = {}
    for column in range(features.shape[1]):
        if detector.wants_inference(features[:, column]):
            window = features[:, column - FRAMES + 1 : column + 1]
            output = model(window[None, ..., None])[0]
            runs[column] = output.tobytes()
            if event := detector.step(output):
                expected.append((event.column, event.label, event.score))
    last = features.shape[1] - 1  # output after the last column is not read
    assert {at: out for at, out in scores.items() if at < last} == {
        at: out for at, out in runs.items() if at < last
    }
    assert [event for event in events if event[0] < last] == [
        event for event in expected if event[0] < last
    ]
    assert len(expected) > SECONDS / 2 and len({label for _, label, _ in expected}) > 1


def test_no_overrun_little_stack_and_prompt_events(live_session):
    *_, latencies_us, statistics, memory, _ = live_session
    assert statistics["lost_hops"] == statistics["audio_overruns"] == 0
    assert statistics["uart_overruns"] == 0
    assert statistics["skipped_runs"] > 0 and statistics["runs"] > 10
    assert 0 < memory["stack_used"] <= STACK_LIMIT_BYTES
    assert max(latencies_us) <= HOP_US + statistics["max_run_us"]
    assert statistics["max_latency_us"] >= max(latencies_us)


def test_garbage_in_the_job_memory_is_reported_and_skipped(built: BuiltFirmware, tmp_path):
    """Random memory content after power-up must not keep a board from listening."""
    image = tmp_path / "image"
    console = tmp_path / "console"
    image.write_bytes(bytes(range(1, 65)))
    console.touch()
    command = console_command(built.image.elf, built.machine, f"file:{console}", image=image)
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    try:
        until_s = time.monotonic() + 600
        while b"m-ready" not in console.read_bytes() and time.monotonic() < until_s:
            time.sleep(0.05)
    finally:
        process.kill()
        process.wait()
    lines = console.read_text().splitlines()
    assert lines[1].startswith("m3net error job_magic no job image in memory: ")
    assert lines[2:4] == ["m3net ready protocol=1", "m-timestamp-mode-performance"]
