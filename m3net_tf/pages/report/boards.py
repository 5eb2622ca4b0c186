# SPDX-License-Identifier: Apache-2.0
"""Sections on boards: cost of each layer, and boards on which the network fits."""

from collections.abc import Sequence
from typing import Any

import altair as alt

from m3net_tf.boards import DEFAULT_BOARD
from m3net_tf.boards.measure.layers import PROFILE_SUFFIX
from m3net_tf.pages.report.charts import layer_bars
from m3net_tf.pages.report.content import Block, Chart, Note, Section, Table, side_by_side
from m3net_tf.pages.report.gather import RunData
from m3net_tf.pages.report.records import BoardNeeds, Footprint, Profile, Summary
from m3net_tf.pages.report.words import number, percent


def layer_costs(runs: Sequence[RunData]) -> Section:
    """Cost of each operator on the boards on which it was measured."""
    return Section(
        "cost",
        "Cost by layer",
        "Executed instructions, or cycles on hardware, of each operator in one run of the network.",
        side_by_side(runs, _costs_of),
    )


def _costs_of(run: RunData) -> list[Block]:
    blocks: list[Block] = []
    boards = []
    for path in sorted((run.run.folder / "device").glob(f"*{PROFILE_SUFFIX}")):
        profile = run.file(f"device/{path.name}", Profile)
        if profile is not None and profile["model_sha256"] == run.exported_sha256:
            blocks += _profile_blocks(profile)
            boards.append(profile["board"])
    for board in _emulated(run):
        if board not in boards:
            command = f"m3net device profile qemu:{board} --run {run.path}"
            blocks.append(Note(f"The layers were not measured on {board}.", command))
    return blocks


def _emulated(run: RunData) -> list[str]:
    """The boards on which the run was emulated; the default board if there is none."""
    named = [run.file(f"summary{engine}.json", Summary) for engine in ("", "_compiled")]
    boards = [each["board"] for each in named if each is not None and each.get("instructions")]
    return list(dict.fromkeys(boards)) or [DEFAULT_BOARD]


def _profile_blocks(profile: Profile) -> list[Block]:
    layers = profile["layers"]
    total = sum(layer["cost"] for layer in layers)
    rows: list[dict[str, Any]] = [
        {
            "layer": f"{index}: {layer['operator']}",
            "output": " x ".join(map(str, layer["output"][1:])) or "1",
            "macs": layer["macs"],
            "cost": layer["cost"],
            "share": layer["cost"] / max(total, 1),
        }
        for index, layer in enumerate(layers)
    ]
    largest = max(rows, key=lambda row: row["cost"])
    unit = profile["unit"]
    text = (
        f"Bar chart of the {unit} of {len(rows)} operators on {profile['board']}; the most "
        f"expensive is {largest['layer']} with {percent(largest['share'], 0)}."
    )
    caption = (
        f"{profile['board']}: {number(profile['total'])} {unit} per inference, "
        f"{number(profile['macs'])} multiply-accumulates."
    )
    bars = layer_bars(
        rows,
        alt.X("cost:Q", title=unit, axis=alt.Axis(format="~s", tickCount=5)),
        [
            "output:N",
            alt.Tooltip("cost:Q", format=","),
            alt.Tooltip("share:Q", format=".1%"),
            alt.Tooltip("macs:Q", title="MACs", format=","),
        ],
    )
    return [Chart(bars, text, caption)]


def footprint(runs: Sequence[RunData]) -> Section:
    """Boards on which the network fits."""
    return Section(
        "footprint",
        "Boards that it fits",
        "Memory of the whole firmware with its share of the board's, and whether the board keeps "
        "up with the sound. That requires half of the clock to be left: an instruction may take "
        "several cycles.",
        side_by_side(runs, _fit_of),
    )


def _fit_of(run: RunData) -> list[Block]:
    result = run.file("footprint.json", Footprint)
    command = f"m3net footprint {run.path}"
    if result is None:
        return [Note("The boards were not measured.", command)]
    columns = ("board", "arena", "RAM", "flash", "of the clock", "fits", "real time")
    blocks: list[Block] = [Table(columns, [_fit_row(board) for board in result["boards"]])]
    if result["model_sha256"] != run.exported_sha256:
        blocks.append(Note("These figures are of an earlier export.", command))
    for reason in dict.fromkeys(filter(None, (row.get("missing") for row in result["boards"]))):
        names = ", ".join(row["board"] for row in result["boards"] if row.get("missing") == reason)
        blocks.append(Note(f"Not measured: {names}: {reason}. Then: {command}"))
    return blocks


def _fit_row(board: BoardNeeds) -> tuple[str, ...]:
    cost = board["cost"]
    if cost is None:
        return (board["board"], f"~{board['arena_estimate_bytes']:,}", "", "", "", "", "")
    return (
        board["board"],
        number(cost["arena_bytes"]),
        _of(cost["ram_bytes"], board["ram_bytes"]),
        _of(cost["flash_bytes"], board["flash_bytes"]),
        percent(board["cpu_share"]),
        "yes" if board["fits"] else "no",
        "yes" if board["real_time"] else "no",
    )


def _of(used: int, size: int) -> str:
    return f"{used:,} ({100 * used / size:.0f} %)"
