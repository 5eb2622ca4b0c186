# SPDX-License-Identifier: Apache-2.0
"""Runs are listed and removed by what their folders contain."""

import json
import os
import time

import pytest
from refusals import refuses

from m3net_tf import cli
from m3net_tf.lab.many import listing
from m3net_tf.lab.many.listing import Filters, list_runs, prune
from m3net_tf.system.errors import ConfigError, DataError, InUseError
from m3net_tf.training.cluster.worker import Order
from m3net_tf.training.recipe import save_recipe


@pytest.fixture
def root(trainings, finish, tmp_path):
    """Two finished runs and two unfinished ones, of which one has the recipe of a finished one."""
    first, second, third = trainings(3)
    for training in (first, second):
        (tmp_path / training.place).mkdir(parents=True)
        finish(Order(training.recipe, tmp_path / training.place, None))
    for place, recipe in ((third.place, third.recipe), ("own/seed7", first.recipe)):
        (tmp_path / place).mkdir(parents=True)
        save_recipe(recipe, tmp_path / place / "recipe.yaml")
    return tmp_path


@pytest.fixture
def m3net(monkeypatch, capsys, root):
    """Run ``m3net lab runs WORDS``; returns exit status and output."""

    def call(*words):
        command = ["m3net", "lab", "runs", *map(str, words), "--runs", str(root)]
        monkeypatch.setattr("sys.argv", command)
        with pytest.raises(SystemExit) as stop:
            cli.main()
        said = capsys.readouterr()
        return stop.value.code or 0, said.out + said.err

    return call


def test_runs_are_listed_and_filtered(root, m3net, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    status, text = m3net("list")
    assert status == 0 and max(map(len, text.splitlines())) <= 80
    assert [line.split()[0] for line in text.splitlines()[2:]] == [
        *("unfinished", "finished", "finished", "unfinished"),
    ]
    for words, count in (
        (("--state", "finished"), 2),
        (("--network", "m3net/mcu"), 4),
        (("--network", "diffres"), 0),
        (("--data-set", "us8k"), 0),
        (("--recipe", "ffffffffff"), 0),
    ):
        assert len(json.loads(m3net("list", *words, "--json")[1])) == count, words
    (run,) = json.loads(m3net("list", "--state", "finished", "--json")[1])[1:]
    assert (run["run"], run["seed"], run["fold"], run["test"]) == ("paper/seed1", 1, None, 0.89)
    status, text = m3net("list", "--state", "odd")
    assert status == 2 and "'odd'" in text and "finished, unfinished" in text


def test_a_damaged_run_is_named_and_skipped(root):
    (root / "paper/seed0/metrics.json").write_text("{")
    lines = []
    assert len(list_runs(root, Filters(), lines.append)) == 3
    assert len(lines) == 1 and "seed0" in lines[0]
    with refuses(DataError, "--runs"):
        list_runs(root / "no", Filters())


def test_pruning_needs_a_filter_and_a_yes(root, m3net):
    status, text = m3net("prune", "--yes")
    assert status == 2 and "--state unfinished" in text
    words = ("prune", "--data-set", "synth")
    assert "--yes removes these 2 runs" in m3net(*words)[1] and (root / "paper/seed2").exists()
    removed = json.loads(m3net(*words, "--yes", "--json")[1])
    assert {run["run"] for run in removed} == {"paper/seed2", "own/seed7"}
    assert not (root / "paper/seed2").exists() and (root / "paper/seed0").exists()
    assert m3net(*words)[1] == "no run matches\n"
    for path in root.glob("paper/seed0/*"):
        os.utime(path, (0, time.time() - 3 * 86_400))
    assert len(prune(root, Filters(state="finished", older_than_days=2.0), really=True)) == 1


def test_a_run_that_another_process_holds_is_kept(root, monkeypatch):
    def held(_):
        raise InUseError("seed2 is in use by process 7")

    monkeypatch.setattr(listing, "in_use", held)
    lines = []
    assert not prune(root, Filters(state="unfinished"), really=True, log=lines.append)
    assert "seed2 is in use by process 7" in lines and (root / "paper/seed2").exists()


def test_an_unknown_state_is_refused():
    with refuses(ConfigError, "'done'"):
        Filters(state="done")
