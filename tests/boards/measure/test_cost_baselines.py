# SPDX-License-Identifier: Apache-2.0
"""Accepted costs of the emulated boards: which changes are listed, and which fail."""

import json

import pytest
from refusals import refuses

from m3net_tf.boards.builds.boards import load_board, machines
from m3net_tf.boards.measure import baselines
from m3net_tf.boards.measure.baselines import COSTS, Place
from m3net_tf.boards.measure.cost import BoardCost
from m3net_tf.system.errors import ConfigError

PLACE = Place("mps2_an386", "compiled", "m3net")
NEW = Place("mps2_an386", "compiled", "new")
COST = BoardCost(
    board="mps2_an386",
    instructions=5_000_000,
    frontend_instructions=35_000,
    arena_bytes=40_000,
    arena_used_bytes=29_000,
    stack_bytes=1_500,
    frontend_bytes=8_000,
    flash_bytes=190_000,
    ram_bytes=60_000,
    model_bytes=60_000,
    sections={},
)


@pytest.fixture
def path(tmp_path):
    baselines.update({PLACE: COST}, tmp_path / "baselines.json")
    return tmp_path / "baselines.json"


def _compare(path, measured):
    changes = baselines.compare(measured, path)
    return changes, baselines.exceeded(changes)


def test_the_same_figures_are_no_change(path):
    assert _compare(path, {PLACE: COST}) == ([], [])


@pytest.mark.parametrize(
    ("figure", "fails"),
    [(4_000_000, False), (5_050_000, False), (5_050_001, True), (9_000_000, True)],
)
def test_one_percent_more_passes_and_is_reported(path, figure, fails):
    changes, failing = _compare(path, {PLACE: {**COST, "instructions": figure}})
    assert changes == [(PLACE, "instructions", 5_000_000, figure)]
    assert failing == (changes if fails else [])
    table = baselines.changes_table(changes)
    assert table.row_count == 1
    assert (table.rows[0].style == "red") == fails


def test_what_has_no_baseline_or_is_gone_does_not_pass(path):
    changes, failing = _compare(path, {PLACE: COST, NEW: COST})
    assert {change.place for change in changes} == {NEW}
    assert failing == changes
    _, failing = _compare(path, {NEW: COST})
    assert (PLACE, COSTS[1], 35_000, None) in failing
    assert {change.place for change in failing} == {PLACE, NEW}
    assert len(failing) == 2 * len(COSTS)


@pytest.mark.parametrize("change", [{"board": "mps2_an500"}, {"engine": "tflm"}])
def test_boards_and_engines_that_were_not_run_keep_their_baselines(path, change):
    others = {PLACE._replace(**change): {**COST, "instructions": 7}}
    baselines.update(others, path)
    assert _compare(path, {PLACE: COST}) == _compare(path, others) == ([], [])


def test_networks_that_were_not_measured_lose_their_baselines(path):
    baselines.update({NEW: COST}, path)
    assert _compare(path, {NEW: COST})[1] == []
    assert {change.place for change in _compare(path, {PLACE: COST, NEW: COST})[1]} == {PLACE}


@pytest.mark.parametrize(
    "text",
    [
        "[]",
        '{"mps2_an386": 3}',
        '{"mps2_an386": {"m3net": 3}}',
        '{"mps2_an386": {"compiled": {"m3net": 3}}}',
        '{"mps2_an386": {"compiled": {"m3net": {"instructions": 3}}}}',
    ],
)
def test_a_damaged_file(path, text):
    path.write_text(text)
    with refuses(ConfigError, "baselines.json"):
        _compare(path, {PLACE: COST})


def test_a_missing_file(tmp_path):
    with refuses(ConfigError, "m3net matrix --update-baselines"):
        _compare(tmp_path / "baselines.json", {PLACE: COST})


def test_the_shipped_baselines_cover_every_emulated_board_network_and_engine():
    shipped = json.loads(baselines.PATH.read_text())
    assert set(shipped) == {machine.board for machine in machines()}
    networks = {"m3net", "spectromasknet", "bilateral", "diffres"}
    for board, engines in shipped.items():
        assert set(engines) == set(load_board(board).architecture.engines)
        for cells in engines.values():
            assert set(cells) == networks
            assert all(set(cell) == set(COSTS) for cell in cells.values())
