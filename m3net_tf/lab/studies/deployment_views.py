# SPDX-License-Identifier: Apache-2.0
"""A grid's networks on a board, as CSV and as Markdown."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from m3net_tf.boards.measure.footprint import SIZE_LIMITS
from m3net_tf.lab.studies.report_files import Page
from m3net_tf.lab.studies.table_views import labelled, recipes_link

COSTS = {
    "instructions": "instructions",
    "frontend_instructions": "front end, per frame",
    "arena_bytes": "arena",
    "stack_bytes": "stack",
    "flash_bytes": "flash",
}
"""Key of a cost on the board -> its column in Markdown."""
_RATIOS = {
    "instructions": "instructions",
    "arena_bytes": "arena",
    "flash_bytes": "flash",
    "model_bytes": "network",
}
_OURS = ("m3net", "spectromasknet", "bilateral", "diffres")  # the papers' networks
_ACCURACIES = ("float_validation", "float", "int8")
_SPLITS = ("validation", "test")
_WHOLE_NUMBERS = ("seed", "fold", "clips", "parameters", "macs", "model_bytes", *COSTS)


def deployment_rows(report: Mapping[str, Any]) -> pd.DataFrame:
    """One line per run; the board's figures are in the line of the run that was on it."""
    rows = [row for cell in report["cells"] for row in cell["runs"]]
    labels = [cell["labels"] for cell in report["cells"] for _ in cell["runs"]]
    methods = [f"{name} {split}" for name in report["methods"] for split in _SPLITS]
    columns = [
        *("model", "preset", "seed", "fold", *_ACCURACIES, "clips", "parameters", "macs"),
        *("model_bytes", *COSTS, "bytes_equal", *methods, "run", "error"),
    ]
    frame = labelled(rows, labels, list(labels[0]), columns)
    numbers = {**dict.fromkeys(_WHOLE_NUMBERS, "Int64"), **dict.fromkeys(methods, "float64")}
    return frame.astype({**numbers, **dict.fromkeys(_ACCURACIES, "float64")})


def deployment_page(report: Mapping[str, Any], grid: Path, stem: Path) -> Page:
    """Costs and accuracies, the reference, methods, failures, provenance.

    Args:
        stem: the file's path without its ending; links are relative to it.
    """
    frame = deployment_rows(report)
    cells = _cells(report, frame)
    clips = " or ".join(map(str, sorted(frame["clips"].dropna().unique())))
    tested = f" Accuracy on {clips} test clips," if clips else " Accuracy"
    runs = [row for cell in report["cells"] for row in cell["runs"]]
    reasons = sorted({str(row["no_board"]) for row in runs if "no_board" in row})
    return [
        f"# {report['title']}, on a board",
        "",
        f"Scale `{report['scale']}`, board `{report['board']}` (emulated).{tested} in percent: "
        "mean ± standard deviation over the seeds. int8 is the exported network, the one on the "
        "board. The board's figures come from the first seed: instructions of one run of the "
        "network and of the front end for one frame, the arena proven on the board including what "
        "planning needs, and the stack of a run from sound to label.",
        "",
        _table(cells, [_figures(cell) for cell in cells]),
        *(line for reason in reasons for line in (f"No board: {reason}.", "")),
        *_compared(cells, report["reference"]),
        *_methods(cells, report["methods"]),
        *_failures(report),
        "## How",
        "",
        f"- command: `{report['command']}`",
        f"- recipes come from the grid {recipes_link(grid, stem)}",
        f"- written on {report['machine']['processor']}, {report['machine']['cores']} cores",
        f"- commit: {report['git_commit'] or 'unknown'}",
        f"- versions: {', '.join(f'{name} {v}' for name, v in report['versions'].items())}",
    ]


@dataclasses.dataclass(frozen=True)
class _Cell:
    """A cell of the table."""

    labels: dict[str, str]
    runs: pd.DataFrame

    def first(self, column: str) -> Any:
        """The first value of a column; None if no run has one."""
        values = self.runs[column].dropna()
        return None if values.empty else values.iloc[0]

    def count(self, column: str) -> str:
        """The first value of a column as text."""
        value = self.first(column)
        return "" if value is None else f"{value:,}"

    def spread(self, column: str, missing: str = "") -> str:
        """Mean and standard deviation over the runs as text, or ``missing``."""
        values = self.runs[column].dropna()
        if values.empty:
            return missing
        deviation = f" ± {values.std():.2f}" if len(values) > 1 else ""
        return f"{values.mean():.2f}{deviation}"


