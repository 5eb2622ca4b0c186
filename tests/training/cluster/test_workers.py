# SPDX-License-Identifier: Apache-2.0
"""Workers of one training: two over loopback learn what one does, and a killed one is replaced."""

import contextlib
import os
import signal
import threading
import time
import types

import pytest
from refusals import refuses
from worker_processes import worker_processes

from m3net_tf import cli
from m3net_tf.system.errors import M3NetError
from m3net_tf.system.processor import machine
from m3net_tf.training import Run, train
from m3net_tf.training.cluster import members
from m3net_tf.training.cluster.pools import Lost, PoolOptions
from m3net_tf.training.cluster.worker import Order, Report

#: Group normalisation uses one clip at a time, so the shares of a batch do not change the losses.
NETWORK = {
    "name": "spectromasknet",
    "preset": "mcu",
    "arguments": {"channels": [4], "modules": [1], "strides": [4], "mask": "none"},
}
TOLERANCE = 1e-4
"""Relative difference of the losses; sums of gradients are rounded in another order."""


class Pool:
    """Reports what a test says, one list for each attempt."""

    def __init__(self, *attempts):
        self.attempts = list(attempts)
        self.now_s = 0.0
        self.ray = types.SimpleNamespace(
            get=lambda handles: handles,
            exceptions=types.SimpleNamespace(RayError=ConnectionError),
        )

    def ended(self, handles, timeout_s):
        reports = self.reports[:1]
        self.reports = self.reports[1:]
        self.now_s += 0 if reports else timeout_s
        return [(handles[number], report) for number, report in reports]

    @contextlib.contextmanager
    def started(self, gang):
        self.reports = self.attempts.pop(0)
        method = types.SimpleNamespace
        yield [
            method(
                address=method(remote=lambda k=k: f"host:{k}"),
                train=method(remote=lambda order: order.member.number),
            )
            for k in range(2)
        ]


@pytest.fixture
def attempt(tmp_path, monkeypatch, tiny_recipe):
    """Train with reports that a test gives; returns the lines."""

    def run(*attempts, retries=1):
        pool = Pool(*attempts)
        lines = []
        clock = types.SimpleNamespace(monotonic=lambda: pool.now_s, sleep=lambda _: None)
        monkeypatch.setattr(members, "time", clock)
        options = PoolOptions(jobs=2, retries=retries)
        order = Order(tiny_recipe(), tmp_path, None)
        monkeypatch.setattr(members._Workers, "_started", lambda self: pool.started(self))
        members._Workers(pool, options, order, lines.append).run()
        assert not pool.attempts
        return lines

    return run


DONE = [(0, Report("", 1.0)), (0, Report("", 1.0))]


def test_a_lost_worker_starts_all_again(attempt):
    lines = attempt([(1, Lost("ActorDiedError: it was killed"))], DONE)
    assert lines == [
        "2 workers: host:0, host:1",
        "worker 1 was lost (ActorDiedError): all workers start again from the last epoch, "
        "restart 1 of 1",
        "2 workers: host:0, host:1",
    ]


def test_the_worker_that_is_lost_is_named_although_another_notices_first(attempt):
    noticed = (0, Report("UnavailableError: closed", 1.0, peer_lost=True))
    lines = attempt([noticed, (0, Lost("NodeDiedError: gone"))], DONE)
    assert lines[1].startswith("worker 1 was lost (NodeDiedError): all")
    lines = attempt([noticed], DONE)
    assert lines[1].startswith("worker 0 lost the connection (UnavailableError: closed): all")


def test_restarts_are_limited(attempt):
    lost = [(0, Lost("gone"))]
    with refuses(M3NetError, "worker 0", "gone", "2 restarts"):
        attempt(lost, lost, lost, retries=2)


def test_an_error_of_the_user_starts_nothing_again(attempt):
    with refuses(M3NetError, "1", "clip.wav"):
        attempt([(1, Report("clip.wav is broken: fetch it", 1.0, host="here"))])


def test_lines_of_the_first_worker_are_passed_on(tmp_path):
    path = tmp_path / "train.log"
    lines = []
    path.write_text("of an earlier attempt\n")
    with members.followed(path, lines.append) as follow:
        with path.open("a") as file:
            file.write("epoch 1\nepo")
        follow()
        with path.open("a") as file:
            file.write("ch 2\n")
    assert lines == ["epoch 1", "epoch 2"]


def test_a_batch_that_does_not_divide_is_refused_on_the_command_line(tmp_path, monkeypatch):
    given = {}
    monkeypatch.setattr(members, "train_on_workers", lambda *a, **k: given.update(k, options=a[3]))
    monkeypatch.setattr("m3net_tf.cli.training._reached", lambda *_: [])
    (tmp_path / "r.yaml").write_text("dataset: {name: synth}\nmodel: {name: m3net}\n")
    with contextlib.suppress(SystemExit):
        cli.app(["train", str(tmp_path / "r.yaml"), "--workers", "3", "--retries", "7"])
    assert (given["options"].jobs, given["options"].retries) == (3, 7)


def _losses(folder):
    rows = [line.split(",") for line in (folder / "history.csv").read_text().splitlines()]
    return [float(row[rows[0].index("loss")]) for row in rows[1:]]


def _kill_one(log, killed):
    """Kill a worker in the second epoch."""
    while not (log.exists() and "epoch 1/" in log.read_text()):
        time.sleep(0.05)
    killed.append(worker_processes(os.getpid())[-1])
    os.kill(killed[-1], signal.SIGKILL)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::DeprecationWarning")
def test_two_workers_learn_what_one_does_although_one_is_killed(
    tiny_recipe, tmp_path, private_cache
):
    pytest.importorskip("ray", reason="several processes need pip install -e '.[many]'")
    masks = {"copies": 0, "time_masks": 1, "mixup_probability": 0.5}
    training = {"epochs": 3, "batch_size": 20, "gradient_norm": 1.0}
    recipe = tiny_recipe(model=NETWORK, augmentation=masks, training=training)
    lines = []
    killed = []
    log = tmp_path / "two/train.log"
    killer = threading.Thread(target=_kill_one, args=(log, killed), daemon=True)
    killer.start()
    options = PoolOptions(jobs=2, pause_s=0.1)
    metrics = members.train_on_workers(recipe, tmp_path / "two", None, options, log=lines.append)
    killer.join(1)
    train(recipe, tmp_path / "one")
    assert killed and any("was lost (ActorDiedError): all workers start" in line for line in lines)
    assert any(line.startswith("resuming after epoch") for line in lines)
    assert _losses(tmp_path / "two") == pytest.approx(_losses(tmp_path / "one"), rel=TOLERANCE)
    assert metrics.values["devices"] == 2 and metrics.values["computers"] == [machine()]
    names = {path.name for path in (tmp_path / "two").iterdir()}
    assert names - {path.name for path in (tmp_path / "one").iterdir()} == {"train.log"}
    assert Run(tmp_path / "two").finished
