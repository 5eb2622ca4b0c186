# SPDX-License-Identifier: Apache-2.0
"""The comparison with naive networks: its form, not this machine's speed."""

import json
import sys

import pytest

from m3net_tf import cli
from m3net_tf.lab.bench.training import LABELS, Case, LayerSize, run_bench_train
from m3net_tf.system.errors import ConfigError

TINY = (Case("m3net", "mcu", 2), Case("spectromasknet", "mcu", 1, (12, 12, 1)))
LAYER = LayerSize(clips=1, bins=4, frames=12)


@pytest.mark.slow
def test_networks_and_layer_are_measured():
    lines: list[str] = []
    result = run_bench_train(
        ["m3net/mcu", "diffres_layer"], steps=1, cases=TINY, layer=LAYER, log=lines.append
    )
    assert set(result["networks"]) == {"m3net/mcu"}
    row = result["networks"]["m3net/mcu"]
    assert row["clips"] == 2 and row["input_shape"] == [40, 49, 1]
    assert row["parameters"] == 31_599
    assert row["ratio"] == pytest.approx(row["ours_ms"] / row["naive_ms"], abs=1e-3)
    assert row["ours_ms"] > 0
    layer = result["diffres_layer"]
    assert layer["frames"] == 12
    for name in ("loop", "matrix"):
        faster = layer[f"{name}_ms"] / layer["ours_ms"]
        assert layer[f"times_faster_than_{name}"] == pytest.approx(faster, abs=0.01)
    assert result["steps"] == 1 and result["versions"]["python"]
    assert len(lines) == 2
    json.dumps(result, allow_nan=False)


def test_what_cannot_be_measured():
    with pytest.raises(
        ConfigError, match="'vgg/mcu' to measure: choose from m3net/paper, .*diffres_layer"
    ):
        run_bench_train(["vgg/mcu"])
    with pytest.raises(ConfigError, match="steps is 0"):
        run_bench_train(steps=0)


def test_command(monkeypatch, capsys):
    def fake(labels, *, steps, log):
        log("measuring")
        return {"labels": list(labels), "steps": steps}

    monkeypatch.setattr("m3net_tf.lab.bench.training.run_bench_train", fake)
    arguments = ["m3net", "bench", "train", "--model", LABELS[0], "--model", LABELS[-1]]
    monkeypatch.setattr(sys, "argv", [*arguments, "--steps", "3"])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    assert not stop.value.code
    caught = capsys.readouterr()
    assert json.loads(caught.out) == {"labels": ["m3net/paper", "diffres_layer"], "steps": 3}
    assert "measuring" in caught.err
