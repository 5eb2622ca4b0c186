# SPDX-License-Identifier: Apache-2.0
"""`m3net bench quantize`: the chain's figures that it uses, and the changes that it accepts."""

import json
import shutil
import sys

import numpy as np
import pytest

from m3net_tf import cli
from m3net_tf.export import Bundle
from m3net_tf.lab.bench import quantize as bench
from m3net_tf.runtime.interpreter import run_reference
from m3net_tf.system.errors import ConfigError, FirmwareError
from m3net_tf.training import Run
from m3net_tf.training.features import compute_features

pytestmark = pytest.mark.usefixtures("private_cache")
BOARD = "mps2_an386"


@pytest.fixture(scope="module")
def run(tiny_run, tmp_path_factory):
    folder = tmp_path_factory.mktemp("bench") / "tiny"
    shutil.copytree(tiny_run, folder)
    return Run(folder)


@pytest.fixture
def chain(monkeypatch):
    """A stand-in for the emulated board, with figures that tests change."""
    summary = {
        "accuracy": {"float": 0.9, "int8_desktop": 0.875},
        "board": BOARD,
        "engine": "compiled",
        "instructions": 5_000_000,
        "frontend_instructions": 35_000,
        "arena_bytes": 20_992,
        "arena_used_bytes": 20_000,
        "stack_bytes": 1_500,
        "frontend_bytes": 8_000,
        "ram_bytes": 60_000,
        "sections": {},
        "flash_bytes": 100_000,
        "model_bytes": 30_000,
        "clips": 40,
    }
    monkeypatch.setattr(bench, "run_chain", lambda *_, **__: summary)
    return summary


def command(monkeypatch, capsys, *arguments):
    monkeypatch.setattr(sys, "argv", ["m3net", "bench", "quantize", *map(str, arguments)])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    caught = capsys.readouterr()
    return stop.value.code or 0, caught.out, caught.err


@pytest.mark.slow
def test_figures_are_those_of_the_chain_and_of_each_method(run, chain):
    result = bench.run_bench_quantize([run], BOARD, methods=["ptq", "int16x8"])
    (cell,) = result["cells"]
    assert (cell["board"], cell["network"]) == (BOARD, "tiny")
    assert (cell["instructions"], cell["frontend_instructions"]) == (5_000_000, 35_000)
    assert cell["accuracy"] == {"float": 0.9, "exported": 0.875}
    bundle = Bundle.load(run.folder / "export")
    test = compute_features(run.dataset(None), "test", bundle.frontend)
    right = run_reference(bundle.tflite, test.clean).argmax(1) == test.labels
    assert cell["methods"]["ptq"]["accuracy"] == pytest.approx(np.mean(right))
    assert cell["model_bytes"] == 30_000
    assert set(cell["methods"]) == {"ptq", "int16x8"}
    assert not (run.folder / "quantized").exists()


def test_more_than_one_percent_fails(run, chain, monkeypatch, capsys, tmp_path):
    against = tmp_path / "baselines.json"
    arguments = (run.folder, "--against", against)
    status, out, err = command(monkeypatch, capsys, *arguments)
    assert status == 2 and "is missing: make it with m3net bench quantize" in err
    assert command(monkeypatch, capsys, *arguments, "--update")[0] == 0
    baselines = json.loads(against.read_text())
    accepted = baselines[BOARD]["compiled"]
    accepted["other"] = accepted["tiny"]  # a run that is not measured this time
    against.write_text(json.dumps(baselines))
    chain["arena_used_bytes"] = 20_200
    status, out, err = command(monkeypatch, capsys, *arguments)
    assert status == 0 and json.loads(out)["cells"][0]["arena_used_bytes"] == 20_200
    chain["arena_used_bytes"] += 1
    chain["instructions"] = 6_000_000
    chain["model_bytes"] += 4_000
    status, _, err = command(monkeypatch, capsys, *arguments)
    assert status == 2
    named = "instructions of tiny, arena_used_bytes of tiny, model_bytes of tiny"
    assert f"by more than 1 %: {named}" in err
    assert command(monkeypatch, capsys, *arguments, "--update")[0] == 0
    updated = json.loads(against.read_text())[BOARD]["compiled"]
    assert updated["tiny"]["arena_used_bytes"] == 20_201
    assert updated["other"] == accepted["other"]  # not measured, so kept
    assert command(monkeypatch, capsys, *arguments)[0] == 0


def test_update_needs_a_file(run, monkeypatch, capsys):
    status, _, err = command(monkeypatch, capsys, run.folder, "--update")
    assert status == 2 and "--update needs --against" in err


def test_two_runs_of_one_name(run, tmp_path):
    with pytest.raises(ConfigError, match="rename some of"):
        bench.run_bench_quantize([run, Run(tmp_path / "tiny")], BOARD)


def test_a_board_that_cannot_be_emulated(run, chain):
    chain["emulation_missing"] = "install the tools"
    with pytest.raises(FirmwareError, match="cannot be emulated: install the tools"):
        bench.run_bench_quantize([run], BOARD)
