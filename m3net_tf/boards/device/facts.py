# SPDX-License-Identifier: Apache-2.0
"""Facts that a board reports, as plain values and as a table."""

from typing import TypedDict

from rich import box
from rich.table import Table

from m3net_tf.boards.device.client import Device
from m3net_tf.system.words import counted

# These stay text even if they consist of digits.
_TEXTS = frozenset({"board", "core", "counter", "reset", "name", "sha256"})
_BYTES = {
    "arena_used": "arena in use",
    "arena_size": "arena",
    "stack_used": "stack in use, at most",
    "stack_size": "stack",
    "frontend_bytes": "front end",
    "live_bytes": "live detection",
    "monitor_bytes": "monitor",
    "buffer_bytes": "buffer for recordings",
}


class DeviceFacts(TypedDict):
    """Facts that a board reports.

    Attributes:
        board: the board: name, core, clock, console and last reset, by the monitor's keys.
        model: the network: name, bytes and SHA-256.
    """

    board: dict[str, str | int]
    model: dict[str, str | int]
    frontend: dict[str, int]
    labels: list[str]
    memory: dict[str, int]
    statistics: dict[str, int]


def device_facts(device: Device) -> DeviceFacts:
    """The facts of a board, for JSON; numbers are numbers.

    Raises:
        FirmwareError: the board does not answer.
    """
    info = device.info()
    return {
        "board": _values(info.version),
        "model": _values(info.model),
        "frontend": info.frontend,
        "labels": list(info.labels),
        "memory": device.request("memory").numbers(),
        "statistics": device.request("stat").numbers(),
    }


def _values(fields: dict[str, str]) -> dict[str, str | int]:
    return {
        key: int(text) if key not in _TEXTS and text.isdecimal() else text
        for key, text in fields.items()
    }


def facts_table(facts: DeviceFacts) -> Table:
    """The facts as a table for the terminal."""
    board, model, frontend = facts["board"], facts["model"], facts["frontend"]
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), show_header=False)
    table.add_column("", no_wrap=True)
    table.add_column("", overflow="fold")
    clock_mhz = int(board["clock_hz"]) / 1e6
    rate_hz, frames, hop = frontend["rate_hz"], frontend["frames"], frontend["hop_samples"]
    window = (frames - 1) * hop + frontend["frame_samples"]
    table.add_row("board", f"{board['board']}, {board['core']} at {clock_mhz:g} MHz")
    table.add_row("microphone", "yes" if board.get("audio") else "none")
    table.add_row("console", f"{board['baud']} baud, monitor protocol {board['protocol']}")
    table.add_row("started by", str(board["reset"]))
    table.add_section()
    table.add_row("model", f"{model['name']}, {model['bytes']:,} bytes")
    table.add_row("SHA-256", str(model["sha256"]))
    table.add_row("input", f"{frontend['bins']} x {frames} (bins x frames), {window / rate_hz:g} s")
    table.add_row("sound", f"{rate_hz} Hz, a column every {1000 * hop / rate_hz:g} ms")
    table.add_row(counted(len(facts["labels"]), "class"), ", ".join(facts["labels"]))
    table.add_section()
    for key, count in facts["memory"].items():
        table.add_row(_BYTES.get(key, key), f"{count:,} bytes")
    table.add_section()
    for key, count in facts["statistics"].items():
        table.add_row(key.replace("_", " "), f"{count:,}")
    return table
