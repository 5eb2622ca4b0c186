# SPDX-License-Identifier: Apache-2.0
"""Evaluation on a board: resumed where it stopped, and exactly the desktop's on an emulated one."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from m3net_tf.artifacts import read_json
from m3net_tf.datasets import load_dataset
from m3net_tf.device.client import DeviceInfo, Result
from m3net_tf.device.evaluate import evaluate, evaluation_table, results_path
from m3net_tf.errors import ConfigError, DataError, FirmwareError
from m3net_tf.export import Bundle, export_run
from m3net_tf.quantization.runtime import run_reference
from m3net_tf.reports.chain import why_no_emulation
from m3net_tf.training import Run

pytestmark = pytest.mark.usefixtures("private_cache")
BOARD = "mps2_an386"


class DesktopBoard:
    """A board that computes on the desktop, and may lose its connection."""

    def __init__(self, bundle: Bundle) -> None:
        self._tflite = bundle.tflite
        self._sha256 = bundle.manifest["model"]["sha256"]
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
def bundle(tiny_run: Path, private_cache: Path, tmp_path_factory) -> Bundle:
    return export_run(Run(tiny_run), None, tmp_path_factory.mktemp("export") / "export")


@pytest.fixture(scope="module")
def dataset(tiny_run: Path):
    return Run(tiny_run).dataset(None)


def test_a_stopped_evaluation_goes_on(bundle: Bundle, dataset, tmp_path: Path):
    clips = dataset.split("test")[:9]
    board = DesktopBoard(bundle)
    board.runs_left = 4
    path = results_path(tmp_path, "desk", "features")
    with pytest.raises(FirmwareError, match="broke"):
        evaluate(board, bundle, dataset, clips, path)  # type: ignore[arg-type]
    assert len(read_json(path)["results"]) == 4
    board.runs_left = 100
    lines: list[str] = []
    calls: list[tuple[int, int]] = []
    summary = evaluate(
        board, bundle, dataset, clips, path, log=lines.append,  # type: ignore[arg-type]
        progress=lambda done, total: calls.append((done, total)),
    )  # fmt: skip
    assert board.runs == 9 and lines == [f"{path}: going on behind 4 clips"]
    assert calls == [(done, 9) for done in range(5, 10)]
    assert summary["accuracy"] == summary["accuracy_int8_desktop"]
    assert summary["same_bytes_as_desktop"] == 1.0 and summary["clips"] == 9
    assert summary["run_us"] == {"median": 1500.0, "largest": 1500.0}
    assert read_json(path)["summary"] == json.loads(json.dumps(summary))
    console = Console(record=True, width=100)
    console.print(evaluation_table(summary))
    assert "1.50 ms median" in console.export_text()


def test_results_of_other_clips_are_not_taken(bundle: Bundle, dataset, tmp_path: Path):
    board = DesktopBoard(bundle)
    path = results_path(tmp_path, "desk", "features")
    evaluate(board, bundle, dataset, dataset.split("test")[:2], path)  # type: ignore[arg-type]
    lines: list[str] = []
    evaluate(
        board, bundle, dataset, dataset.split("test")[2:5], path, log=lines.append  # type: ignore[arg-type]
    )  # fmt: skip
    assert board.runs == 5 and "starting anew" in lines[0]


def test_what_cannot_be_evaluated(bundle: Bundle, dataset, tmp_path: Path):
    board = DesktopBoard(bundle)
    with pytest.raises(ConfigError, match="choose one of features, pcm"):
        evaluate(board, bundle, dataset, dataset.split("test"), tmp_path / "r", "wav")  # type: ignore[arg-type]
    with pytest.raises(DataError, match="has no such clips"):
        evaluate(board, bundle, dataset, (), tmp_path / "r")  # type: ignore[arg-type]


@pytest.fixture()
def emulated_run(tiny_run: Path, bundle: Bundle, tmp_path: Path, monkeypatch) -> Path:
    """A copy of the tiny run with its export, and its firmware built in the user's cache."""
    import shutil

    monkeypatch.delenv("M3NET_CACHE")
    if reason := why_no_emulation(BOARD):
        if os.environ.get("M3NET_REQUIRE_TFLM") == "1":
            pytest.fail(f"M3NET_REQUIRE_TFLM=1, but: {reason}")
        pytest.skip(reason)
    folder = tmp_path / "run"
    shutil.copytree(tiny_run, folder)
    shutil.copytree(bundle.folder, folder / "export")
    return folder


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
    heard = json.loads(run("evaluate", "--clips", "1", "--input", "pcm", "--json"))
    assert 10_000 < heard["cost"]["frontend_per_frame"] <= 40_000
    assert heard["same_label_as_desktop"] == 1.0
    facts = json.loads(run("info"))
    assert facts["board"]["board"] == BOARD and facts["statistics"]["bad_commands"] == 0
    assert facts["labels"] == list(load_dataset("synth").info.labels)
    assert "whole run" in run("profile")
    results = emulated_run / "device" / f"{BOARD}-features.json"
    assert len(read_json(results)["results"]) == 10
    manifest = emulated_run / "export" / "manifest.json"
    other = read_json(manifest)
    assert other["model"]["sha256"] == summary["model_sha256"]
