# SPDX-License-Identifier: Apache-2.0
"""Writing the files of a report together; failures never replace results."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from m3net_tf.system.artifacts import read_json, write_text

Cell = TypeVar("Cell", bound=Mapping[str, Any])
INCOMPLETE = ".incomplete"


def stem_to_write(stem: Path, cells: Sequence[Cell], finished: Callable[[Cell], int]) -> Path:
    """Path of a report's files: ``*.incomplete`` if the written report has results that failed now.

    Args:
        stem: the files' path without their endings.
        cells: cells of the report.
        finished: returns the number of finished runs of a cell.
    """
    path = Path(f"{stem}.json")
    if not path.exists():
        return stem
    before = {_place(cell): finished(cell) for cell in read_json(path)["cells"]}
    lost = (_failed(cell) and finished(cell) < before.get(_place(cell), 0) for cell in cells)
    return Path(f"{stem}{INCOMPLETE}") if any(lost) else stem


def _place(cell: Mapping[str, Any]) -> frozenset[tuple[str, str]]:
    """Labels and metric, without order: the keys of the file are sorted."""
    return frozenset({**cell["labels"], "": cell.get("metric", "")}.items())


def _failed(cell: Mapping[str, Any]) -> bool:
    return "error" in cell or any("error" in run for run in cell["runs"])


def write_report(stem: Path, report: Mapping[str, Any], csv: str, markdown: str) -> Path:
    """Write ``.json``, ``.csv`` and ``.md``; none replaces an older file before all are complete.

    Returns:
        Path of the Markdown file.
    """
    text = json.dumps(report, indent=2, sort_keys=True, allow_nan=False) + "\n"
    waiting = {}
    try:
        for ending, content in (("json", text), ("csv", csv), ("md", markdown)):
            path = Path(f"{stem}.{ending}")
            waiting[path] = path.with_name(f".{path.name}.new")
            write_text(waiting[path], content)
        for path, new in waiting.items():
            new.replace(path)
            if not stem.name.endswith(INCOMPLETE):  # the incomplete report is superseded
                Path(f"{stem}{INCOMPLETE}{path.suffix}").unlink(missing_ok=True)
    finally:
        for new in waiting.values():
            new.unlink(missing_ok=True)
    return Path(f"{stem}.md")


def recipes_link(grid: Path, stem: Path) -> str:
    """Markdown link from a report to the grid of its recipes."""
    target = Path(os.path.relpath(grid.resolve(), stem.parent.resolve())).as_posix()
    return f"[{grid.parent.name}/{grid.name}]({target})"


def kept_lines(count: int) -> list[str]:
    """Line of a report's provenance that counts the runs kept from an earlier call, if any."""
    return [f"- {count} of the runs: results kept from an earlier call"] if count else []
