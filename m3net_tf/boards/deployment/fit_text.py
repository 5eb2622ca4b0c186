# SPDX-License-Identifier: Apache-2.0
"""The resources that an export needs on each board, for a terminal of 80 columns or a pipe."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from m3net_tf.boards.deployment.fit_result import Figures, FitResult, FitRow
from m3net_tf.boards.deployment.real_time import BUSY_SHARE
from m3net_tf.boards.deployment.size_limits import SIZE_LIMITS
from m3net_tf.compiler.engines import TFLM

_WORDS = ("board", "real time")  # columns without figures


def fit_report(result: FitResult) -> Group:
    """The figures for the terminal, within 80 columns: memory, time, and their origin."""
    title = (
        f"{result.run}: {result.network}, engine {result.engine}, {result.runs_per_s:.3g} runs per "
        "second"
    )
    parts: list[RenderableType] = [title, "", _memory_table(result)]
    if any(row.figures for row in result.boards):
        parts += ["", _time_table(result.boards)]
    for remark in _remarks(result):
        parts += ["", remark]
    return Group(*(Text(part) if isinstance(part, str) else part for part in parts))


def _table(*columns: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, padding=0)
    for column in columns:
        table.add_column(column, justify="left" if column in _WORDS else "right", no_wrap=True)
    return table


def _memory_table(result: FitResult) -> Table:
    table = _table("board", "arena", "RAM", "flash", "stack", "front end", "preset")
    for row in result.boards:
        facts, figures = row.facts, row.figures
        if figures is None:
            mark = "~" if result.engine == TFLM else ""
            table.add_row(facts.board, _bytes(row.arena_estimate_bytes, mark))
            continue
        cost = figures.cost
        table.add_row(
            facts.board,
            _bytes(cost.arena_bytes),
            _share(cost.ram_bytes, facts.ram_bytes),
            _share(cost.flash_bytes, facts.flash_bytes),
            _bytes(cost.stack_bytes),
            _bytes(cost.frontend_bytes),
            figures.preset or f"< {next(iter(SIZE_LIMITS))}",
            style=None if figures.fits else "red",
        )
    return table


def _time_table(rows: Sequence[FitRow]) -> Table:
    table = _table("board", "inference", "a second", "of the clock", "real time")
    for row in rows:
        if row.figures is None:
            continue
        pace = row.figures.pace
        table.add_row(
            row.facts.board,
            f"{pace.run_ms:.1f} ms",
            f"{pace.runs_per_second:.3g}",
            f"{100 * pace.cpu_share:.1f} % of {row.facts.clock_hz / 1e6:g} MHz",
            _verdict(row.figures),
            style=None if row.figures.fits and pace.real_time else "red",
        )
    return table


def _verdict(figures: Figures) -> str:
    if not figures.fits:
        return "does not fit"
    if figures.pace.real_time:
        return "yes"
    columns = figures.pace.least_run_columns
    return f"no; with run_columns {columns}" if columns else "no"


def _bytes(size: int | None, before: str = "") -> str:
    return "" if size is None else f"{before}{size:,}"


def _share(used: int, size: int) -> str:
    return f"{used:,} {100 * used / size:3.0f} %"


def _remarks(result: FitResult) -> list[str]:
    exported, remarks = result.arena.bytes, []
    measured = [(row.facts.board, row.figures) for row in result.boards if row.figures]
    for emulated, names in _grouped((done.measured_on, board) for board, done in measured).items():
        if same_core := [name for name in names if name != emulated]:
            remarks.append(
                f"{', '.join(same_core)}: instructions, arena and stack are those of the emulated "
                f"{emulated}, which has the same core."
            )
    larger = [
        done.measured_on
        for _, done in measured
        if result.engine == TFLM and done.cost.arena_bytes > exported
    ]
    for emulated in dict.fromkeys(larger):
        remarks.append(
            f"{emulated}: the export's arena of {exported:,} bytes is too small for this core; "
            f"m3net export RUN --board {emulated} proves one."
        )
    missing = [row for row in result.boards if row.missing]
    for reason, names in _grouped((row.missing, row.facts.board) for row in missing).items():
        owner = "no board is measured" if len(names) == len(result.boards) > 1 else ", ".join(names)
        remarks.append(f"{owner}: {reason}")
    if result.engine == TFLM and any(row.arena_estimate_bytes for row in missing):
        remarks.append("~: estimated on this computer.")
    if measured:
        limits = ", ".join(
            f"{name} {limit.arena_bytes:,} + {limit.model_bytes:,}"
            for name, limit in SIZE_LIMITS.items()
        )
        remarks += [
            "Memory is in bytes, with the share of the board's. The preset is the largest whose "
            f"limits of arena and network ({limits}) the board has memory for, at any speed.",
            "Times are instructions that an emulator counted, one a clock cycle, and not a chip's: "
            f"a board counts as real-time up to {100 * BUSY_SHARE:g} % of its clock, with the gate "
            "open.",
        ]
    return remarks


def _grouped(pairs: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    """Values of pairs of key and value by their key, in order."""
    groups: dict[str, list[str]] = {}
    for key, value in pairs:
        groups.setdefault(key, []).append(value)
    return groups
