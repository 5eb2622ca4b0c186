# SPDX-License-Identifier: Apache-2.0
"""Inputs that once found a defect, and a valid one for each light target."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from fuzz import add_to_log, read_log
from python_targets import TARGETS, Replay

from m3net_tf.device.client import Device
from m3net_tf.errors import FirmwareError

FOUND = Path(__file__).parents[1] / "data/fuzz"
LIGHT = ("keras", "manifest", "metadata", "rows", "uart")


@pytest.mark.parametrize(
    "path", [pytest.param(path, id=f"{path.parent.name}-{path.name}") for path in FOUND.glob("*/*")]
)
def test_a_found_input_is_refused_by_one_line(path):
    TARGETS[path.parent.name].prepare()(path.read_bytes())


@pytest.mark.parametrize("name", LIGHT)
def test_seeds_are_accepted(name):
    take = TARGETS[name].prepare()
    for seed in TARGETS[name].seeds():
        take(seed)


def test_a_line_that_announces_too_much_is_refused():
    device = Device(Replay(b"m3net data bytes=99999999999 crc=0x0\n"))
    with pytest.raises(FirmwareError, match="announces 99999999999 bytes"):
        device.next_message(1.0)


def test_the_log_adds_up_inputs_and_keeps_other_targets(tmp_path):
    log = tmp_path / "log.json"
    for name, inputs, peak in (("rows", 10, 70), ("yaml", 5, 80), ("rows", 3, 60)):
        entry = {"target": name, "inputs": inputs, "seconds": 1.5, "peak_rss_mb": peak}
        add_to_log(log, entry)
    assert json.loads(log.read_text())["total_inputs"] == 18
    rows = read_log(log)["rows"]
    assert (rows["inputs"], rows["total_inputs"], rows["total_seconds"]) == (3, 13, 3.0)
    assert rows["peak_rss_mb"] == 70


@pytest.mark.slow
def test_the_fuzzer_runs(tmp_path):
    pytest.importorskip("atheris", reason="make fuzz needs pip install 'm3net_tf[fuzz]'")
    log = tmp_path / "log.json"
    command = [sys.executable, FOUND.parents[1] / "fuzz/fuzz.py", "--seconds", "2"]
    command += ["--target", "rows", "--log", log]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads(log.read_text())["total_inputs"] > 10
