# SPDX-License-Identifier: Apache-2.0
"""MLPerf Tiny's own runner on an emulated board, and how it gets a port that it does not find."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path

import pytest
from refusals import refuses

from m3net_tf.boards.builds.sources import UnreachableError, fetch_source
from m3net_tf.lab.bench import mlperf
from m3net_tf.lab.bench.mlperf import BENCHMARK, run_bench_mlperf, run_session
from m3net_tf.system.errors import ConfigError, FirmwareError

# What the benchmark's runner does with its modules, in a few lines.
STAND_IN = """
import json, os, sys
import serial
import usb.core
from serial.tools import list_ports
assert callable(usb.core.find)
(found,) = [p for p in list_ports.comports(True) if p.vid]
with serial.Serial(found.device, 115200, timeout=5) as port:
    port.write(b"name%")
    answer = port.read_until(b"m-ready").decode()
os.makedirs("sessions/1")
options = dict(zip(sys.argv[1::2], sys.argv[2::2]))
devices = open(options["--device_list"]).read()
assert f"{found.vid}: {found.pid}" in devices, devices
row = {"answer": answer, "options": options}
json.dump([row], open("sessions/1/results.json", "w"))
"""


@pytest.fixture()
def board():
    """A pty on whose other end a board answers its name."""
    ours, theirs = os.openpty()

    def answer() -> None:
        asked = b""
        while not asked.endswith(b"%"):
            asked += os.read(ours, 64)
        os.write(ours, b"m-name-dut-[it]\r\nm-ready\r\n")

    threading.Thread(target=answer, daemon=True).start()
    yield os.ttyname(theirs)
    os.close(theirs)
    os.close(ours)


def stand_in(folder: Path, text: str) -> Path:
    """A checkout whose runner is a text."""
    (folder / "benchmark/runner").mkdir(parents=True)
    (folder / "benchmark/runner/main.py").write_text(text)
    return folder


def test_the_runner_finds_the_port_that_it_is_given(board: str, tmp_path: Path):
    checkout = stand_in(tmp_path / "tiny", STAND_IN)
    rows = run_session(checkout, board, "it", "accuracy", tmp_path / "data", tmp_path / "out")
    (row,) = rows
    assert row["answer"].startswith("m-name-dut-[it]")
    assert row["options"]["--mode"] == "a"
    assert row["options"]["--test_script"].endswith("benchmark/runner/tests_accuracy.yaml")
    assert row["options"]["--dataset_path"] == str(tmp_path / "data")


def test_what_a_stopped_runner_said_is_in_the_error(tmp_path: Path):
    checkout = stand_in(tmp_path / "tiny", "raise RuntimeError('No interface or DUT detected')")
    with refuses(FirmwareError, "No interface or DUT detected"):
        run_session(checkout, "/dev/null", "it", "accuracy", tmp_path, tmp_path / "out")


@pytest.mark.parametrize(
    ("choice", "name"), [({"tasks": ["sww01"]}, "sww01"), ({"modes": ["latency"]}, "latency")]
)
def test_unknown_networks_and_modes_are_refused(choice: dict, name: str, tmp_path: Path):
    with refuses(ConfigError, name):
        run_bench_mlperf("mps2_an386", tmp_path, **choice)


def test_data_without_labels_are_refused_before_anything_is_built(tmp_path: Path):
    (tmp_path / "kws01").mkdir()
    (tmp_path / "kws01/y_labels.csv").write_text("a.bin,12,0\n")
    with refuses(ConfigError, str(tmp_path / "ad01"), "y_labels.csv"):
        run_bench_mlperf("mps2_an386", tmp_path / "out", ["kws01", "ad01"], data=tmp_path)
    assert not (tmp_path / "out").exists()


@pytest.fixture(scope="module")
def checkout() -> Path:
    try:
        return fetch_source(BENCHMARK)
    except UnreachableError as error:
        pytest.skip(str(error))


@pytest.mark.slow
@pytest.mark.parametrize(("name", "modes"), [("kws01", ()), ("ad01", ("accuracy",))])
def test_the_benchmarks_runner_measures_an_emulated_board(
    checkout: Path, tmp_path: Path, name: str, modes: tuple[str, ...]
):
    result = run_bench_mlperf("mps2_an386", tmp_path, [name], modes)
    row = result["tasks"][name]
    assert row["equal"] == row["files"] > 0
    classes = 12 if name == "kws01" else 2
    lines = (tmp_path / "data" / name / "y_labels.csv").read_text().splitlines()
    assert len({line.split(",")[2] for line in lines}) == classes
    if not modes:
        (report,) = Path(row["sessions"]["performance"]).glob("sessions/*/results.json")
        windows = [loop["infer"] for loop in json.loads(report.read_text()) if "infer" in loop]
        assert [window["iterations"] for window in windows] == [70] * 5
        assert 3_000_000 < row["instructions"] < 4_000_000


@pytest.mark.slow
def test_a_board_is_measured_for_ten_seconds(checkout: Path, tmp_path: Path, monkeypatch):
    """The emulated board stands for one at a serial port; a second of its clock for ten."""
    monkeypatch.setattr(mlperf, "_WINDOW_S", 0.1)
    monkeypatch.setattr(mlperf, "flash_way", lambda board: [])
    monkeypatch.setattr(mlperf, "flash_image", lambda image, report: None)
    emulate = mlperf._connected
    monkeypatch.setattr(
        mlperf, "_connected", lambda image, board, port, log: emulate(image, board, None, log)
    )
    result = run_bench_mlperf(
        "mps2_an386", tmp_path, ["kws01"], ["performance"], port="/dev/ttyACM0"
    )
    row = result["tasks"]["kws01"]
    reports = Path(row["sessions"]["performance"]).glob("sessions/*/results.json")
    last = json.loads(max(reports).read_text())
    runs = {loop["infer"]["iterations"] for loop in last if "infer" in loop}
    assert runs == {-(-row["inferences_per_s"] * 0.1 // 1)}
    assert "instructions" not in row
