# SPDX-License-Identifier: Apache-2.0
"""The files of a report: JSON, CSV and Markdown, written together."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from m3net_tf.lab.studies.table_record import WrittenReport
from m3net_tf.system.artifacts import read_json, write_text
from m3net_tf.system.markdown import markdown_table
from m3net_tf.system.progress import Log

INCOMPLETE = ".incomplete"

Page = Sequence[str | pd.DataFrame]
"""Lines of Markdown and tables. The index of a table has the labels of cells, a level per axis."""
JsonCell = Mapping[str, Any]
"""A cell of a report: ``labels`` and ``runs``, and where nothing is trained ``ours``."""


def write_report(
    stem: Path, report: Mapping[str, Any], rows: pd.DataFrame, page: Page, log: Log
) -> None:
    """Write ``.json``, ``.csv`` and ``.md``; none replaces an older file before all are complete.

    If the written report has results of runs that have failed or are missing now, it stays, and
    the new one goes to ``*.incomplete.*``.

    Args:
        stem: the files' path without their endings.
        rows: lines of the CSV.
    """
    place = stem
    if _loses(Path(f"{stem}.json"), report["cells"]):
        place = Path(f"{stem}{INCOMPLETE}")
        log(f"{stem}.md stays as it is: it has results of runs that lack one now")
    contents = {
        "json": json.dumps(report, indent=2, sort_keys=True, allow_nan=False) + "\n",
        "csv": rows.to_csv(float_format="%.6g", lineterminator="\n"),
        "md": markdown(page),
    }
    waiting = {}
    try:
        for ending, content in contents.items():
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


def markdown(page: Page) -> str:
    """A page as the text of its file."""
    lines: list[str] = []
    for part in page:
        if isinstance(part, str):
            lines.append(part)
        else:
            plain = part.reset_index(allow_duplicates=True)
            lines += markdown_table(list(plain.columns), plain.to_numpy().tolist())
    return "\n".join(lines) + "\n"


def _loses(path: Path, cells: Sequence[JsonCell]) -> bool:
    """Whether a written report has results of runs that have failed or are missing now."""
    if not path.exists():
        return False
    before = {
        _place(cell): _finished(cell) for cell in read_json(path, WrittenReport).get("cells", ())
    }
    return any(
        _incomplete(cell) and _finished(cell) < before.get(_place(cell), 0) for cell in cells
    )


def _place(cell: JsonCell) -> frozenset[tuple[str, str]]:
    """Labels and metric, without order: the keys of the file are sorted."""
    return frozenset({**cell.get("labels", {}), "": cell.get("metric", "")}.items())


def _incomplete(cell: JsonCell) -> bool:
    lacking = "error" in cell or "missing" in cell
    return lacking or any("error" in run for run in cell["runs"])


def _finished(cell: JsonCell) -> int:
    """Number of runs with results; 1 for the result of a cell without runs."""
    if not cell.get("runs"):
        return int(cell.get("ours") is not None)
    return sum(
        run["value"] is not None if "value" in run else "error" not in run for run in cell["runs"]
    )
