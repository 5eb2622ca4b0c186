# SPDX-License-Identifier: Apache-2.0
"""The index of runs: append-only, for several processes, completed from the run folders."""

import contextlib
import dataclasses
import json
import os
import sqlite3
import subprocess
import sys

import pytest

from m3net_tf import cli
from m3net_tf.lab.many import catalogue
from m3net_tf.lab.many.catalogue import Filters, list_runs, prune, rebuild
from m3net_tf.lab.many.store import STORE_NAME, Event, RunStore, event_of
from m3net_tf.system.errors import ConfigError, DataError
from m3net_tf.system.locks import in_use
from m3net_tf.training.cluster.worker import Order
from m3net_tf.training.recipe import load_recipe, save_recipe


@pytest.fixture
def root(trainings, finish, tmp_path):
    """Two finished runs, a failed and a stopped one."""
    store = RunStore(tmp_path)
    store.create()
    for training in trainings(3):
        folder = tmp_path / training.place
        folder.mkdir(parents=True)
        if training.recipe.training.seed < 2:
            finish(Order(training.recipe, folder, None))
        else:
            save_recipe(training.recipe, folder / "recipe.yaml")
            facts = {"error": "clip.wav is broken: fetch it"}
            store.add(event_of(training.recipe, "", training.place, "failed", **facts))
    stopped = tmp_path / "own/seed7"
    stopped.mkdir(parents=True)
    save_recipe(trainings(1)[0].recipe, stopped / "recipe.yaml")
    rebuild(tmp_path)
    return tmp_path


def m3net(monkeypatch, capsys, *words):
    """Exit status and output of a command."""
    monkeypatch.setattr("sys.argv", ["m3net", "runs", *map(str, words)])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    said = capsys.readouterr()
    return stop.value.code or 0, said.out + said.err


def test_rows_are_only_appended(root):
    with contextlib.closing(sqlite3.connect(root / STORE_NAME)) as database:
        for statement in ("UPDATE events SET state = 'failed'", "DELETE FROM events"):
            with pytest.raises(sqlite3.IntegrityError, match="only appended"):
                database.execute(statement)
    before = RunStore(root).newest()
    RunStore(root).create()
    assert RunStore(root).newest() == before


WRITER = """
import sys
from pathlib import Path
from m3net_tf.lab.many.store import Event, RunStore
store = RunStore(Path(sys.argv[1]))
store.create()
for i in range(40):
    store.add(Event(f"{sys.argv[2]}/{i}", "finished", "ab", "m3net", "mcu", "synth", i, None, {}))
"""


def test_two_drivers_write_at_once(tmp_path):
    command = [sys.executable, "-c", WRITER, str(tmp_path)]
    writers = [subprocess.Popen([*command, name]) for name in ("one", "two")]
    assert [writer.wait() for writer in writers] == [0, 0]
    assert len(RunStore(tmp_path).newest()) == 80


def test_a_full_disk_is_named(tmp_path, monkeypatch):
    store, connect = RunStore(tmp_path), sqlite3.connect
    store.create()

    def connect_to_full(*arguments, **options):
        database = connect(*arguments, **options)
        database.execute("PRAGMA max_page_count = 1")  # no more than it has
        return database

    monkeypatch.setattr(sqlite3, "connect", connect_to_full)
    facts = {"error": 99_999 * "x"}
    event = Event("paper/seed0", "failed", "ab", "m3net", "mcu", "synth", 0, None, facts)
    with pytest.raises(DataError, match=r"runs\.sqlite .*full.*: free some space on its disk"):
        store.add(event)


def test_a_damaged_or_later_file_is_refused(tmp_path):
    path = tmp_path / STORE_NAME
    path.write_bytes(b"no database, but long enough to be one" * 100)
    with pytest.raises(DataError, match=r"is damaged .*: delete it; m3net runs rebuild"):
        list_runs(tmp_path, Filters())
    path.unlink()
    RunStore(tmp_path).create()
    with contextlib.closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA user_version = 9")
    with pytest.raises(DataError, match="later version of m3net_tf"):
        RunStore(tmp_path).create()
    path.unlink()
    path.mkdir()
    with pytest.raises(DataError, match="cannot be used"):
        list_runs(tmp_path, Filters())


def test_the_index_is_rebuilt_from_the_run_folders(root, capsys):
    before = {event.place: event.state for event in RunStore(root).newest()}
    assert set(before.values()) == {"finished", "failed", "stopped"}
    assert rebuild(root) == 0
    (root / STORE_NAME).unlink()
    events = list_runs(root, Filters())
    after = {event.place: event.state for event in events}
    before["paper/seed2"] = "stopped"  # its folder does not say that it failed
    assert after == before
    assert events[1].facts["test"] == {"accuracy": 0.9} and events[1].facts["parameters"] == 1195
    (root / "paper/seed0/metrics.json").write_text("{")
    lines = []
    rebuild(root, lines.append)
    assert "seed0 is skipped" in lines[0]
    with pytest.raises(DataError, match="does not exist"):
        rebuild(root / "no")


def test_a_folder_that_is_gone_is_noted(root):
    (root / "own/seed7/recipe.yaml").unlink()
    assert rebuild(root) == 1 and rebuild(root) == 0
    assert "own/seed7" not in [event.place for event in list_runs(root, Filters())]
    assert [event.place for event in list_runs(root, Filters(state="removed"))] == ["own/seed7"]


