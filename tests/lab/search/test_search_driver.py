# SPDX-License-Identifier: Apache-2.0
"""A search measures before it trains, continues after a kill, and repeats no ended trial."""

import contextlib
import dataclasses

import pytest
from fake_search import FakeNetwork, board_cost, costs_of, write_epochs
from refusals import refuses

from m3net_tf.lab.search import driver
from m3net_tf.lab.search.costs import CostLimits
from m3net_tf.lab.search.driver import Budget, Settings, run_search
from m3net_tf.lab.search.result import front_trials
from m3net_tf.system.errors import ConfigError, DataError, ModelError
from m3net_tf.training.cluster.pools import Lost, PoolOptions
from m3net_tf.training.cluster.worker import Report

pytestmark = pytest.mark.usefixtures("fake_networks")
SAME_COSTS = {"instructions": 1, "arena_bytes": 1, "flash_bytes": 1}


@pytest.fixture
def search(space, base, tmp_path, train_at_once):
    """Search in a folder; returns the trials and the lines."""

    def run(trials=4, folder="search", work=train_at_once[0], hours=None, **settings):
        values = {"recipe": base, "space": space, "board": "b", "limits": CostLimits(), **settings}
        lines = []
        finished = run_search(
            Settings(**values),
            tmp_path / folder,
            Budget(trials, hours),
            options=PoolOptions(work=work),
            log=lines.append,
        )
        return finished, lines

    return run


def choices_of(trials):
    return [(trial.state, dict(trial.choices)) for trial in trials]


def test_the_first_trial_is_the_recipe_itself(search, base, train_at_once):
    trials, lines = search()
    assert [trial.number for trial in trials] == [0, 1, 2, 3]
    assert trials[0].trained_recipe() == base
    assert trials[0].choices == {"width": "8", "mels": "many", "mirrors": "all"}
    assert train_at_once[1] == [trial.trained_recipe().fingerprint() for trial in trials]
    assert len({str(trial.choices) for trial in trials}) == 4
    assert trials[0].made_with == {"versions": {}, "git_commit": "c"}
    assert trials[0].scores[0] < trials[0].accuracy
    assert lines[1].startswith("[1/4] trial 0: finished, validation 57.89 %, 320,000 instr")


def test_a_recipe_outside_the_space_has_no_choices(search, tiny_recipe):
    arguments = {"sfp": [{"filters": 9}], "tail": []}
    trials, _ = search(2, recipe=tiny_recipe(model={"arguments": arguments}))
    assert (trials[0].choices, trials[1].choices["width"]) == ({}, "8")


def test_candidates_over_a_limit_are_not_trained(search, train_at_once):
    limits = CostLimits(instructions=200_000)
    trials, lines = search(4, limits=limits)
    over = [trial for trial in trials if trial.state == "over"]
    assert over and all(trial.cost["instructions"] > 200_000 for trial in over)
    assert len(train_at_once[1]) == 4 and len(trials) == 4 + len(over)
    assert "exceeds the limit of instructions" in " ".join(lines)
    assert trials[0].state == "finished"  # though it exceeds it: the others are compared with it
    assert 0 not in [trial.number for trial in front_trials(trials, limits)]


def test_the_linear_model_rejects_without_measuring(search, fake_networks):
    trials, _ = search(100, limits=CostLimits(instructions=150_000), hours=None)
    predicted = [trial for trial in trials if trial.state == "predicted"]
    assert predicted and all(trial.cost is None for trial in predicted)
    assert len(trials) == 12  # all of the space
    assert all(costs_of(t.trained_recipe())["instructions"] > 150_000 for t in predicted)


def test_networks_of_equal_cost_are_measured_once(search, space, base, fake_networks):
    changed = dataclasses.replace(space, patches=({"training": {"learning_rate": "$rate"}},))
    changed = dataclasses.replace(changed, values={"rate": {"a": 0.1, "b": 0.2}}, start=())
    trials, _ = search(3, space=changed)
    assert len(trials) == 3 and len(fake_networks) == 1


def test_a_stopped_search_continues_with_the_same_trials(search, train_at_once):
    work, trained = train_at_once
    whole, _ = search(6, folder="whole")
    trained.clear()

    def killed(order):
        if len(trained) == 3:
            raise KeyboardInterrupt
        return work(order)

    with pytest.raises(KeyboardInterrupt):
        search(6, work=killed)
    trials, _ = search(6)
    assert choices_of(trials) == choices_of(whole)
    assert trained == [trial.recipe_sha256 for trial in whole]
    again, lines = search(6)
    assert again == trials and not lines  # nothing is left to do


def test_a_deleted_trial_is_made_again(search, tmp_path):
    before, _ = search(5)
    (tmp_path / "search/trials/0003.json").unlink()
    after, _ = search(5)
    assert choices_of(after) == choices_of(before)


def test_a_damaged_trial_is_named(search, tmp_path):
    search(1)
    (tmp_path / "search/trials/0000.json").write_text("{}")
    with refuses(DataError, "0000.json"):
        search(1)


def test_a_failed_trial_is_tried_again_by_the_next_call(search, train_at_once):
    trials, lines = search(3, work=lambda order: Report("the disk is full", 1.0))
    assert [trial.state for trial in trials] == ["failed"] * 3
    assert "trial 0: failed: the disk is full" in lines[1]
    trials, _ = search(3)
    assert [trial.state for trial in trials] == ["finished"] * 3 and trials[0].error == ""


def test_a_hopeless_trial_is_stopped_at_a_rung(search, monkeypatch):
    monkeypatch.setattr(FakeNetwork, "measure", lambda *_: board_cost("b", SAME_COSTS))

    def stops_early(order):
        best = 0.1 if order.folder.name == "0002" else 0.9
        write_epochs(order, [best / 2] + [best] * 8)
        return Report("", 2.0)

    trials, lines = search(3, work=stops_early)
    assert [(trial.state, len(trial.scores)) for trial in trials[::2]] == [
        ("finished", 9),
        ("stopped", 1),
    ]
    assert "trial 2: stopped after epoch 1, validation 5.00 %" in lines[-1]


def test_no_trial_starts_after_the_time(search):
    assert search(hours=0)[0] == []


def test_another_search_in_the_folder_is_refused(search):
    search(1)
    with refuses(ConfigError, "--out"):
        search(1, board="c", seed=1)


def test_a_recipe_that_cannot_be_measured_ends_the_search(search):
    with pytest.raises(ModelError, match="recipe of the search cannot be measured: the board is"):
        search(board="none")


def test_a_lost_trial_is_tried_again(search, space, base, train_at_once, monkeypatch):
    work, trained = train_at_once
    results = [Lost("the computer went away")]

    class Pool:
        def __init__(self):
            self.orders = {}

        def slots(self):
            return 2

        def start(self, order):
            self.orders[id(order)] = order
            return id(order)

        def wait(self, timeout_s):
            handle, order = self.orders.popitem()
            return [(handle, results.pop() if results else work(order))]

    monkeypatch.setattr(driver, "open_pool", lambda _: contextlib.nullcontext(Pool()))
    trials, lines = search(3)
    assert "lost (the computer went away)" in " ".join(lines)
    assert len(trained) == 3 and all(trial.accuracy for trial in trials)
    results.extend([Lost("again")] * 4)
    trials, _ = search(4)
    assert trials[3].error == "lost 4 times, at last by again"
