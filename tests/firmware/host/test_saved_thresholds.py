# SPDX-License-Identifier: Apache-2.0
"""Thresholds in the storage of the host's board, which has the rules of flash and power cuts."""

from __future__ import annotations

import re

from monitor_host import CLASSES

PROGRAM = "m3net_saving_host"
HEADER_BYTES = 20
SAVES, FORGETS = 13, 3


def test_a_power_cut_at_any_step_leaves_the_former_or_the_new_thresholds(
    run_with_storage, word_bytes: int
):
    """At every word that is programmed and every erase, with each remainder of it."""
    steps, taken = map(int, re.findall(r"\d+", run_with_storage("cut", "3000", "1")))
    words_of_save = -(-(HEADER_BYTES + 4 * CLASSES) // word_bytes)
    words_of_forget = -(-HEADER_BYTES // word_bytes)
    erases = steps - SAVES * words_of_save - FORGETS * words_of_forget
    assert erases >= 3  # of the first sector, of the second, and of the first again
    assert 1000 < taken < 2900


def test_what_must_not_be_saved_or_taken(run_with_storage):
    """1 stands for the exported thresholds."""
    assert run_with_storage("refuse").splitlines() == [
        "thresholds: ok, then 2000",
        "the same thresholds: ok, then 2000",
        "0 steps",
        "more than a sector: full, then 2000",
        "a worn storage: hardware, then 2000",
        "a worn storage forgets: hardware, then 2000",
        "another model's: ok, then 1",
        "nothing to forget: ok, then 1",
        "a full sector: ok, then 1",
        "the next sector: ok, then 4000",
    ]
