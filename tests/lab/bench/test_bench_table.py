# SPDX-License-Identifier: Apache-2.0
"""Hours of a table's trainings: the counted runs and the timed step."""

import json
import math

import pytest
import yaml
from refusals import refuses

from m3net_tf.audio.datasets import dataset_info
from m3net_tf.lab.bench import table as bench_table
from m3net_tf.lab.bench.table import run_bench_table
from m3net_tf.lab.studies.paper_list import table_results
from m3net_tf.networks.models.complexity import count_macs, roofline_s
from m3net_tf.system.errors import ConfigError
from m3net_tf.system.keras import keras
from m3net_tf.training.clips.features import input_shape
from m3net_tf.training.network import build_network
from m3net_tf.training.recipe import Recipe

GRID = """
title: Taught and untaught
paper: Somebody, 2025
table: Table 9
base: {dataset: {name: esc10}, model: {name: m3net, preset: mcu}, training: {epochs: 3}}
seeds: [0, 1]
axes:
  Network:
    alone: {folds: [1, 2]}
    taught: {folds: [1], distillation: {run: {step: teacher}}}
    rival: {quoted: true}
steps:
  teacher: {dataset: {name: esc10}, training: {epochs: 5}}
expected: {rival: 80}
scales:
  paper: {}
  small: {patch: {dataset: {name: synth}}}
  tiny: {}
"""


@pytest.fixture
def grid(tmp_path):
    path = tmp_path / "table9.yaml"
    path.write_text(GRID)
    return str(path)


def test_hours_are_those_of_all_runs(grid, monkeypatch):
    timed = []

    def half_a_second(recipe, info, *, teachers, clips, steps):
        timed.append(([teacher.training.epochs for teacher in teachers], info.name))
        return 0.5

    monkeypatch.setattr(bench_table, "seconds_per_clip", half_a_second)
    lines: list[str] = []
    result = run_bench_table(grid, "paper", log=lines.append)
    # Two seeds by two folds without a teacher; two distilled seeds, and their teachers.
    assert [row["runs"] for row in result["networks"]] == [4, 2, 2]
    # The teacher's step is the step of the network alone.
    assert timed == [([], "esc10"), ([5], "esc10")]
    expected = [runs * epochs * 400 * 0.5 / 3600 for runs, epochs in ((4, 3), (2, 5), (2, 3))]
    assert [row["hours"] for row in result["networks"]] == pytest.approx(expected, abs=1e-3)
    assert result["hours"] == pytest.approx(sum(expected), abs=0.01)
    assert result["runs"] == 8 and len(lines) == 3
    json.dumps(result, allow_nan=False)


def test_hours_at_a_rate_are_those_of_the_operations(grid, monkeypatch):
    monkeypatch.setattr(bench_table, "seconds_per_clip", None)  # nothing may be timed
    result = run_bench_table(grid, "paper", tflops=0.001)
    recipe = Recipe.from_dict(yaml.safe_load(GRID)["base"])
    info = dataset_info("esc10")
    shape = input_shape(info, recipe.frontend)
    macs = count_macs(build_network(recipe, shape, multi_label=False, classes=info.classes))
    clips = [runs * epochs * 400 for runs, epochs in ((4, 3), (2, 5), (2, 3))]
    # Three inferences a step, and one of the teacher in the last; two operations to a MAC.
    operations = [macs * n * count for n, count in zip((6, 6, 8), clips, strict=True)]
    assert [row["hours"] for row in result["networks"]] == pytest.approx(
        [count / 1e9 / 3600 for count in operations], abs=1e-3
    )
    assert result["tflops"] == 0.001 and "cores" not in result
    with refuses(ConfigError, "tflops", "-1"):
        run_bench_table(grid, "paper", tflops=-1)
    with pytest.raises(ConfigError, match="bandwidth is 0"):
        run_bench_table(grid, "paper", tflops=1, bandwidth=0)


