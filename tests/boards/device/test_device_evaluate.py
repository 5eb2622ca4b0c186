# SPDX-License-Identifier: Apache-2.0
"""Evaluation on a board: resumed after an interruption, and equal to the desktop if emulated."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
from firmware_helpers import skip_or_fail
from refusals import refuses
from rich.console import Console

from m3net_tf.audio.datasets import load_dataset, protocol_statement
from m3net_tf.boards.device.evaluate import evaluate, evaluation_table, nested_clips, results_path
from m3net_tf.boards.device.messages import DeviceInfo, Result
from m3net_tf.boards.emulation.starting import why_no_emulation
from m3net_tf.export import Bundle
from m3net_tf.runtime.interpreter import run_reference
from m3net_tf.system.artifacts import read_json, write_json
from m3net_tf.system.errors import ConfigError, DataError, FirmwareError
from m3net_tf.training import Run

pytestmark = pytest.mark.usefixtures("private_cache")
BOARD = "mps2_an386"


class DesktopBoard:
    """A board that computes on the desktop, and may lose its connection."""

    def __init__(self, bundle: Bundle) -> None:
        self._tflite = bundle.tflite
        self._sha256 = bundle.manifest.model.sha256
        self.runs = 0
        self.runs_left = 10_000

    def info(self) -> DeviceInfo:
        version = {"counter": "cycles", "clock_hz": "64000000"}
        model = {"sha256": self._sha256}
        return DeviceInfo("desk", version, model, {}, (), 256, 0)

    def require_model(self, sha256: str, owner: str) -> None:
        assert sha256 == self._sha256

    def load(self, clip: np.ndarray) -> None:
        assert clip.dtype == np.int8
        self._clip = clip

    def infer(self) -> Result:
        if self.runs_left == 0:
            raise FirmwareError("the connection broke")
        self.runs_left -= 1
        self.runs += 1
        output = run_reference(self._tflite, self._clip[None, ..., None])[0]
        return Result(int(output.argmax()), output, 1500.0, 96_000, 0, 0)


@pytest.fixture(scope="module")
def dataset(tiny_run: Path):
    return Run(tiny_run).dataset(None)


@pytest.mark.slow
def test_a_stopped_evaluation_goes_on(exported: Bundle, dataset, tmp_path: Path, every_step):
    clips = dataset.split("test")[:9]
    board = DesktopBoard(exported)
    board.runs_left = 4
    path = results_path(tmp_path, "desk", "features")
    with pytest.raises(FirmwareError, match="broke"):
        evaluate(board, exported, dataset, clips, path)  # type: ignore[arg-type]
    assert len(read_json(path)["results"]) == 4
    board.runs_left = 100
    lines: list[str] = []
    summary = evaluate(board, exported, dataset, clips, path, log=lines.append)  # type: ignore[arg-type]
    assert board.runs == 9 and lines[0] == f"{path}: has 4 of 9 clips"
    counts = [line.partition(",")[0] for line in lines[1:]]
    assert counts == [f"features on desk: {done}/9 clips" for done in range(5, 10)]
    assert summary["accuracy"] == summary["accuracy_int8_desktop"]
    assert summary["same_bytes_as_desktop"] == 1.0 and summary["clips"] == 9
    assert summary["run_us"] == {"median": 1500.0, "largest": 1500.0}
    assert read_json(path)["summary"] == json.loads(json.dumps(summary))
    console = Console(record=True, width=100)
    console.print(evaluation_table(summary))
    text = console.export_text()
    assert "1.50 ms median" in text and f"{len(clips)} synth clips on desk" in text
    assert f"Protocol: {protocol_statement(dataset)}." in " ".join(text.split())


@pytest.mark.slow
def test_another_number_of_clips_keeps_what_is_measured(exported: Bundle, dataset, tmp_path: Path):
    board = DesktopBoard(exported)
    path = results_path(tmp_path, "desk", "features")

    def run(count: int) -> dict:
        return evaluate(board, exported, dataset, nested_clips(dataset, count), path)  # type: ignore[arg-type]

    first = run(3)
    assert board.runs == 3 and first["clips"] == 3
    more = run(7)
    assert board.runs == 7 and more["clips"] == 7
    fewer = run(3)
    assert board.runs == 7 and len(read_json(path)["results"]) == 7
    assert {**fewer, "clips_sha256": 0} == {**first, "clips_sha256": 0}
    assert fewer["clips_sha256"] == first["clips_sha256"] != more["clips_sha256"]
    run(9)
    assert board.runs == 9


def test_results_of_another_model_are_refused(exported: Bundle, dataset, tmp_path: Path):
    board = DesktopBoard(exported)
    path = results_path(tmp_path, "desk", "features")
    evaluate(board, exported, dataset, dataset.split("test")[:2], path)  # type: ignore[arg-type]
    results = read_json(path)
    results["identity"]["model_sha256"] = "0" * 64
    write_json(path, results)
    lines: list[str] = []
    evaluate(
        board, exported, dataset, dataset.split("test")[:2], path, log=lines.append  # type: ignore[arg-type]
    )  # fmt: skip
    assert board.runs == 4 and "starting again" in lines[0]


def test_every_beginning_of_the_clips_is_spread(dataset):
    clips = dataset.split("test")
    order = nested_clips(dataset, None)
    assert sorted(order, key=clips.index) == list(clips)
    for count in range(1, len(clips)):
        assert nested_clips(dataset, count) == order[:count]
    at = sorted(clips.index(clip) for clip in order[:8])
    assert max(np.diff(at)) <= 2 * -(-len(clips) // 8)


@pytest.mark.parametrize("command", ["device evaluate qemu:mps2_an386", "emulate no_run"])
def test_no_clips_are_refused_by_the_options_own_name(command: str, m3net):
    status, _, error = m3net(*command.split(), "--clips", 0)
    assert status == 2 and error.startswith("error: Invalid value for '--clips': ")


def test_what_cannot_be_evaluated(exported: Bundle, dataset, tmp_path: Path):
    board = DesktopBoard(exported)
    with refuses(ConfigError, "features", "pcm"):
        evaluate(board, exported, dataset, dataset.split("test"), tmp_path / "r", "wav")  # type: ignore[arg-type]
    with refuses(DataError, "synth", "protocol"):
        evaluate(board, exported, dataset, (), tmp_path / "r")  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def copied_run(exported_run: Path, tmp_path_factory) -> Path:
    """A copy of the exported run, in which its firmware is built once."""
    return Path(shutil.copytree(exported_run, tmp_path_factory.mktemp("emulated") / "run"))


@pytest.fixture()
def emulated_run(copied_run: Path, monkeypatch) -> Path:
    """The copied run, with the user's cache, which contains compiled libraries."""
    monkeypatch.delenv("M3NET_CACHE")
    if reason := why_no_emulation(BOARD):
        skip_or_fail(reason)
    return copied_run


