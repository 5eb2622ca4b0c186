# SPDX-License-Identifier: Apache-2.0
"""Budgets of the emulated boards: what is told, and what does not pass."""

import json

import pytest

from m3net_tf.deployment import budgets
from m3net_tf.deployment.matrix import COSTS
from m3net_tf.emulation import machines
from m3net_tf.errors import ConfigError

CELL = {
    "board": "mps2_an386",
    "network": "m3net",
    "bytes_equal": True,
    "instructions": 5_000_000,
    "frontend_instructions": 35_000,
    "arena_bytes": 29_000,
    "stack_bytes": 1_500,
    "flash_bytes": 190_000,
    "model_bytes": 60_000,
}


@pytest.fixture
def path(tmp_path):
    budgets.update({"cells": [CELL]}, tmp_path / "budgets.json")
    return tmp_path / "budgets.json"


def _compare(path, *cells):
    changes = budgets.compare({"cells": list(cells)}, path)
    return changes, budgets.exceeded(changes)


def test_the_same_figures_are_no_change(path):
    assert _compare(path, CELL) == ([], [])


@pytest.mark.parametrize(
    ("figure", "fails"),
    [(4_000_000, False), (5_050_000, False), (5_050_001, True), (9_000_000, True)],
)
def test_one_percent_more_passes_and_is_told(path, figure, fails):
    changes, failing = _compare(path, CELL | {"instructions": figure})
    assert changes == [("mps2_an386", "m3net", "instructions", 5_000_000, figure)]
    assert failing == (changes if fails else [])
    table = budgets.changes_table(changes)
    assert table.row_count == 1
    assert (table.rows[0].style == "red") == fails


def test_what_has_no_budget_or_is_gone_does_not_pass(path):
    changes, failing = _compare(path, CELL, CELL | {"network": "new"})
    assert {change[1] for change in changes} == {"new"}
    assert failing == changes
    gone = {key: value for key, value in CELL.items() if key != "frontend_instructions"}
    assert _compare(path, gone)[1] == [("mps2_an386", "m3net", COSTS[1], 35_000, None)]
    assert {change[1] for change in _compare(path, CELL | {"network": "new"})[1]} == {
        "m3net",
        "new",
    }


def test_boards_that_were_not_run_keep_their_budgets(path):
    other = CELL | {"board": "mps2_an500", "instructions": 7}
    budgets.update({"cells": [other]}, path)
    assert _compare(path, CELL) == _compare(path, other) == ([], [])


def test_networks_that_were_not_measured_are_kept_only_if_asked(path):
    other = CELL | {"network": "other"}
    budgets.update({"cells": [other]}, path, keep=True)
    assert _compare(path, CELL, other) == ([], [])
    budgets.update({"cells": [other]}, path)
    assert {change[1] for change in _compare(path, other)[1]} == set()
    assert {change[1] for change in _compare(path, CELL, other)[1]} == {"m3net"}


@pytest.mark.parametrize("text", ["[]", '{"mps2_an386": 3}', '{"mps2_an386": {"m3net": 3}}'])
def test_a_damaged_file(path, text):
    path.write_text(text)
    with pytest.raises(ConfigError, match=r"budgets\.json is no file of budgets: restore it"):
        _compare(path, CELL)


def test_a_missing_file(tmp_path):
    with pytest.raises(ConfigError, match="is missing: make it with m3net matrix --update-budgets"):
        _compare(tmp_path / "budgets.json", CELL)


def test_the_shipped_budgets_cover_every_emulated_board_and_network():
    found = json.loads(budgets.BUDGETS.read_text())
    assert set(found) == {machine.board for machine in machines()}
    networks = {"m3net", "spectromasknet", "bilateral", "diffres"}
    assert all(set(cells) == networks for cells in found.values())
    assert all(set(cell) == set(COSTS) for cells in found.values() for cell in cells.values())