def test_a_layer_takes_the_longer_of_computing_and_moving_its_values():
    inputs = keras.Input((8, 8, 4))
    x = keras.layers.DepthwiseConv2D(3, padding="same")(inputs)  # 512 values, 2,304 MACs
    model = keras.Model(inputs, keras.layers.Conv2D(32, 1)(x))  # 2,304 values, 8,192 MACs
    assert roofline_s(model, 2.0, math.inf) == 2_304 + 8_192
    assert roofline_s(model, 1e30, 4.0) == 512 + 2_304
    assert roofline_s(model, 2.0, 1.0) == 2_304 + 4 * 2_304


@pytest.mark.slow
def test_hours_of_a_smaller_copy(grid):
    whole = run_bench_table(grid, "paper", tflops=0.001)
    part = run_bench_table(grid, "paper", tflops=0.001, clips={"esc10": 100})
    assert [row["clips"] for row in part["networks"]] == [100] * 3
    assert part["hours"] == pytest.approx(whole["hours"] / 4, abs=0.01)


@pytest.mark.slow
def test_kept_hours_stand_in_the_list_until_the_table_is_trained(tmp_path):
    result = run_bench_table("spectromasknet/table6", "small", tflops=0.02)
    bench_table.keep_hours(result, tmp_path)
    (estimate,) = table_results("spectromasknet/table6", tmp_path)
    assert (estimate["scale"], estimate["runs"]) == ("small", 6)
    hours = f"{result['hours']:.3g} h"
    assert result["hours"] > 0 and estimate["state"] == f"not run: {hours}, 0.02 TFLOP/s"
    (tmp_path / "spectromasknet/table6.small.json").write_text('{"cells": []}')
    (written,) = table_results("spectromasknet/table6", tmp_path)
    assert written["state"] == "older recipe"


@pytest.mark.parametrize(
    ("clips", "message"),
    [
        ({"us8k": 9}, "clips of us8k are given, but the table has esc10"),
        ({"esc10": 401}, "clips of esc10 is 401: give 1 to 400"),
        ({"esc10": "all"}, "clips of esc10 is all: give 1 to 400"),
    ],
)
def test_wrong_numbers_of_clips(clips, message, grid):
    with pytest.raises(ConfigError, match=message):
        run_bench_table(grid, "paper", tflops=0.001, clips=clips)


def test_a_data_set_without_a_number_of_clips(grid):
    with refuses(ConfigError, "synth"):
        run_bench_table(grid, "small")


def test_command(monkeypatch, m3net):
    def fake(name, scale, *, steps, tflops, bandwidth, clips, log):
        log("timing")
        result = {"table": name, "scale": scale, "steps": steps, "tflops": tflops, "clips": clips}
        result["bandwidth"] = bandwidth
        return {**result, "hours": 72.0, "runs": 42}

    monkeypatch.setattr("m3net_tf.lab.bench.table.run_bench_table", fake)
    line = "m3net bench table m3net/table4 --steps 1 --tflops 5 --bandwidth 500 --clips us8k=2148"
    caught = m3net(*line.split()[1:])
    assert caught.status == 0
    expected = {"table": "m3net/table4", "scale": "paper", "steps": 1, "tflops": 5}
    expected |= {"bandwidth": 500, "clips": {"us8k": 2148}}
    assert json.loads(caught.out) == {**expected, "hours": 72.0, "runs": 42}
    assert caught.err.splitlines() == [
        "timing",
        "m3net/table4 at paper scale, in all: 42 runs, at most 72.0 h (3.0 days) one after the "
        "other at 5 TFLOP/s and 500 GB/s",
    ]


def test_the_total_names_the_machine():
    here = {"table": "a/b", "scale": "small", "runs": 6, "hours": 1.25, "cores": 2, "gpus": 0}
    line = bench_table.total_line(here)
    assert "a/b at small scale" in line and "6 runs" in line and "1.2 h" in line
    assert "2 cores, 0 GPUs" in line