@pytest.mark.slow
def test_emulated_board_has_exactly_the_desktops_accuracy(emulated_run: Path, capsys):
    from m3net_tf import cli

    def run(*words: str) -> str:
        command = ["device", *words, f"qemu:{BOARD}", "--run", str(emulated_run)]
        assert not cli.app(command, standalone_mode=False)
        return capsys.readouterr().out

    summary = json.loads(run("evaluate", "--clips", "10", "--json"))
    assert summary["clips"] == 10 and summary["board"] == BOARD
    assert summary["same_bytes_as_desktop"] == summary["same_label_as_desktop"] == 1.0
    assert summary["accuracy"] == summary["accuracy_int8_desktop"]
    assert summary["cost"]["unit"] == "instructions" and summary["cost"]["model"] > 10_000
    result = json.loads(run("evaluate", "--clips", "1", "--input", "pcm", "--json"))
    assert 10_000 < result["cost"]["frontend_per_frame"] <= 40_000
    assert result["same_label_as_desktop"] == 1.0
    facts = json.loads(run("info", "--json"))
    assert facts["board"]["board"] == BOARD and facts["statistics"]["bad_commands"] == 0
    assert facts["board"]["clock_hz"] == 25_000_000 and facts["board"]["audio"] == 1
    assert facts["model"]["classes"] == 10 and facts["model"]["sha256"] == summary["model_sha256"]
    assert facts["labels"] == list(load_dataset("synth").info.labels)
    costs = json.loads(run("profile", "--json"))
    assert costs["unit"] == "instructions" and costs["engine"] == "compiled"
    assert costs["total"] == pytest.approx(summary["cost"]["model"], rel=0.01)
    assert costs["layers"][-1]["operator"] == "SOFTMAX" and costs["macs"] > 50_000
    saved = read_json(emulated_run / "device" / f"{BOARD}-profile.json")
    assert saved == {**costs, "model_sha256": summary["model_sha256"]}
    results = emulated_run / "device" / f"{BOARD}-features.json"
    assert len(read_json(results)["results"]) == 10
    manifest = emulated_run / "export" / "manifest.json"
    manifest_values = read_json(manifest)
    assert manifest_values["model"]["sha256"] == summary["model_sha256"]


@contextlib.contextmanager
def busy_computer() -> Iterator[None]:
    """A computer that keeps each emulator of this process waiting, three hops at a time."""
    ended = threading.Event()

    def stop_and_go() -> None:
        while not ended.wait(0.02):
            children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
            with contextlib.suppress(OSError):  # it has just ended
                for pid in map(int, children):
                    if "qemu" in Path(f"/proc/{pid}/comm").read_text():
                        os.kill(pid, signal.SIGSTOP)
                        time.sleep(0.06)
                        os.kill(pid, signal.SIGCONT)

    thread = threading.Thread(target=stop_and_go)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


@pytest.mark.slow
def test_an_emulated_board_hears_a_file(emulated_run: Path, tmp_path: Path, capsys):
    """The recording continues through the sound, and the monitor ends with it."""
    from m3net_tf import cli

    sound = tmp_path / "sound.wav"
    pcm = np.random.default_rng(3).integers(-9000, 9000, 9600).astype(np.int16)
    soundfile.write(sound, pcm, 16_000)
    run = ["--run", str(emulated_run), "--play", str(sound)]
    target = ["--label", "clap", "--folder", str(tmp_path / "mine"), "--seconds", "0.2"]
    command = ["device", "capture", f"qemu:{BOARD}", *target, *run]
    with refuses(ConfigError, "0.60 s", "0.2 s"):
        cli.app([*command, "--count", "4"], standalone_mode=False)
    with busy_computer():
        assert not cli.app([*command, "--count", "3"], standalone_mode=False)
    clips = sorted((tmp_path / "mine" / "clap").iterdir())
    recorded = [soundfile.read(clip, dtype="int16")[0] for clip in clips]
    np.testing.assert_array_equal(np.concatenate(recorded), pcm)
    capsys.readouterr()
    assert not cli.app(["monitor", f"qemu:{BOARD}", *run], standalone_mode=False)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"building the firmware of {emulated_run} for {BOARD}"
    # The sound, and silence for as long as the model's window.
    assert lines[-1].startswith("1.6 s of sound, ") and lines[-1].endswith(" 0 hops lost")
