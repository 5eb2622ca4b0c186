# SPDX-License-Identifier: Apache-2.0
"""The MLPerf Tiny protocol: every answer, and complete sessions of an independent runner."""

from __future__ import annotations

import os
import select
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from eembc_client import Runner
from firmware_helpers import BuiltFirmware, random_features
from monitor_host import CLASSES, WINDOW_SAMPLES, build_monitor, expected_output, host_features

INPUT_BYTES = 40 * 49


class Pipe:
    """The host's monitor as a wire."""

    def __init__(self, program: Path) -> None:
        self.process = subprocess.Popen(
            [program, "serve"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0
        )

    def read(self, timeout_s: float) -> bytes:
        assert self.process.stdout
        ready, _, _ = select.select([self.process.stdout], [], [], timeout_s)
        return os.read(self.process.stdout.fileno(), 65536) if ready else b""

    def write(self, data: bytes) -> None:
        assert self.process.stdin
        self.process.stdin.write(data)


@pytest.fixture()
def runner(monitor_host: Path) -> Iterator[Runner]:
    pipe = Pipe(monitor_host)
    made = Runner(pipe)
    boot = made.until_ready()
    assert boot[0] == "m3net ready protocol=1"
    assert boot[1] == "m-timestamp-mode-performance" and boot[2].startswith("m-lap-us-")
    assert boot[3:] == ["m-init-done"]
    yield made
    pipe.process.kill()
    pipe.process.communicate()


def reals(scores: np.ndarray) -> np.ndarray:
    """Scores as the benchmark prints them: thousandths, cut off."""
    return ((scores.astype(int) + 128) * 1000 // 256) / 1000


@pytest.mark.parametrize(
    ("command", "lines"),
    [
        ("name", ["m-name-dut-[host]"]),
        ("profile", ["m-profile-[ULPMark for tinyML Firmware V0.0.1]", "m-model-[kws01]"]),
        (" name  and more", ["m-name-dut-[host]"]),
        ("results", ["m-results-[" + ",".join(["0.000"] * CLASSES) + "]"]),
        ("", ["e-[Unknown command: ]"]),
        ("   ", ["e-[Unknown command: ]"]),
        ("Name", ["e-[Unknown command: Name]"]),
        ("nam\x01e", ["e-[Unknown command: nam?e]"]),
        ("infer 0", ["e-[Inference iterations must be >0]"]),
        ("infer -3 2", ["e-[Inference iterations must be >0]"]),
        ("infer many", ["e-[Inference iterations must be >0]"]),
        ("infer 1 -1", ["e-[Inference warmup must be >=0]"]),
        ("infer 10001 1", ["e-[Inference iterations and warmup must be <=10000]"]),
        ("infer 99999999999999999999 1", ["e-[Inference iterations and warmup must be <=10000]"]),
        ("infer 1 0", ["Input db has 0 elemented, expected 1960"]),
        ("db", ["e-[Command 'db' requires a subcommand]"]),
        ("db load", ["e-[Command 'db load' requires the # of bytes]"]),
        ("db load 0", ["e-[Command 'db load' must be >0 bytes]"]),
        ("db load -5", ["e-[Command 'db load' must be >0 bytes]"]),
        ("db load x", ["e-[Command 'db load' must be >0 bytes]"]),
        ("db load 32001", ["Supplied buffer size 32001 exceeds maximum of 32000"]),
        ("db load 99999999999", ["Supplied buffer size 99999999999 exceeds maximum of 32000"]),
        ("db 123", ["e-[Insufficent number of hex digits]"]),
        ("db 1234", []),
        ("db print", []),
        ("db " + "00" * 60, ["e-[Command too long]"]),
    ],
)
def test_answers(runner: Runner, command: str, lines: list[str]):
    assert runner.command(command) == lines


def test_timestamp_goes_up(runner: Runner):
    times = [int(runner.command("timestamp")[0].removeprefix("m-lap-us-")) for _ in range(3)]
    assert times == sorted(set(times))


def test_buffer_takes_both_cases_and_drops_what_is_too_much(runner: Runner):
    assert runner.command("db load 10") == ["m-[Expecting 10 bytes]"]
    assert runner.command("db 00fFAb7F") == []
    assert runner.command("db 1020304050607080") == ["m-load-done"]
    assert runner.command("db 99") == []
    runner.command("db load 4")
    assert runner.command("db 12zz") == ["e-[Invalid hex digit 'zz']"]
    runner.command("db load 10")
    runner.command("db 00fFAb7F1020304050" + "60")
    # An extra empty line, as the benchmark's own firmware has it where a row is not full.
    rows = ["m-buffer-00-ff-ab-7f-10-20-30-40", "m-buffer-50-60", ""]
    assert runner.command("db print") == rows
    assert runner.command("db load 99999") == [
        "Supplied buffer size 99999 exceeds maximum of 32000"
    ]
    assert runner.command("db 0102030405") == []  # nothing is announced any more
    assert runner.command("db print") == []


def test_lines_of_an_inference(runner: Runner):
    features = random_features(1, seed=4)[0]
    runner.download(features.tobytes())
    inference = runner.infer(3, 2)
    assert [line.rstrip("0123456789") for line in inference.lines[:-1]] == [
        "m-warmup-start-", "m-warmup-done", "m-infer-start-", "m-lap-us-", "m-lap-us-",
        "m-infer-done",
    ]  # fmt: skip
    assert inference.lines[0].endswith("-2") and inference.lines[2].endswith("-3")
    expected = reals(expected_output(features))
    np.testing.assert_array_equal(inference.results, expected)
    text = ",".join(f"{value:.3f}" for value in expected)
    assert inference.lines[-1] == f"m-results-[{text}]"
    assert runner.command("results") == [f"m-results-[{text}]"]
    assert runner.command("infer 1")[0] == "m-warmup-start-10"
    assert runner.command("infer")[2] == "m-infer-start-1"


def test_samples_instead_of_features(runner: Runner):
    pcm = np.random.default_rng(5).integers(-9000, 9000, WINDOW_SAMPLES).astype("<i2")
    runner.download(pcm.tobytes())
    inference = runner.infer(2, 0)
    expected = reals(expected_output(host_features(pcm)))
    np.testing.assert_allclose(
        inference.results, expected, atol=2.5 / 256
    )  # features: one step off


def test_energy_mode_reports_time_by_the_pin_alone(runner: Runner):
    runner.wire.write(b"mode energy\n")
    lines = runner.until_ready()
    assert lines == ["m3net ok mode baud=9600", "m-timestamp-mode-energy", "m-init-done"]
    assert runner.command("timestamp") == []
    runner.download(bytes(INPUT_BYTES))
    assert [line for line in runner.command("infer 1 1") if "lap" in line] == []
    runner.wire.write(b"mode performance\n")
    assert runner.until_ready()[0] == "m3net ok mode baud=115200"


def test_a_build_starts_in_energy_mode(energy_monitor_host: Path):
    """The benchmark's runner switches the board off and on without asking for the mode."""
    pipe = Pipe(energy_monitor_host)
    runner = Runner(pipe)
    ready = ["m3net ready protocol=1", "m-timestamp-mode-energy", "m-init-done"]
    assert runner.until_ready() == ready
    assert runner.identify() == ("host", "ic01")
    pipe.write(b"version\n")
    assert " baud=9600 reset=power" in runner.line(5)
    assert runner.command("timestamp") == []
    runner.download(bytes(INPUT_BYTES))
    assert runner.infer(2, 1).laps_us == []
    pipe.write(b"mode performance\n")
    assert runner.until_ready()[:2] == [
        "m3net ok mode baud=115200",
        "m-timestamp-mode-performance",
    ]
    assert runner.command("timestamp")[0].startswith("m-lap-us-")
    pipe.write(b"reset\n")  # as power-up does
    assert runner.until_ready() == ["m3net ok reset", *ready]
    pipe.process.kill()
    pipe.process.communicate()


def test_pixels_are_128_more_than_the_input(energy_monitor_host: Path):
    """Energy mode has no lines of time, which is all that differs from performance mode."""
    pixels = np.random.default_rng(6).integers(0, 256, INPUT_BYTES).astype(np.uint8)
    pipe = Pipe(energy_monitor_host)
    runner = Runner(pipe)
    runner.until_ready()
    runner.download(pixels.tobytes())
    expected = reals(expected_output((pixels ^ 128).view(np.int8)))
    for _ in range(2):  # the received pixels stay as they are
        np.testing.assert_array_equal(runner.infer(1, 1).results, expected)
    row = "m-buffer-" + "-".join(f"{pixel:02x}" for pixel in pixels[:8])
    assert runner.command("db print")[0] == row
    pipe.process.kill()
    pipe.process.communicate()


def test_the_result_of_floats_is_their_distance_to_the_output(
    monitor_host: Path, tmp_path_factory: pytest.TempPathFactory
):
    folder = tmp_path_factory.mktemp("anomaly")
    program = build_monitor(folder, "M3NET_EEMBC_MODEL_ID=ad01", classes=INPUT_BYTES)
    values = np.random.default_rng(7).uniform(-1.2, 1.2, INPUT_BYTES).astype("<f4")
    values[:3] = np.nan, np.inf, -np.inf
    pipe = Pipe(program)
    runner = Runner(pipe)
    runner.until_ready()
    assert runner.identify()[1] == "ad01"
    assert runner.command(f"db load {INPUT_BYTES}")[0].startswith("m-[Expecting")
    runner.command("db " + "00" * 31)
    assert runner.command("infer 1 0") == [f"Input db has 31 elemented, expected {4 * INPUT_BYTES}"]
    runner.download(values.tobytes())  # must not stop the firmware
    runner.infer(1, 0)
    values[:3] = 0.5, 0.25, -0.75
    runner.download(values.tobytes())
    inference = runner.infer(2, 1)
    scale, zero = 1 / 128, 0
    steps = values / scale
    whole = np.trunc(steps + np.where(steps < 0, -0.5, 0.5))
    features = np.clip(whole + zero, -128, 127).astype(np.int8)
    outputs = (expected_output(features, INPUT_BYTES).astype(float) + 128) / 256
    distance = np.mean(np.square(outputs - values))
    np.testing.assert_allclose(inference.results, [distance], atol=1.5e-3)
    pipe.process.kill()
    pipe.process.communicate()


@pytest.mark.slow
def test_a_build_for_a_board_starts_in_energy_mode(
    built: BuiltFirmware, build_variant: Callable[..., Path]
):
    from m3net_tf.boards.device import open_port

    elf = build_variant(settings=("M3NET_EEMBC_MODE=energy", "M3NET_EEMBC_MODEL_ID=ic01"))
    with open_port("qemu:mps2_an386", firmware=lambda _: elf) as port:
        runner = Runner(port)
        assert runner.until_ready()[2:] == ["m-timestamp-mode-energy", "m-init-done"]
        assert runner.identify() == ("mps2_an386", "ic01")
        port.write(b"version\n")
        assert " baud=9600 " in runner.line(5)


def test_sessions_with_the_emulated_board(built: BuiltFirmware):
    """Accuracy and performance mode; the scores equal the desktop's."""
    from m3net_tf.boards.device import open_port
    from m3net_tf.runtime.interpreter import run_reference

    with open_port("qemu:mps2_an386", firmware=lambda _: built.image.elf) as port:
        runner = Runner(port)
        boot = runner.until_ready()
        assert boot[2:] == ["m-timestamp-mode-performance", boot[3], "m-init-done"]
        assert runner.identify() == ("mps2_an386", "kws01")
        clips = random_features(3, seed=7)
        rows = runner.accuracy([clip.tobytes() for clip in clips])
        expected = reals(run_reference(built.tflite, clips[..., None]))
        np.testing.assert_allclose(rows, expected / expected.sum(axis=1, keepdims=True))
        rate = runner.performance(clips[0].tobytes(), runs=7, warmup=1)
        # A billion instructions a second, and about half a million for this network.
        assert 500 < rate < 10_000
        port.write(b"mode energy\n")
        assert "m-timestamp-mode-energy" in runner.until_ready()
        assert runner.infer(1, 0).laps_us == []
