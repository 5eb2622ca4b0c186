# SPDX-License-Identifier: Apache-2.0
"""Inputs that once found a defect, and a valid one for each light target."""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path
from unittest import mock

import compiled_networks
import pytest
from fuzz import add_to_log, read_log
from python_targets import TARGETS, Replay

from m3net_tf.boards.device.client import Device
from m3net_tf.compiler.network import compile_network
from m3net_tf.system.errors import FirmwareError

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
def test_changed_networks_run_under_the_sanitizers(tmp_path):
    with mock.patch.object(compiled_networks, "BATCH", 20):
        entry = compiled_networks.run(600, 20, 2, 0, tmp_path / "work")
    assert entry["found"] == []
    assert entry["inputs"] == 20 < entry["next"]


def test_a_changed_network_depends_on_its_numbers_alone():
    first, again, other = (compiled_networks.changed_network(1, n) for n in (7, 7, 8))
    assert first == again != other


@pytest.mark.slow
def test_what_the_sanitizers_find_is_written_down(tmp_path):
    """An arena that is a byte too small is read behind its end."""

    def shrink(tflite, **options):
        network = compile_network(tflite, **options)
        plan = dataclasses.replace(network.plan, arena_bytes=network.plan.arena_bytes - 8)
        return dataclasses.replace(network, plan=plan)

    with (
        mock.patch.object(compiled_networks, "BATCH", 2),
        mock.patch.object(compiled_networks, "compile_network", shrink),
    ):
        entry = compiled_networks.run(600, 2, 2, 0, tmp_path)
    assert entry["status"] == 1
    (path, *_) = map(Path, entry["found"])
    assert path.read_bytes()[4:8] == b"TFL3"
    assert "AddressSanitizer" in path.with_suffix(".log").read_text()


@pytest.mark.slow
def test_the_fuzzer_runs(tmp_path):
    pytest.importorskip("atheris", reason="make fuzz needs pip install -e '.[fuzz]'")
    log = tmp_path / "log.json"
    command = [sys.executable, FOUND.parents[1] / "fuzz/fuzz.py", "--seconds", "2"]
    command += ["--target", "rows", "--log", log]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads(log.read_text())["total_inputs"] > 10
