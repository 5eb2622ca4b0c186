# SPDX-License-Identifier: Apache-2.0
"""The files of a report: data frames as CSV and Markdown, and JSON, written together.

The index of a frame has the labels of a cell, a level per axis.
"""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from m3net_tf.system.artifacts import read_json, write_text
from m3net_tf.system.markdown import markdown_table
from m3net_tf.system.progress import Log

INCOMPLETE = ".incomplete"

JsonCell = Mapping[str, Any]
"""A cell of a report: ``labels`` and ``runs``, and where nothing is trained ``ours``."""


def labelled(
    rows: Sequence[Mapping[str, object]],
    labels: Sequence[Mapping[str, str]],
    axes: list[str],
    columns: list[str] | None = None,
) -> pd.DataFrame:
    """A frame of rows whose index has the labels of their cells.

    Args:
        labels: the labels of each row, by axis.
    """
    values = [[own[axis] for own in labels] for axis in axes]
    index = pd.MultiIndex.from_arrays(values, names=axes) if axes else None
    return pd.DataFrame(rows, index, columns)


def csv_text(frame: pd.DataFrame) -> str:
    """A frame as CSV: numbers in six digits, nothing for missing values."""
    return frame.to_csv(float_format="%.6g", lineterminator="\n")


def markdown_lines(frame: pd.DataFrame) -> list[str]:
    """Lines of a frame as a Markdown table, with its index."""
    plain = frame.reset_index(allow_duplicates=True)
    return markdown_table(list(plain.columns), plain.to_numpy().tolist())


def write_report(stem: Path, report: Mapping[str, Any], csv: str, markdown: str, log: Log) -> None:
    """Write ``.json``, ``.csv`` and ``.md``; none replaces an older file before all are complete.

    If the written report has results of runs that have failed or are missing now, it stays, and
    the new one goes to ``*.incomplete.*``.

    Args:
        stem: the files' path without their endings.
    """
    place = stem
    if _loses(Path(f"{stem}.json"), report["cells"]):
        place = Path(f"{stem}{INCOMPLETE}")
        log(f"{stem}.md stays as it is: it has results of runs that lack one now")
    text = json.dumps(report, indent=2, sort_keys=True, allow_nan=False) + "\n"
    waiting = {}
    try:
        for ending, content in (("json", text), ("csv", csv), ("md", markdown)):
            path = Path(f"{place}.{ending}")
            waiting[path] = path.with_name(f".{path.name}.new")
            write_text(waiting[path], content)
        for path, new in waiting.items():
            new.replace(path)
            if place == stem:  # the incomplete report is superseded
                Path(f"{stem}{INCOMPLETE}{path.suffix}").unlink(missing_ok=True)
    finally:
        for new in waiting.values():
            new.unlink(missing_ok=True)
    log(f"{place}.md")


def _loses(path: Path, cells: Sequence[JsonCell]) -> bool:
    """Whether a written report has results of runs that have failed or are missing now."""
    if not path.exists():
        return False
    before = {_place(cell): _finished(cell) for cell in read_json(path)["cells"]}
    return any(
        _incomplete(cell) and _finished(cell) < before.get(_place(cell), 0) for cell in cells
    )


def _place(cell: JsonCell) -> frozenset[tuple[str, str]]:
    """Labels and metric, without order: the keys of the file are sorted."""
    return frozenset({**cell["labels"], "": cell.get("metric", "")}.items())


def _incomplete(cell: JsonCell) -> bool:
    lacking = "error" in cell or "missing" in cell
    return lacking or any("error" in run for run in cell["runs"])


def _finished(cell: JsonCell) -> int:
    """Number of runs with results; 1 for the result of a cell without runs."""
    if not cell["runs"]:
        return int(cell.get("ours") is not None)
    return sum(
        run["value"] is not None if "value" in run else "error" not in run for run in cell["runs"]
    )


def recipes_link(grid: Path, stem: Path) -> str:
    """Markdown link from a report to the grid of its recipes."""
    target = Path(os.path.relpath(grid.resolve(), stem.parent.resolve())).as_posix()
    return f"[{grid.parent.name}/{grid.name}]({target})"
