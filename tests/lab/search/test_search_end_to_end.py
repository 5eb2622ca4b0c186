# SPDX-License-Identifier: Apache-2.0
"""A search with real networks: measured on the emulated board, trained, trained again by a pick."""

import pytest

from m3net_tf.boards.emulation.starting import why_no_emulation
from m3net_tf.lab.search.costs import CostLimits
from m3net_tf.lab.search.driver import Budget, Settings, run_search
from m3net_tf.lab.search.result import write_pick, write_result
from m3net_tf.lab.search.space import load_space
from m3net_tf.training.clips import features as features_module
from m3net_tf.training.recipe import load_recipe
from m3net_tf.training.run import Run
from m3net_tf.training.start import train

BOARD = "mps2_an386"


@pytest.mark.slow
def test_a_pick_trains_to_the_figure_of_its_trial(tmp_path, tiny_recipe, space_file, monkeypatch):
    if reason := why_no_emulation(BOARD):
        pytest.skip(reason)
    splits = set()
    features = features_module.compute_features

    def noted(dataset, name, *arguments):
        splits.add(name)
        return features(dataset, name, *arguments)

    monkeypatch.setattr(features_module, "compute_features", noted)
    recipe = tiny_recipe(training={"epochs": 1})
    settings = Settings(
        recipe, load_space(space_file, recipe), BOARD, CostLimits(arena_bytes=64_000)
    )
    trials = run_search(settings, tmp_path / "search", Budget(2))
    assert [trial.state for trial in trials] == ["finished"] * 2
    assert splits == {"train", "validation"}  # validation chooses; nothing is tested
    costs = [trial.cost for trial in trials]
    assert costs[0]["board"] == BOARD and costs[0] != costs[1]
    assert write_result(tmp_path / "search", trials)["front"]
    path = write_pick(tmp_path / "search", 1)
    metrics = train(load_recipe(path), tmp_path / "again")
    assert metrics.validation["accuracy"] == pytest.approx(trials[1].accuracy, abs=1e-6)
    # The trial's own run is completed, too: it continues after its last epoch.
    folder = tmp_path / "search/runs/0001"
    assert train(load_recipe(path), folder).validation == metrics.validation
    assert Run(folder).finished
