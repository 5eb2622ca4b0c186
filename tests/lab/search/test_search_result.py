# SPDX-License-Identifier: Apache-2.0
"""The front is shown and drawn; a pick is the recipe of its trial."""

import json

import pytest
from refusals import refuses

from m3net_tf.lab.many.plan import fingerprint
from m3net_tf.lab.search.costs import CostLimits
from m3net_tf.lab.search.driver import SETTINGS, Settings
from m3net_tf.lab.search.result import front_table, write_pick, write_result
from m3net_tf.lab.search.trials import Trial, TrialFolder
from m3net_tf.system.errors import ConfigError
from m3net_tf.training.recipe import load_recipe


@pytest.fixture
def folder(tmp_path, space, base):
    """A folder of four trials: 0 and 1 on the front, 2 dominated, 3 stopped."""
    root = tmp_path / "search"
    trials, settings = TrialFolder(root), Settings(base, space, "b", CostLimits(500))
    rows = [(0.9, 300), (0.8, 200), (0.7, 300), (0.95, 100)]
    for number, (accuracy, instructions) in enumerate(rows):
        recipe = space.recipe(base, {"width": "4" if number else "8"})
        trial = Trial.new(
            number, {"width": "4"} if number else {}, recipe, {"versions": {"a": "1"}}
        )
        cost = {"board": "b", "arena_bytes": 10, "flash_bytes": 100, "instructions": instructions}
        changes = {"cost": cost, "accuracy": accuracy, "scores": [accuracy]}
        state = "stopped" if number == 3 else "finished"
        trials.write(type(trial)(**{**vars(trial), **changes, "state": state}))
    (root / SETTINGS).write_text(json.dumps(settings.to_dict()))
    return root


def test_the_front_is_written(folder):
    result = write_result(folder, TrialFolder(folder).read())
    assert result["front"] == [1, 0]
    assert result["states"]["finished"] == 3 and result["settings"]["limits"]["arena_bytes"] is None
    assert result["trials"][1]["versions"] == {"a": "1"}
    table = front_table(result)
    assert table.rows == [
        ["1", "80.00", "200", "10", "100", "width 4"],
        ["0", "90.00", "300", "10", "100", "first recipe"],
    ]
    assert (folder / "front.png").read_bytes().startswith(b"\x89PNG")
    assert len((folder / "front.csv").read_text().splitlines()) == 5
    result["front"], result["trials"][0]["front"] = [1], False
    assert front_table(result).rows[1][-1] == "first recipe (not on the front)"


def test_a_pick_is_the_recipe_of_its_trial(folder, tmp_path):
    trial = TrialFolder(folder).read()[1]
    path = write_pick(folder, 1)
    assert fingerprint(load_recipe(path)) == trial.recipe_sha256
    assert path == folder / "pick_1.yaml" and "# Validation 80.00 %" in path.read_text()
    assert write_pick(folder, 1, tmp_path / "mine.yaml").read_bytes() == path.read_bytes()
    with refuses(ConfigError, "trial 3", "0, 1, 2"):
        write_pick(folder, 3)
