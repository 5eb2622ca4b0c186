# SPDX-License-Identifier: Apache-2.0
"""The share of time awake, and the interrupt of a microphone's DMA, compiled for the host."""

from __future__ import annotations

from pathlib import Path

from firmware_helpers import APPS, compile_for_host, run_tool

from m3net_tf.boards.builds.sources import FIRMWARE_DIR

_DAY_US = 24 * 3600 * 10**6


def build(folder: Path, app: str, source: str) -> Path:
    """A program of the tests over one file of the firmware."""
    rooms = [FIRMWARE_DIR / room for room in ("core", "drivers", "arch", "arch/cortex_m")]
    sources = [APPS / app / "main.c", FIRMWARE_DIR / source]
    return compile_for_host(folder / app, sources, [APPS / app, *rooms])


def test_the_share_awake_after_days_and_years(tmp_path: Path):
    program = build(tmp_path, "duty_host", "core/duty.c")
    for awake_us, asleep_us in (
        (0, 0),
        (1, 2),
        (10 * _DAY_US, 90 * _DAY_US),
        (212 * _DAY_US, _DAY_US),
        (214 * _DAY_US, _DAY_US),
        (36_500 * _DAY_US, 36_500 * _DAY_US),
        (36_500 * _DAY_US, 0),
    ):
        total_us = awake_us + asleep_us
        exact = awake_us * 10**6 // total_us if total_us else 10**6
        assert abs(int(run_tool(program, awake_us, asleep_us)) - exact) <= 1


def test_a_half_that_becomes_full_within_the_interrupt_is_not_lost(tmp_path: Path):
    program = build(tmp_path, "stm32_dma_host", "drivers/stm32_dma.c")
    assert run_tool(program) == b"half 0\nhalf 1\nflags 0 overruns 0\n"
