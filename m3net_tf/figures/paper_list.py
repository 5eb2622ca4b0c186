# SPDX-License-Identifier: Apache-2.0
"""All tables and figures of the papers, with their commands and the state of their results."""

from __future__ import annotations

from pathlib import Path

from m3net_tf.artifacts import read_json
from m3net_tf.checkout import require_sources
from m3net_tf.figures.catalogue import FIGURES
from m3net_tf.studies.grid import SCALES, fingerprint
from m3net_tf.studies.grid_file import find_grid, grid_names, load_grid
from m3net_tf.studies.table_list import written_tables
from m3net_tf.yaml_files import read_yaml

_NO_RESULTS = "no results"
_COMMANDS = {"m3net table": "table", "m3net figure": "figure"}


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


def list_lines(out: Path) -> list[str]:
    """Each item for the terminal: a line per scale with results, or one without.

    Tables of no paper come last.

    Args:
        out: folder of the results.
    """
    states = _table_states(out)
    items = paper_items()
    named = " ".join(items.values())
    items |= {name: f"m3net table {name}" for name in grid_names() if f" {name}" not in named}
    lines = []
    for item, command in items.items():
        kind, name = _kind(command), command.split()[2]
        if kind == "table":
            results = states.get(name, [_NO_RESULTS])
        elif kind == "figure":
            results = _figure_states(name, out)
        else:
            results = ["in the code"]
        lines += [f"{item:<34}  {result:<62}  {command}" for result in results]
    return lines


def _kind(command: str) -> str:
    """``table`` or ``figure`` for commands that write results, otherwise ''."""
    writes = not {"--dry-run", "--print-recipe"} & set(command.split())
    return _COMMANDS.get(" ".join(command.split()[:2]), "") if writes else ""


def _table_states(out: Path) -> dict[str, list[str]]:
    states: dict[str, list[str]] = {}
    for table in written_tables(out):
        runs = f"{table.runs} run{'s' * (table.runs != 1)}"
        line = _line(table.scale, runs, table.state, table.date, table.commit)
        states.setdefault(table.name, []).append(line)
    return states


def _line(scale: str, runs: str, state: str, date: str, commit: str) -> str:
    return f"{scale:<5}  {runs:<8}  {state:<22}  {date:<10}  {commit}".rstrip()


def _figure_states(name: str, out: Path) -> list[str]:
    lines = []
    for scale in ("", *SCALES):
        path = out / f"{name}{'.' * bool(scale)}{scale}.json"
        if not path.exists():
            continue
        facts = read_json(path)
        cells = facts.get("cells", [])
        runs = sum("run_git_commit" in cell for cell in cells)
        commit = str(facts.get("git_commit") or "")[:9]
        state = _state(name, scale, cells)
        shown = f"{runs} run{'s' * (runs != 1)}" if runs else ""
        lines.append(_line(scale, shown, state, str(facts.get("date", "")), commit))
    return lines or [_NO_RESULTS]


def _state(name: str, scale: str, cells: list[dict]) -> str:
    """Whether a figure shows what today's grid would show."""
    grid_name = FIGURES[name].grid
    if not cells or not grid_name or not scale:
        return "drawn"
    grid = load_grid(find_grid(grid_name), scale)
    needed = {fingerprint(grid.recipe(cell)) for cell in grid.cells if not cell.repeats}
    needed |= {grid.training(cell, repeat).key for cell in grid.cells for repeat in cell.repeats}
    drawn = {cell["recipe_sha256"] for cell in cells}
    return "current" if drawn == needed else "older recipe"
