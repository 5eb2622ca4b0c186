# SPDX-License-Identifier: Apache-2.0
"""The form of the measurement of many runs, not this machine's speed."""

import contextlib
import json

import pytest

from m3net_tf import cli
from m3net_tf.lab.bench import grid as bench_grid
from m3net_tf.lab.many import scheduling
from m3net_tf.system.artifacts import write_json
from m3net_tf.system.errors import ConfigError
from m3net_tf.training.cluster import pools
from m3net_tf.training.cluster.worker import Report
from m3net_tf.training.run import Run


@pytest.fixture
def trained(monkeypatch):
    """Replace training and Ray; returns the orders."""
    orders = []

    def train_run(order):
        orders.append(order)
        Run(order.folder).model_path.parent.mkdir(parents=True, exist_ok=True)
        if failing:
            return Report("clip.wav is broken", 0.0)
        figures = {"accuracy": 0.5}
        Run(order.folder).recipe_path.write_text("")
        Run(order.folder).model_path.write_bytes(b"")
        values = {"recipe": order.recipe.to_dict(), "parameters": 1, "macs": 1}
        values |= {"dataset": {"name": "synth", "labels": []}}
        write_json(
            Run(order.folder).metrics_path, {**values, "validation": figures, "test": figures}
        )
        return Report("", 0.0)

    failing = []
    monkeypatch.setattr(bench_grid, "train_run", train_run)
    monkeypatch.setattr(
        scheduling, "open_pool", lambda options: contextlib.nullcontext(pools.InProcess(options))
    )
    monkeypatch.setattr(Run, "recipe", lambda self: None)
    return orders, failing


def test_runs_are_timed_one_by_one_and_at_once(trained, monkeypatch, capsys):
    words = ["--runs", "3", "--jobs", "2", "--epochs", "1"]
    monkeypatch.setattr("sys.argv", ["m3net", "bench", "grid", *words])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    assert not stop.value.code
    said = capsys.readouterr()
    result = json.loads(said.out)
    assert len(trained[0]) == 1 + 3 + 3 and len(said.err.splitlines()) == 3
    assert (result["runs"], result["jobs"], result["clips"]) == (3, 2, 600)
    for kind in ("serial", "pool"):
        pace = result[kind]
        assert pace["gap_s"] >= 0 and pace["runs_per_hour"] > 0
        assert pace["wall_s"] >= pace["training_s"] >= 3 * pace["run_s"] - 0.01
    assert result["ratio"] > 0 and "overhead_per_run_s" in result


def test_a_failed_run_and_one_job_are_refused(trained):
    with pytest.raises(ConfigError, match="8 runs, 1 jobs: give two jobs or more"):
        bench_grid.run_bench_grid(jobs=1)
    trained[1].append(True)
    with pytest.raises(ConfigError, match=r"1 of 1 runs failed: clip.wav is broken"):
        bench_grid.run_bench_grid(runs=2)
