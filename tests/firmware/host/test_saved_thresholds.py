# SPDX-License-Identifier: Apache-2.0
"""Thresholds in the storage of the host's board, which has the rules of flash and power cuts."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from firmware_helpers import run_tool
from monitor_host import CLASSES, build_monitor

HEADER_BYTES = 20
SAVES, FORGETS = 13, 3


@pytest.fixture(scope="module", params=[4, 32])
def word_bytes(request: pytest.FixtureRequest) -> int:
    """Words of the STM32F407 and the nRF52840, and the STM32H753's words with check bits."""
    return request.param


@pytest.fixture(scope="module")
def run(monitor_host: Path, word_bytes: int) -> Callable[..., str]:
    """Runs the program that saves; returns what it prints."""
    choice = f"M3NET_HOST_STORAGE_WORD_BYTES={word_bytes}"
    program = build_monitor(monitor_host.parent, choice, target="m3net_saving_host")

    def output(*words: str) -> str:
        return run_tool(program, *words).decode()

    return output


def test_a_power_cut_at_any_step_leaves_the_former_or_the_new_thresholds(run, word_bytes: int):
    """At every word that is programmed and every erase, with each remainder of it."""
    steps, taken = map(int, re.findall(r"\d+", run("cut", "3000", "1")))
    words_of_save = -(-(HEADER_BYTES + 4 * CLASSES) // word_bytes)
    words_of_forget = -(-HEADER_BYTES // word_bytes)
    erases = steps - SAVES * words_of_save - FORGETS * words_of_forget
    assert erases >= 3  # of the first sector, of the second, and of the first again
    assert 1000 < taken < 2900


def test_what_must_not_be_saved_or_taken(run):
    """1 stands for the exported thresholds."""
    assert run("refuse").splitlines() == [
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
