# SPDX-License-Identifier: Apache-2.0
"""The resources that an export needs on each board, for a terminal of 80 columns or a pipe."""

from __future__ import annotations

from typing import Any

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from m3net_tf.deployment.cost import BoardCost
from m3net_tf.deployment.fit import BUSY_SHARE
from m3net_tf.deployment.size_limits import SIZE_LIMITS

_WORDS = ("board", "real time")  # columns without figures


def fit_report(result: dict[str, Any]) -> Group:
    """The figures for the terminal, within 80 columns: memory, time, and their origin."""
    sound, rows = result["sound"], result["boards"]
    title = f"{result['run']}: {result['network']}, {sound['runs_per_s']:g} runs per second"
    measured = [row for row in rows if row["measured_on"]]
    parts: list[RenderableType] = [title, "", _memory_table(rows)]
    if measured:
        parts += ["", _time_table(measured)]
    for remark in _remarks(result):
        parts += ["", remark]
    return Group(*(Text(part) if isinstance(part, str) else part for part in parts))


def _table(*columns: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, padding=0)
    for column in columns:
        table.add_column(column, justify="left" if column in _WORDS else "right", no_wrap=True)
    return table


def _memory_table(rows: list[dict[str, Any]]) -> Table:
    table = _table("board", "arena", "RAM", "flash", "stack", "front end", "preset")
    for row in rows:
        if row["measured_on"] is None:
            table.add_row(row["board"], _bytes(row["arena_estimate_bytes"], "~"))
            continue
        cost = BoardCost.from_dict(row["cost"])
        table.add_row(
            row["board"],
            _bytes(cost.arena_bytes),
            _share(cost.ram_bytes, row["ram_bytes"]),
            _share(cost.flash_bytes, row["flash_bytes"]),
            _bytes(cost.stack_bytes),
            _bytes(cost.frontend_bytes),
            row["preset"] or f"< {next(iter(SIZE_LIMITS))}",
            style=None if row["fits"] else "red",
        )
    return table


def _time_table(rows: list[dict[str, Any]]) -> Table:
    table = _table("board", "instructions/s", "of the clock", "real time")
    for row in rows:
        table.add_row(
            row["board"],
            f"{row['instructions_per_second']:,}",
            f"{100 * row['cpu_share']:.1f} % of {row['clock_hz'] / 1e6:g} MHz",
            _verdict(row),
            style=None if row["fits"] and row["real_time"] else "red",
        )
    return table


def _verdict(row: dict[str, Any]) -> str:
    if not row["fits"]:
        return "does not fit"
    if row["real_time"]:
        return "yes"
    columns = row["least_run_columns"]
    return f"no; with run_columns {columns}" if columns else "no"


def _bytes(size: int | None, before: str = "") -> str:
    return "" if size is None else f"{before}{size:,}"


def _share(used: int, size: int) -> str:
    return f"{used:,} {100 * used / size:3.0f} %"


def _remarks(result: dict[str, Any]) -> list[str]:
    rows, exported = result["boards"], result["arena"]["bytes"]
    remarks, measured = [], [row for row in rows if row["measured_on"]]
    for emulated, names in _grouped(measured, "measured_on").items():
        if same_core := [name for name in names if name != emulated]:
            remarks.append(
                f"{', '.join(same_core)}: instructions, arena and stack are those of the emulated "
                f"{emulated}, which has the same core."
            )
    for emulated in _grouped(
        [row for row in measured if row["cost"]["arena_bytes"] > exported], "measured_on"
    ):
        remarks.append(
            f"{emulated}: the export's arena of {exported:,} bytes is too small for this core; "
            f"m3net export RUN --board {emulated} proves one."
        )
    missing = [row for row in rows if "missing" in row]
    for reason, names in _grouped(missing, "missing").items():
        owner = "no board is measured" if len(names) == len(rows) > 1 else ", ".join(names)
        remarks.append(f"{owner}: {reason}")
    if any(row["arena_estimate_bytes"] for row in missing):
        remarks.append("~: estimated on this computer.")
    if measured:
        limits = ", ".join(
            f"{name} {limit.arena_bytes:,} + {limit.model_bytes:,}"
            for name, limit in SIZE_LIMITS.items()
        )
        remarks += [
            "Memory is in bytes, with the share of the board's. The preset is the largest whose "
            f"limits of arena and network ({limits}) the board has memory for, at any speed.",
            "Instructions are not cycles: a board counts as real-time up to "
            f"{100 * BUSY_SHARE:g} % of its clock in instructions, with the gate open.",
        ]
    return remarks


def _grouped(rows: list[dict[str, Any]], key: str) -> dict[str, list[str]]:
    """Names of the boards by their value of a key, in order."""
    groups: dict[str, list[str]] = {}
    for row in rows:
        groups.setdefault(row[key], []).append(row["board"])
    return groups
