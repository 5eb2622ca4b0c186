# SPDX-License-Identifier: Apache-2.0
"""The standing of many runs, in a line and as a live table."""

import io
import math
from types import SimpleNamespace

from rich.console import Console

from m3net_tf.lab.commands.live_standing import live_standing, standing_view
from m3net_tf.lab.many import standing as standings
from m3net_tf.lab.many.standing import Standing, duration, epoch_scores, last_epoch


def history(folder, text):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "history.csv").write_text(text)
    return folder


def test_the_time_left_follows_the_epochs(trainings, tmp_path, monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(standings, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    runs = trainings(4)  # of two epochs each
    standing = Standing(runs)
    standing.start(runs[0], tmp_path / "0")
    resumed = history(tmp_path / "1", "epoch,validation_accuracy\n1,0.25\n")
    standing.start(runs[1], resumed)
    clock[0] = 10.0
    assert standing.left_s(standing.in_work()) is None
    assert standing.line(standing.in_work()) == "0 of 4 runs done, 2 in work"
    history(tmp_path / "0", "epoch,loss,validation_accuracy\n1,0.1,0.75\n")
    assert standing.left_s(standing.in_work()) == 70.0  # one epoch in 10 s; 7 of 8 are left
    standing.end(runs[0], 0.8)
    standing.end(runs[1], math.nan)  # its second epoch
    standing.start(runs[2], tmp_path / "2")
    standing.pause(runs[2])
    standing.end(runs[3], None)
    assert standing.line(standing.in_work()) == (
        "3 of 4 runs done, 1 failed, 0 in work, best validation 80.00 %, 7 s left"
    )
    assert standing.best == (0.8, "paper/seed0")


def test_a_history_that_is_missing_or_cut_off_counts_as_none(tmp_path):
    assert last_epoch(tmp_path) == (0, None)
    assert last_epoch(history(tmp_path, "epoch,validation_accuracy\n")) == (0, None)
    assert last_epoch(history(tmp_path, "epoch,loss\n3,x\n")) == (3, None)
    assert epoch_scores(tmp_path) == []
    assert last_epoch(history(tmp_path, "epoch,validation_map\n3,0.5\n")) == (3, 0.5)
    assert epoch_scores(tmp_path) == [0.5]


def test_durations_are_words():
    assert [duration(seconds) for seconds in (4.4, 99, 130, 12_000)] == [
        *("4 s", "99 s", "2 min", "3 h 20 min"),
    ]


def screen(**options):
    return Console(file=io.StringIO(), width=60, **options)


def test_the_live_table_fits_the_terminal(trainings, tmp_path, monkeypatch):
    runs = trainings(14)
    standing = Standing(runs)
    for run in runs:
        standing.start(run, history(tmp_path / run.place, "epoch,validation_map\n1,0.5\n"))
    console = screen()
    reads, read = [], standings.last_epoch
    monkeypatch.setattr(standings, "last_epoch", lambda run: reads.append(run) or read(run))
    console.print(standing_view(standing, 40))
    assert len(reads) == len(runs)  # each history is read once for a picture
    lines = console.file.getvalue().splitlines()
    assert lines[0].split() == ["in", "work", "epoch", "validation", "since"]
    name, *figures = lines[1].split()  # in the order of the starts, to the second
    assert name.startswith("paper/seed") and figures[:3] == ["1/2", "50.00", "%"]
    assert [line.strip() for line in lines[13:]] == ["and 2 more", "0 of 14 runs done, 14 in work"]
    standing.end(runs[0], 0.5)
    console.print(standing_view(standing, 40))
    assert "best: paper/seed0" in console.file.getvalue()


def test_only_a_terminal_gets_the_live_table(trainings):
    for is_terminal in (True, False):
        console = screen(force_terminal=is_terminal)
        with live_standing(Standing(trainings(1)), console):
            pass
        assert ("0 of 1 runs done" in console.file.getvalue()) == is_terminal
