# SPDX-License-Identifier: Apache-2.0
"""A grid's networks on a board, as CSV and as Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from m3net_tf.lab.studies.deployment_record import (
    DeployedCell,
    DeploymentReport,
    RunRow,
    SizeLimitFigures,
)
from m3net_tf.lab.studies.deployment_summary import board_figures, is_ours, labels_text
from m3net_tf.lab.studies.report_files import (
    csv_text,
    kept_lines,
    labelled,
    markdown_lines,
    recipes_link,
)
from m3net_tf.training.metrics import Spread

_RUN = (
    *("seed", "fold", "float_validation", "float", "int8", "clips", "parameters", "macs"),
    "model_bytes",
)
_COSTS = {
    "instructions": "instructions",
    "frontend_instructions": "front end, per frame",
    "arena_bytes": "arena",
    "stack_bytes": "stack",
    "flash_bytes": "flash",
}
"""Key of a cost -> its column in Markdown."""
_SPLITS = ("validation", "test")
_WHOLE_NUMBERS = ("seed", "fold", "clips", "parameters", "macs", "model_bytes", *_COSTS)


def deployment_csv(report: DeploymentReport) -> str:
    """One line per run; the board's figures are in the line of the run that was on it."""
    methods = [f"{method} {split}" for method in report["methods"] for split in _SPLITS]
    columns = ["model", "preset", *_RUN, *_COSTS, "bytes_equal", *methods, "run", "error"]
    rows, labels = [], []
    for cell in report["cells"]:
        on_board = next((run for run in cell["runs"] if "error" not in run), None)
        rows += [_csv_run(cell, run, run is on_board) for run in cell["runs"]]
        labels += [cell["labels"]] * len(cell["runs"])
    frame = labelled(rows, labels, list(labels[0]), columns)
    return csv_text(frame.astype(dict.fromkeys(_WHOLE_NUMBERS, "Int64")))


def _csv_run(cell: DeployedCell, run: RunRow, on_board: bool) -> dict[str, object]:
    row: dict[str, object] = {**cell["model"], **run}
    row["model"] = cell["model"]["name"]
    if on_board:
        costs: dict[str, object] = {**(board_figures(cell) or {})}
        row |= {key: costs.get(key) for key in (*_COSTS, "bytes_equal")}
    for method, figures in run.get("methods", {}).items():
        if "error" not in figures:
            row[f"{method} validation"] = 100 * figures["validation_accuracy"]
            row[f"{method} test"] = 100 * figures["accuracy"]
    return row


def deployment_markdown(report: DeploymentReport, grid: Path, stem: Path) -> str:
    """Costs and accuracies, the reference and the rivals, methods, failures, provenance.

    Args:
        stem: the file's path without its ending; links are relative to it.
    """
    cells = report["cells"]
    clips = sorted({run["clips"] for cell in cells for run in cell["runs"] if "clips" in run})
    tested = f" Accuracy on {' or '.join(map(str, clips))} test clips," if clips else " Accuracy"
    lines = [
        f"# {report['title']}, on a board",
        "",
        f"Scale `{report['scale']}`, board `{report['board']}` (emulated).{tested} in percent: "
        "mean ± standard deviation over the seeds. int8 is the exported network, the one on the "
        "board. The board's figures come from the first seed: instructions of one run of the "
        "network and of the front end for one frame, the arena proven on the board including what "
        "planning needs, and the stack of a run from sound to label.",
        "",
        *markdown_lines(_figures(cells)),
        *_missing(cells),
        *_compared(report),
        *_methods(report),
        *_failures(cells),
        "## How",
        "",
        f"- command: `{report['command']}`",
        *kept_lines(report["kept"]),
        f"- recipes come from the grid {recipes_link(grid, stem)}",
        f"- written on {report['machine']['processor']}, {report['machine']['cores']} cores",
        f"- commit: {report['git_commit'] or 'unknown'}",
        f"- versions: {', '.join(f'{name} {v}' for name, v in report['versions'].items())}",
    ]
    return "\n".join(lines) + "\n"


def _frame(cells: Sequence[DeployedCell], rows: Sequence[dict[str, str]]) -> pd.DataFrame:
    return labelled(rows, [cell["labels"] for cell in cells], list(cells[0]["labels"]))


