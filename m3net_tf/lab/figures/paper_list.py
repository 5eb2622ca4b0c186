# SPDX-License-Identifier: Apache-2.0
"""All tables and figures of the papers, with their commands and the state of their results."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypedDict

from m3net_tf.lab.many.plan import fingerprint
from m3net_tf.lab.studies.grid import SCALES
from m3net_tf.lab.studies.grid_file import find_grid, grid_names, load_grid
from m3net_tf.lab.studies.table_list import estimated_tables, written_tables
from m3net_tf.system.artifacts import read_json
from m3net_tf.system.checkout import require_sources
from m3net_tf.system.yaml_files import read_yaml

_WRITING = re.compile(r"m3net (table|lab figure) (\S+)")
"""A command that writes results; with --dry-run or --print-recipe it writes none."""


def paper_items() -> dict[str, str]:
    """Paper and number of each table and figure -> its command, in the papers' order.

    Raises:
        ConfigError: there is no source checkout.
    """
    path = require_sources("experiments") / "papers.yaml"
    papers = read_yaml(path)
    return {
        f"{paper}, {item.lower()}": str(command)
        for paper, items in papers.items()
        for item, command in items.items()
    }


class ItemResult(TypedDict):
    """Written results of a table or figure; texts that do not apply are empty."""

    scale: str
    runs: int
    state: str
    date: str
    commit: str


class PaperItem(TypedDict):
    """A table or figure, its command, and its results; None if the command writes none."""

    item: str
    command: str
    results: list[ItemResult] | None


def list_items(out: Path) -> list[PaperItem]:
    """The papers' tables and figures; tables of no paper come last.

    Args:
        out: folder of the results.

    Raises:
        ConfigError: there is no source checkout.
    """
    tables = _table_results(out)
    items = paper_items()
    named = {word for command in items.values() for word in command.split()}
    items |= {name: f"m3net table {name}" for name in grid_names() if name not in named}
    listed: list[PaperItem] = []
    for item, command in items.items():
        results = None
        if writing := _WRITING.fullmatch(command):
            kind, name = writing.groups()
            results = tables.get(name, []) if kind == "table" else _figure_results(name, out)
        listed.append({"item": item, "command": command, "results": results})
    return listed


def list_lines(out: Path) -> list[str]:
    """Each item with its command, and below it a line for each result; see list_items."""
    lines = []
    for item in list_items(out):
        lines.append(f"{item['item']}: {item['command']}")
        if item["results"] is None:
            lines.append("    in the code")
        elif item["results"]:
            lines += [f"    {_line(result)}" for result in item["results"]]
        else:
            lines.append("    no results")
    return lines


def _table_results(out: Path) -> dict[str, list[ItemResult]]:
    results: dict[str, list[ItemResult]] = {}
    for table in written_tables(out):
        results.setdefault(table.name, []).append(
            {
                "scale": table.scale,
                "runs": table.runs,
                "state": table.state,
                "date": table.date,
                "commit": table.commit,
            }
        )
    for estimate in estimated_tables(out):
        results.setdefault(estimate.name, []).append(
            {
                "scale": estimate.scale,
                "runs": estimate.runs,
                "state": f"not run: {estimate.hours:.3g} h, {estimate.machine}",
                "date": "",
                "commit": estimate.commit,
            }
        )
    return results


def _line(result: ItemResult) -> str:
    runs = f"{result['runs']} run{'s' * (result['runs'] != 1)}" if result["runs"] else ""
    facts = f"{result['scale']:<5}  {runs:<8}  {result['state']:<25}  {result['date']:<10}"
    return f"{facts}  {result['commit']}".rstrip()


def _figure_results(name: str, out: Path) -> list[ItemResult]:
    results: list[ItemResult] = []
    for scale in ("", *SCALES):
        path = out / f"{name}{'.' * bool(scale)}{scale}.json"
        if not path.exists():
            continue
        facts = read_json(path)
        cells = facts.get("cells", [])
        results.append(
            {
                "scale": scale,
                "runs": sum("run_git_commit" in cell for cell in cells),
                "state": _state(scale, facts),
                "date": str(facts.get("date", "")),
                "commit": str(facts.get("git_commit") or "")[:9],
            }
        )
    return results


def _state(scale: str, facts: Mapping[str, Any]) -> str:
    """Whether a figure shows what today's grid would show."""
    grid_name, cells = facts.get("grid"), facts.get("cells")
    if not cells or not grid_name or not scale:
        return "drawn"
    grid = load_grid(find_grid(grid_name), scale)
    needed = {fingerprint(grid.recipe(cell)) for cell in grid.cells if not cell.repeats}
    needed |= {grid.training(cell, repeat).key for cell in grid.cells for repeat in cell.repeats}
    drawn = {cell["recipe_sha256"] for cell in cells}
    return "current" if drawn == needed else "older recipe"