def test_a_started_run_whose_driver_has_ended_is_stopped(root, trainings):
    event = event_of(trainings(1)[0].recipe, "", "paper/seed0", "started")
    assert event.state_now == "started"
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    host = event.driver.rpartition(":")[0]
    assert dataclasses.replace(event, driver=f"{host}:{ended.pid}").state_now == "stopped"
    assert dataclasses.replace(event, driver="elsewhere:1").state_now == "started"
    assert os.getuid() or dataclasses.replace(event, driver=f"{host}:1").state_now == "started"


def test_runs_are_listed_and_filtered(root, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "80")
    status, text = m3net(monkeypatch, capsys, "list", "--runs", root)
    assert status == 0 and max(map(len, text.splitlines())) <= 80
    assert [line.split()[0] for line in text.splitlines()[2:]] == [
        *("stopped", "finished", "finished", "failed"),
    ]
    for words, count in (
        (("--state", "finished"), 2),
        (("--network", "m3net/mcu"), 4),
        (("--network", "diffres"), 0),
        (("--data-set", "us8k"), 0),
        (("--recipe", "ffffffffff"), 0),
    ):
        _, text = m3net(monkeypatch, capsys, "list", "--runs", root, *words, "--json")
        assert len(json.loads(text)) == count, words
    status, text = m3net(monkeypatch, capsys, "list", "--runs", root, "--state", "odd")
    assert status == 2 and "there is no state 'odd': choose from started" in text


def test_a_run_is_shown_by_its_folder_or_hash(root, monkeypatch, capsys):
    _, text = m3net(monkeypatch, capsys, "show", "paper/seed2", "--runs", root)
    assert "clip.wav is broken" in text and "failed" in text
    run = next(event for event in list_runs(root, Filters()) if event.seed == 1)
    _, text = m3net(monkeypatch, capsys, "show", run.recipe[:8], "--runs", root, "--json")
    shown = json.loads(text)
    assert shown["place"] == "paper/seed1" and shown["metrics"]["parameters"] == 1195
    assert shown["settings"]["training"]["seed"] == 1 and len(shown["events"]) == 1
    _, text = m3net(monkeypatch, capsys, "show", root / "paper/seed1", "--runs", root)
    assert "validation accuracy" in text and "89.00" in text
    status, text = m3net(monkeypatch, capsys, "show", "no", "--runs", root)
    assert status == 2 and "has no run no: m3net runs list" in text
    twice = next(event for event in list_runs(root, Filters()) if event.place == "own/seed7")
    status, text = m3net(monkeypatch, capsys, "show", twice.recipe, "--runs", root)
    assert status == 2 and "several runs are named" in text and "paper/seed0" in text


def test_runs_are_compared(root, monkeypatch, capsys):
    words = ("compare", "paper/seed0", "paper/seed1", "--runs", root)
    _, text = m3net(monkeypatch, capsys, *words, "--json")
    result = json.loads(text)
    assert result["settings"] == {"training.seed": [0, 1]}
    assert result["figures"]["test accuracy"] == [0.9, 0.89]
    monkeypatch.setenv("COLUMNS", "80")
    _, text = m3net(monkeypatch, capsys, *words)
    assert "1: paper/seed0" in text and "training.seed" in text and "89.00" in text
    status, text = m3net(monkeypatch, capsys, *words[:2], "--runs", root)
    assert status == 2 and "name two or more" in text


def test_pruning_needs_a_filter_and_a_yes(root, monkeypatch, capsys):
    status, text = m3net(monkeypatch, capsys, "prune", "--runs", root, "--yes")
    assert status == 2 and "prune needs a filter" in text
    words = ("prune", "--runs", root, "--data-set", "synth")
    _, text = m3net(monkeypatch, capsys, *words)
    assert "--yes removes these 2 runs" in text and (root / "paper/seed2").exists()
    _, text = m3net(monkeypatch, capsys, *words, "--yes", "--json")
    assert {entry["place"] for entry in json.loads(text)} == {"paper/seed2", "own/seed7"}
    assert not (root / "paper/seed2").exists() and (root / "paper/seed0").exists()
    _, text = m3net(monkeypatch, capsys, *words)
    assert text == "no run matches\n"
    assert [event.state for event in RunStore(root).events("paper/seed2")] == ["failed", "removed"]
    with in_use(root / "paper/seed0"):  # of this process, which may remove it
        removed = prune(root, Filters(state="finished", older_than_days=0.0), really=True)
    assert len(removed) == 2


def test_a_run_that_another_process_holds_is_kept(root, monkeypatch):
    def held(_):
        raise catalogue.InUseError("seed2 is in use by process 7")

    monkeypatch.setattr(catalogue, "in_use", held)
    lines = []
    assert prune(root, Filters(state="failed"), really=True, log=lines.append) == []
    assert lines == ["seed2 is in use by process 7"] and (root / "paper/seed2").exists()


def test_a_lost_run_that_its_command_tries_again_is_kept(root):
    (event,) = list_runs(root, Filters(state="failed"))
    folder = root / event.place
    recipe = load_recipe(folder / "recipe.yaml")
    RunStore(root).add(event_of(recipe, event.recipe, event.place, "lost"))
    assert prune(root, Filters(state="lost"), really=True) == [] and folder.exists()


def test_an_unknown_state_is_refused():
    with pytest.raises(ConfigError, match="no state 'done'"):
        Filters(state="done")
