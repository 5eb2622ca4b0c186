# SPDX-License-Identifier: Apache-2.0
"""Models in the storage of the host's board, which has the rules of flash and power cuts."""

from __future__ import annotations

import re

PROGRAM = "m3net_updating_host"
RANDOM_CUTS = 500
UPDATES, RETURNS = 4, 2
SECTOR_BYTES, MARK_BYTES = 256, 20


def test_a_power_cut_at_any_step_leaves_the_former_or_the_new_model(
    run_with_storage, word_bytes: int
):
    """At every word that is programmed and every erase, with each remainder of it."""
    size, steps, cuts, taken = map(
        int, re.findall(r"\d+", run_with_storage("cut", str(RANDOM_CUTS), "1"))
    )
    words, erases = -(-size // word_bytes), 1 + -(-size // SECTOR_BYTES)
    words_of_mark = -(-MARK_BYTES // word_bytes)
    assert steps == UPDATES * (words + erases + words_of_mark) + RETURNS * words_of_mark
    assert cuts == 4 * steps + RANDOM_CUTS
    assert 10 < taken < RANDOM_CUTS - 100


def test_changed_bytes_are_refused_and_damage_in_the_flash_is_found(run_with_storage):
    """Under sanitisers. Images with a right checksum may be taken, such as with another name."""
    refused, right = map(int, re.findall(r"\d+", run_with_storage("mutate", "3000", "1")))
    assert refused > 2500 and right > 0


def test_what_must_not_be_taken_or_done(run_with_storage):
    """0 stands for the firmware's own model."""
    assert run_with_storage("refuse").splitlines() == [
        "back from the firmware's own model: argument, then 0",
        "bytes that nobody announced: argument, then 0",
        "the end of no update: argument, then 0",
        "more than a slot: full, then 0",
        "nothing: full, then 0",
        "the first model: ok, then 1",
        "a part of a model: argument, then 1",
        "a gap: argument, then 1",
        "another format: model, then 1",
        "another layout: config, then 1",
        "another structure: config, then 1",
        "a part more: config, then 1",
        "other scores: invoke, then 1",
        "texts beyond the image: model, then 1",
        "a part beyond the image: model, then 1",
        "a part whose end is beyond the image: model, then 1",
        "a release above its threshold: model, then 1",
        "a worn storage: hardware, then 1",
        "a second model before the restart: argument, then 2",
        "back before the restart: ok, then 2",
        "back from a slot that was begun anew: ok, then 0",
        "a model again: ok, then 4",
        "back to one that failed its test: ok, then 0",
        "the same model again: ok, then 4",
        "another one: ok, then 5",
        "marks of another firmware: ok, then 0",
        "back too often: full, then 5",
    ]
