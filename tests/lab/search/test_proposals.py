# SPDX-License-Identifier: Apache-2.0
"""The costs of the networks that ``m3net init`` proposes, measured like a search's candidates."""

import dataclasses

import pytest

from m3net_tf.audio.datasets import load_dataset
from m3net_tf.boards.builds.boards import load_board
from m3net_tf.boards.emulation.starting import why_no_emulation
from m3net_tf.boards.starter.proposals import BODIES, BODY_WINDOW_S, FROM_NOTHING, LARGE
from m3net_tf.lab.search.candidates import candidate
from m3net_tf.training.recipe import Recipe

BOARD = "mps2_an386"


@pytest.mark.slow
@pytest.mark.parametrize(
    "proposal", (*FROM_NOTHING, *BODIES, LARGE), ids=lambda proposal: proposal.preset
)
def test_a_proposal_costs_what_its_table_says(proposal, private_cache):
    if reason := why_no_emulation(BOARD):
        pytest.skip(reason)
    info = load_dataset("synth").info
    info = dataclasses.replace(
        info, clip_s=BODY_WINDOW_S if proposal.body else 1.0, labels=info.labels[:4]
    )
    sections = proposal.sections(16_000) | {"fine_tuning": {}}
    recipe = Recipe.from_dict({"dataset": {"name": "synth"}, **sections})
    with candidate(recipe, info) as untrained:
        cost = untrained.measure(BOARD)
    run, _, frame = proposal.costs[load_board(BOARD).core]
    assert cost["instructions"] == pytest.approx(run, rel=0.05)
    assert cost["frontend_instructions"] == pytest.approx(frame, rel=0.05)