def _cells(report: Mapping[str, Any], runs: pd.DataFrame) -> list[_Cell]:
    runs = runs.assign(lost=runs["float"] - runs["int8"])
    places = iter(range(len(runs)))
    return [
        _Cell(cell["labels"], runs.iloc[[next(places) for _ in cell["runs"]]])
        for cell in report["cells"]
    ]


def _table(cells: Sequence[_Cell], rows: Sequence[Mapping[str, str]]) -> pd.DataFrame:
    return labelled(rows, [cell.labels for cell in cells], list(cells[0].labels) if cells else [])


def _figures(cell: _Cell) -> dict[str, str]:
    return {
        "float": cell.spread("float", "failed"),
        "int8": cell.spread("int8"),
        "lost": cell.spread("lost"),
        **{title: cell.count(key) for key, title in COSTS.items()},
        "network": cell.count("model_bytes"),
        "same bytes": {True: "yes", False: "NO"}.get(cell.first("bytes_equal"), ""),
        "size limit": _size_limit(cell),
    }


def _size_limit(cell: _Cell) -> str:
    """Whether a preset of the papers' networks keeps its limits; '' for others."""
    limit = SIZE_LIMITS.get(cell.first("preset")) if cell.first("model") in _OURS else None
    arena_bytes, model_bytes = cell.first("arena_bytes"), cell.first("model_bytes")
    if limit is None or model_bytes is None:
        return ""
    result = "not measured"
    if arena_bytes is not None:
        result = "holds" if limit.holds(arena_bytes, model_bytes) else "EXCEEDED"
    return f"{result} ({limit.arena_bytes:,} + {limit.model_bytes:,})"


def _compared(cells: Sequence[_Cell], reference: Mapping[str, str]) -> Page:
    """Accuracy and costs compared with the reference."""
    if not reference:
        return []
    compared, rows = [], []
    for cell in cells:
        labels = {**cell.labels, **reference}
        other = next((other for other in cells if other.labels == labels), cell)
        ratios = {title: _ratio(cell, other, key) for key, title in _RATIOS.items()}
        if other is not cell and all(ratios.values()):
            points = cell.runs["int8"].mean() - other.runs["int8"].mean()
            compared.append(cell)
            rows.append({"int8, points": f"{points:+.2f}", **ratios})
    return [f"## Compared with {' / '.join(reference.values())}", "", _table(compared, rows)]


def _ratio(cell: _Cell, other: _Cell, column: str) -> str:
    ours = cell.first(column)
    theirs = other.first(column)
    return "" if ours is None or theirs is None else f"{ours / theirs:.2f} x"


def _methods(cells: Sequence[_Cell], methods: Sequence[str]) -> Page:
    if not methods:
        return []
    rows = []
    for cell in cells:
        means = cell.runs.mean(numeric_only=True)
        usable = [name for name in methods if pd.notna(means[f"{name} validation"])]
        chosen = max(usable, key=lambda name: means[f"{name} validation"], default="none")
        columns = [f"{name} {split}" for name in methods for split in _SPLITS]
        rows.append(
            {
                "float, validation": cell.spread("float_validation"),
                "float, test": cell.spread("float"),
                **{column: cell.spread(column, "failed") for column in columns},
                "chosen": chosen,
                "lost, test": f"{means['float'] - means[f'{chosen} test']:.2f}" if usable else "",
            }
        )
    lines = ["## Methods of quantisation", "", "The method is chosen on validation.", ""]
    return [*lines, _table(cells, rows)]


def _failures(report: Mapping[str, Any]) -> list[str]:
    failures = []
    for cell in report["cells"]:
        for row in cell["runs"]:
            where = f"- {' / '.join(cell['labels'].values())}, seed {row['seed']}"
            reasons = {"": row.get("error")}
            reasons |= {f", {name}": row.get(f"{name} error") for name in report["methods"]}
            failures += [f"{where}{name}: {why}" for name, why in reasons.items() if why]
    return ["## Failed", "", *failures, ""] if failures else []
