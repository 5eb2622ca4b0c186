# SPDX-License-Identifier: Apache-2.0
"""All tables and figures of the papers, with their commands and the state of their results."""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypedDict

from m3net_tf.lab.studies.grid import SCALES, Grid
from m3net_tf.lab.studies.grid_file import grid_names, load_grid
from m3net_tf.lab.studies.table_record import WrittenReport
from m3net_tf.system.artifacts import read_json
from m3net_tf.system.checkout import find_sources, require_sources
from m3net_tf.system.processor import arithmetic
from m3net_tf.system.words import counted
from m3net_tf.system.yaml_files import read_yaml
from m3net_tf.training.run import built_otherwise

_WRITING = re.compile(r"m3net (table|lab figure) (\S+)")
"""A command that writes results; with --dry-run it writes none."""


class _Estimate(TypedDict):
    """What is read of the estimated hours of a table."""

    hours: float
    runs: int


class ItemResult(TypedDict):
    """Written results of a table or figure; texts that do not apply are empty.

    Attributes:
        runs: number of runs with a result, or that a table without results would have.
        overlay: name of the overlay of its recipes; empty without one.
        state: whether today's recipes would give the results.
        arithmetic: accelerators or instruction sets of its runs; older runs have no record of it.
    """

    scale: str
    overlay: str
    runs: int
    state: str
    arithmetic: str
    date: str
    commit: str


class PaperItem(TypedDict):
    """A table or figure, its command, and its results; None if the command writes none."""

    item: str
    command: str
    results: list[ItemResult] | None


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


def list_items(out: Path) -> list[PaperItem]:
    """The papers' tables and figures; tables of no paper come last.

    Raises:
        ConfigError: a grid is wrong, or there is no source checkout.
        DataError: a result is damaged.
    """
    items = paper_items()
    named = {word for command in items.values() for word in command.split()}
    items |= {name: f"m3net table {name}" for name in grid_names() if name not in named}
    listed: list[PaperItem] = []
    for item, command in items.items():
        results = None
        if writing := _WRITING.fullmatch(command):
            kind, name = writing.groups()
            results = [*(table_results if kind == "table" else figure_results)(name, out)]
        listed.append({"item": item, "command": command, "results": results})
    return listed


def list_lines(items: Sequence[PaperItem]) -> list[str]:
    """Each item with its command, and below it a line for each result."""
    lines = []
    for item in items:
        lines.append(f"{item['item']}: {item['command']}")
        if item["results"] is None:
            lines.append("    in the code")
        elif item["results"]:
            lines += [f"    {_line(result)}" for result in item["results"]]
        else:
            lines.append("    no results")
    return lines


def _line(result: ItemResult) -> str:
    runs = counted(result["runs"], "run") if result["runs"] else ""
    scale = f"{result['scale']} {result['overlay']}"
    facts = f"{scale:<9}  {runs:<8}  {result['state']:<25}  {result['date']:<10}"
    arithmetic = f"arithmetic {result['arithmetic']}" if result["arithmetic"] else ""
    return f"{facts}  {result['commit']:<9}  {arithmetic}".rstrip()


def hours_path(out: Path, name: str, scale: str) -> Path:
    """File of the estimated hours of a table, which ``m3net bench table --out`` writes."""
    return out / f"{name}.{scale}.hours.json"


def table_results(name: str, out: Path) -> Iterator[ItemResult]:
    """The results of a table at each scale, else the hours that it would take, and of overlays."""
    overlays = sorted(find_sources("experiments").glob("*.yaml"))  # the others have no results
    for scale in SCALES:
        path = out / f"{name}.{scale}.json"
        estimate = hours_path(out, name, scale)
        if path.exists():
            yield _table_result(load_grid(name, scale), read_json(path, WrittenReport))
        elif estimate.exists():
            facts = read_json(estimate, _Estimate)
            machine = f"{facts.get('cores')} cores"
            if "tflops" in facts:
                machine = f"{facts['tflops']} TFLOP/s"
            state = f"not run: {facts['hours']:.3g} h, {machine}"
            yield _result(scale, facts["runs"], state, facts)
        for overlay in overlays:
            path = out / f"{name}.{scale}.{overlay.stem}.json"
            if path.exists():
                grid = load_grid(name, scale, overlay)
                result = _table_result(grid, read_json(path, WrittenReport))
                yield {**result, "overlay": overlay.stem}


def _result(scale: str, runs: int, state: str, facts: Mapping[str, Any]) -> ItemResult:
    """A result with the date and the commit of its file."""
    return {
        "scale": scale,
        "overlay": "",
        "runs": runs,
        "state": state,
        "arithmetic": "",
        "date": facts.get("date", ""),
        "commit": (facts.get("git_commit") or "")[:9],
    }


def _table_result(grid: Grid, report: WrittenReport) -> ItemResult:
    needed = {training.key: training.recipe for training in grid.trainings()}
    cells = report.get("cells", ())
    runs = [run for cell in cells for run in cell.get("runs", ()) if run.get("value") is not None]
    trained = {run["recipe_sha256"]: run.get("metrics", {}) for run in runs}
    current = sum(
        key in needed and not built_otherwise(metrics, needed[key])
        for key, metrics in trained.items()
    )
    state = f"{current} of {len(needed)} runs current" if current else "older recipe"
    if current == len(needed):
        state = "current"
    used = {arithmetic(metrics.get("computers", ())) for metrics in trained.values()}
    result = _result(grid.scale, len(trained), state, report)
    return {**result, "arithmetic": ", ".join(sorted(used))}


def figure_results(name: str, out: Path) -> Iterator[ItemResult]:
    """The results of a figure without a grid, or at each scale; see :func:`table_results`."""
    for scale in ("", *SCALES):
        path = out / f"{name}{'.' * bool(scale)}{scale}.json"
        if path.exists():
            facts: WrittenReport = read_json(path, WrittenReport)
            cells = facts.get("cells", [])
            grid = facts.get("grid")
            state = "drawn"
            if cells and grid and scale:
                drawn = {cell["recipe_sha256"] for cell in cells}
                state = "current" if drawn == _shown(load_grid(grid, scale)) else "older recipe"
            yield _result(scale, sum("run_git_commit" in cell for cell in cells), state, facts)


def _shown(grid: Grid) -> set[str]:
    """Hashes of the recipes that a figure shows."""
    untrained = {grid.recipe(cell).fingerprint() for cell in grid.cells if not cell.repeats}
    return untrained | {training.key for training in grid.trainings()}
