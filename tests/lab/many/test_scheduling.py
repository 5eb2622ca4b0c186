# SPDX-License-Identifier: Apache-2.0
"""Many runs: lost ones are tried again, failed ones are not, and a stopped call loses none."""

import contextlib
import dataclasses
import itertools
from types import SimpleNamespace

import pytest

from m3net_tf.lab.many import scheduling
from m3net_tf.lab.many.plan import Training, plan_trainings
from m3net_tf.lab.many.scheduling import run_trainings
from m3net_tf.system.progress import TerminalLog
from m3net_tf.training.cluster.pools import Lost, PoolOptions
from m3net_tf.training.cluster.worker import Report
from m3net_tf.training.run.history import epoch_scores

LOST = Lost("NodeDiedError: its computer went away")
IN_USE = Report("seed0 is in use by process 7; wait for it or stop it", 0.0, in_use=True)


class ScriptedPool:
    """Two runs at once; ``script`` maps seeds to the results of their first attempts."""

    def __init__(self, finish, script):
        self.finish = finish
        self.script = script
        self.attempts = []
        self.most = 0
        self._orders = {}

    def slots(self):
        return 2

    def start(self, order):
        handle = len(self.attempts)
        self.attempts.append(order.recipe.training.seed)
        self._orders[handle] = order
        self.most = max(self.most, len(self._orders))
        return handle

    def wait(self, timeout_s):
        handle, order = self._orders.popitem()
        results = self.script.get(order.recipe.training.seed)
        report = results.pop(0) if results else self.finish(order)
        if isinstance(report, BaseException):
            raise report
        return [(handle, report)]


@pytest.fixture
def run_all(trainings, finish, tmp_path, monkeypatch):
    """Train four runs; returns the outcomes by seed, the pool and the lines."""

    def run(script, count=4, runs=None, **options):
        pool = ScriptedPool(finish, script)
        lines = []
        monkeypatch.setattr(scheduling, "open_pool", lambda _: contextlib.nullcontext(pool))
        runs = runs or trainings(count)
        plan = plan_trainings(runs, tmp_path)
        options = PoolOptions(**{"jobs": 2, "pause_s": 0.001, **options})
        outcomes = run_trainings(plan, {}, options=options, log=lines.append)
        return [outcomes[training.key] for training in runs], pool, lines

    return run


def test_a_lost_run_is_tried_again_and_a_failed_one_is_not(run_all):
    script = {0: [LOST, LOST], 1: [Report("clip.wav is broken: fetch it", 1.0)], 2: [LOST] * 9}
    outcomes, pool, lines = run_all(script, retries=3)
    assert [outcome.error for outcome in outcomes] == [
        "",
        "clip.wav is broken: fetch it",
        "lost 4 times, at last by NodeDiedError: its computer went away",
        "",
    ]
    assert sorted(pool.attempts) == [0] * 3 + [1] + [2] * 4 + [3] and pool.most == 2
    assert "paper/seed0: lost (NodeDiedError: its computer went away); attempt 2 of 4 in 0 s" in (
        lines
    )


def test_the_pause_doubles_up_to_a_minute(run_all, monkeypatch):
    clock = itertools.count(0, 7)
    fake = SimpleNamespace(
        sleep=lambda _: None, monotonic=lambda: float(next(clock)), perf_counter=lambda: 0.0
    )
    monkeypatch.setattr(scheduling, "time", fake)
    outcomes, _, lines = run_all({0: [LOST] * 6}, count=1, retries=6, pause_s=4.0)
    assert outcomes[0].error == ""
    waits = [line.rpartition(" in ")[2] for line in lines if "attempt" in line]
    assert waits == ["4 s", "8 s", "16 s", "32 s", "60 s", "60 s"]


def test_a_run_of_another_process_is_awaited(run_all):
    outcomes, pool, lines = run_all({0: [IN_USE] * 5}, retries=1)
    assert all(outcome.error == "" for outcome in outcomes) and pool.attempts.count(0) == 6
    assert lines.count("paper/seed0: seed0 is in use by process 7: waiting for it") == 1


def test_a_stopped_call_continues_with_what_is_missing(run_all, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        run_all({2: [KeyboardInterrupt()]})
    done = len(list(tmp_path.glob("paper/*/metrics.json")))
    outcomes, pool, lines = run_all({})
    assert all(outcome.error == "" for outcome in outcomes)
    assert len(pool.attempts) == 4 - done
    assert lines[0] == f"4 runs: {done} finished, {4 - done} to train"
    assert run_all({})[1].attempts == []


def test_a_run_waits_for_those_it_needs_and_fails_with_them(run_all, trainings, tiny_recipe):
    (first,) = trainings(1)
    recipe = tiny_recipe(training={"seed": 9}, fine_tuning={"run": f"recipe {first.key}"})
    second = Training(recipe.fingerprint(), recipe, "paper/tuned", {"fine_tuning": (first,)})
    outcomes, pool, _ = run_all({0: [Report("no data", 0.0)]}, runs=[second])
    assert outcomes[0].error == "the run for fine_tuning failed: no data"
    assert pool.attempts == [0]
    outcomes, pool, _ = run_all({}, runs=[second])
    assert outcomes[0].error == "" and pool.attempts == [0, 9]


def test_a_run_that_left_no_result_has_failed(run_all):
    outcomes, _, _ = run_all({0: [Report("", 1.0)]}, count=1)
    assert "is not a run folder" in outcomes[0].error


def test_without_ray_runs_are_trained_in_this_process(trainings, finish, tmp_path):
    orders = []

    def work(order):
        orders.append(order)
        return finish(order)

    def ignore(task):
        del task

    counts = []
    bars = SimpleNamespace(
        start=ignore, update=lambda task: counts.append(task.count), stop=ignore, console=None
    )
    plan = plan_trainings(trainings(2), tmp_path)
    options = PoolOptions(work=work)
    log = TerminalLog(bars, lambda line: None)
    run_trainings(plan, {"": tmp_path / "data"}, options=options, log=log)
    assert [order.data for order in orders] == [tmp_path / "data"] * 2
    assert list(dict.fromkeys(counts)) == ["2/4 epochs", "4/4 epochs"]
    assert dataclasses.replace(options, address="auto").in_process is False


def test_a_history_that_is_missing_or_cut_off_has_no_scores(tmp_path):
    assert epoch_scores(tmp_path) == []
    for text, scores in (
        ("epoch,validation_accuracy\n", []),
        ("epoch,loss\n3,x\n", []),
        ("epoch,validation_accuracy\n1,0.5\n2", []),
        ("epoch,validation_map\n1,0.5\n2,0.6\n", [0.5, 0.6]),
    ):
        (tmp_path / "history.csv").write_text(text)
        assert epoch_scores(tmp_path) == scores