def _figures(cells: Sequence[DeployedCell]) -> pd.DataFrame:
    rows = []
    for cell in cells:
        summary, board = cell["summary"], board_figures(cell)
        costs: dict[str, object] = {**(board or {})}
        same = {True: "yes", False: "NO"}.get(board["bytes_equal"], "") if board else ""
        rows.append(
            {
                "float": _spread(summary["float"]) if summary else "failed",
                "int8": _spread(summary["int8"]) if summary else "",
                "lost": _spread(summary["lost_points"]) if summary else "",
                **{title: _count(costs.get(key)) for key, title in _COSTS.items()},
                "network": _count(summary["model_bytes"]) if summary else "",
                "same bytes": same,
                "size limit": _size_limit(cell["size_limit"]),
            }
        )
    return _frame(cells, rows)


def _spread(figure: Spread, factor: float = 1.0) -> str:
    deviation = "" if figure["std"] is None else f" ± {factor * figure['std']:.2f}"
    return f"{factor * figure['mean']:.2f}{deviation}"


def _count(value: object) -> str:
    return "" if value is None else f"{value:,}"


def _size_limit(limit: SizeLimitFigures | None) -> str:
    if limit is None:
        return ""
    result = {True: "holds", False: "EXCEEDED", None: "not measured"}[limit["holds"]]
    return f"{result} ({limit['arena_bytes']:,} + {limit['model_bytes']:,})"


def _missing(cells: Sequence[DeployedCell]) -> list[str]:
    boards = [cell["board"] for cell in cells]
    reasons = {board["missing"] for board in boards if board and "missing" in board}
    return [line for reason in sorted(reasons) for line in (f"No board: {reason}.", "")]


def _compared(report: DeploymentReport) -> list[str]:
    """Costs as ratios to the costs of the reference, and the rivals that dominate our networks."""
    if not report["reference"]:
        return []
    lines = [f"## Compared with {' / '.join(report['reference'].values())}", ""]
    labels, rows = [], []
    for cell in report["cells"]:
        if against := cell["against_reference"]:
            labels.append(cell["labels"])
            rows.append(
                {
                    "int8, points": f"{against['int8_points']:+.2f}",
                    "instructions": f"{against['instructions']:.2f} x",
                    "arena": f"{against['arena_bytes']:.2f} x",
                    "flash": f"{against['flash_bytes']:.2f} x",
                    "network": f"{against['model_bytes']:.2f} x",
                }
            )
    if rows:
        lines += markdown_lines(labelled(rows, labels, list(report["reference"])))
    for cell in filter(is_ours, report["cells"]):
        if cell["summary"] and board_figures(cell):
            better = ", ".join(cell["dominated_by"])
            rivals = f"{better} is" if better else "no rival is"
            lines.append(
                f"{labels_text(cell)}: {rivals} at least as accurate in int8 with no more "
                "instructions."
            )
    return [*lines, ""]


def _methods(report: DeploymentReport) -> list[str]:
    if not report["methods"]:
        return []
    cells, rows = [], []
    for cell in report["cells"]:
        if not (summary := cell["summary"]):
            continue
        row = {
            "float, validation": _spread(summary["float_validation"]),
            "float, test": _spread(summary["float"]),
        }
        for method in report["methods"]:
            figures = summary["methods"].get(method)
            for split, key in zip(_SPLITS, ("validation_accuracy", "accuracy"), strict=True):
                row[f"{method}, {split}"] = _spread(figures[key], 100) if figures else "failed"
        lost = cell["chosen_lost_points"]
        row["chosen"] = cell["chosen_method"] or "none"
        row["lost by it, test"] = "" if lost is None else f"{lost:.2f}"
        cells.append(cell)
        rows.append(row)
    losses = [
        f"- {name}: {loss['points']:.2f} (cells: {loss['cells']}, answers: {loss['answers']:,})"
        for name, loss in report["chosen_lost_points"].items()
    ]
    return [
        "## Methods of quantisation",
        "",
        *(markdown_lines(_frame(cells, rows)) if rows else ["None.", ""]),
        "The method is chosen on validation. Points lost on test, over all cells of a network:",
        "",
        *losses,
        "",
    ]


def _failures(cells: Sequence[DeployedCell]) -> list[str]:
    failures = []
    for cell in cells:
        for run in cell["runs"]:
            where = f"- {labels_text(cell)}, seed {run['seed']}"
            if "error" in run:
                failures.append(f"{where}: {run['error']}")
            for method, figures in run.get("methods", {}).items():
                if error := figures.get("error"):
                    failures.append(f"{where}, {method}: {error}")
    return ["## Failed", "", *failures, ""] if failures else []
