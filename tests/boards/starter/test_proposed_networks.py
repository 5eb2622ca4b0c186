# SPDX-License-Identifier: Apache-2.0
"""Networks that a new project gets: one that its board runs in real time."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from m3net_tf.boards.builds.boards import emulated_board, list_boards
from m3net_tf.boards.builds.sources import FIRMWARE_DIR
from m3net_tf.boards.starter.proposals import (
    BODIES,
    ESC10_PERCENT,
    FROM_NOTHING,
    LARGE,
    NOTHING,
    propose,
)

BOARD, SAME_CORE = "mps2_an386", "nrf52840dk"


@pytest.mark.parametrize("board", list_boards())
@pytest.mark.parametrize("clip_s", [1.0, 1.5, 2.0])
def test_every_board_is_proposed_a_network_in_real_time(board: str, clip_s: float):
    for rate_hz in (8_000, 16_000):
        proposal, proposed = propose(clip_s, rate_hz, board, NOTHING)
        assert proposed.real_time
        better = FROM_NOTHING[: FROM_NOTHING.index(proposal)]
        assert not any(other.pace(clip_s, rate_hz, board).real_time for other in better)


def test_each_core_was_measured_and_stands_for_the_boards_that_have_it():
    cores = {path.stem for path in (FIRMWARE_DIR / "cmake" / "cores").iterdir()}
    assert all(set(proposal.costs) == cores for proposal in (*FROM_NOTHING, *BODIES))
    assert [emulated_board(board) for board in (BOARD, SAME_CORE)] == [BOARD, BOARD]


def test_the_expected_accuracies_are_the_measured_ones():
    evidence = Path(__file__).parents[3] / "docs" / "evidence"
    for start, percent in ESC10_PERCENT.items():
        page = "bodies_from_nothing.json" if start == NOTHING else "bodies.json"
        accuracy = json.loads((evidence / page).read_text())["data"]["esc10"]["accuracy"]
        for clips, expected in percent.items():
            measured = accuracy["from nothing" if start == NOTHING else start][str(clips)]
            assert 100 * measured["int8"]["accuracy"] == pytest.approx(expected, abs=0.051)


def test_only_its_name_chooses_the_large_body():
    assert propose(1.0, 16_000, "nucleo_h753zi")[0].preset == "sounds_m"
    proposal, pace = propose(1.0, 16_000, "nucleo_h753zi", "sounds_l")
    assert proposal == LARGE and not pace.real_time
