# SPDX-License-Identifier: Apache-2.0
"""A grid's networks on a board, as CSV and as Markdown."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from m3net_tf.lab.studies.deployment_summary import MEANS, is_measured, is_ours, labels_text
from m3net_tf.lab.studies.grid import Grid
from m3net_tf.lab.studies.report_files import csv_value, kept_lines, recipes_link
from m3net_tf.system.markdown import markdown_table

_COSTS = ("instructions", "frontend_instructions", "arena_bytes", "stack_bytes", "flash_bytes")


def deployment_csv(report: Mapping[str, Any]) -> str:
    """One line per run; the board's figures are in the line of the run that was on it."""
    cells = report["cells"]
    axes = list(cells[0]["labels"]) if cells else []
    of_run = (
        "seed",
        "fold",
        "float_validation",
        "float",
        "int8",
        "clips",
        "parameters",
        "macs",
        "model_bytes",
    )
    of_board = (*_COSTS, "bytes_equal")
    of_methods = [
        f"{method} {split}" for method in report["methods"] for split in ("validation", "test")
    ]
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow([*axes, "model", "preset", *of_run, *of_board, *of_methods, "run", "error"])
    for cell in cells:
        finished = [run for run in cell["runs"] if "error" not in run]
        for run in cell["runs"]:
            board = (cell["board"] or {}) if finished and run is finished[0] else {}
            accuracies = run.get("methods", {})
            percents = [
                100 * accuracies[method][key] if key in accuracies.get(method, {}) else ""
                for method in report["methods"]
                for key in ("validation_accuracy", "accuracy")
            ]
            row = [*cell["labels"].values(), *cell["model"].values()]
            row += [csv_value(run.get(key)) for key in of_run]
            row += [csv_value(board.get(key)) for key in of_board]
            writer.writerow([*row, *map(csv_value, percents), run["run"], run.get("error", "")])
    return buffer.getvalue()


def deployment_markdown(grid: Grid, report: Mapping[str, Any], stem: Path) -> str:
    """Costs and accuracies, the reference and the rivals, methods, failures, provenance.

    Args:
        grid: the grid.
        report: content of the JSON.
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
        "board. The board's figures are those of the first seed: instructions of one run of the "
        "network and of the front end for one frame, the arena proven on the board including what "
        "planning needs, and the stack of a run from sound to label.",
        "",
        *_figures_table(cells),
        *_missing(cells),
        *_reference_table(report),
        *_methods_table(report),
        *_failures(cells),
        "## How",
        "",
        f"- command: `{report['command']}`",
        *kept_lines(report["kept"]),
        f"- recipes come from the grid {recipes_link(grid.path, stem)}",
        f"- written on {report['machine']['processor']}, {report['machine']['cores']} cores",
        f"- commit: {report['git_commit'] or 'unknown'}",
        f"- versions: {', '.join(f'{name} {v}' for name, v in report['versions'].items())}",
    ]
    return "\n".join(lines) + "\n"


def _figures_table(cells: Sequence[Mapping[str, Any]]) -> list[str]:
    axes = list(cells[0]["labels"]) if cells else []
    head = [
        *axes,
        "float",
        "int8",
        "lost",
        "instructions",
        "front end, per frame",
        "arena",
        "stack",
    ]
    head += ["flash", "network", "same bytes", "size limit"]
    rows = []
    for cell in cells:
        summary, board = cell["summary"], cell["board"] or {}
        row = [*cell["labels"].values()]
        row += [_spread(summary[key]) for key in MEANS] if summary else ["failed", "", ""]
        row += [_count(board.get(key)) for key in _COSTS]
        row.append(_count(summary["model_bytes"]) if summary else "")
        row.append({True: "yes", False: "NO", None: ""}[board.get("bytes_equal")])
        rows.append([*row, _size_limit(cell["size_limit"])])
    return markdown_table(head, rows)


def _spread(figure: Mapping[str, Any]) -> str:
    spread = "" if figure["std"] is None else f" ± {figure['std']:.2f}"
    return f"{figure['mean']:.2f}{spread}"


def _count(value: int | None) -> str:
    return "" if value is None else f"{value:,}"


def _size_limit(limit: Mapping[str, Any] | None) -> str:
    if limit is None:
        return ""
    result = {True: "holds", False: "EXCEEDED", None: "not measured"}[limit["holds"]]
    return f"{result} ({limit['arena_bytes']:,} + {limit['model_bytes']:,})"


def _missing(cells: Sequence[Mapping[str, Any]]) -> list[str]:
    reasons = {cell["board"]["missing"] for cell in cells if "missing" in (cell["board"] or {})}
    return [line for reason in sorted(reasons) for line in (f"No board: {reason}.", "")]


def _reference_table(report: Mapping[str, Any]) -> list[str]:
    """Costs as ratios to the reference's, and the rivals that dominate our networks."""
    if not report["reference"]:
        return []
    cells = [cell for cell in report["cells"] if cell["against_reference"]]
    reference = " / ".join(report["reference"].values())
    axes = list(report["reference"])
    lines = [f"## Compared with {reference}", ""]
    if cells:
        head = [*axes, "int8, points", "instructions", "arena", "flash", "network"]
        rows = []
        for cell in cells:
            against = cell["against_reference"]
            keys = ("instructions", "arena_bytes", "flash_bytes", "model_bytes")
            ratios = [f"{against[key]:.2f} x" for key in keys]
            names = [cell["labels"][axis] for axis in axes]
            rows.append([*names, f"{against['int8_points']:+.2f}", *ratios])
        lines += markdown_table(head, rows)
    for cell in filter(is_ours, report["cells"]):
        if is_measured(cell):
            better = ", ".join(cell["dominated_by"])
            rivals = f"{better} is" if better else "no rival is"
            lines.append(
                f"{labels_text(cell)}: {rivals} at least as accurate in int8 with no more "
                "instructions."
            )
    return [*lines, ""]


def _methods_table(report: Mapping[str, Any]) -> list[str]:
    if not report["methods"]:
        return []
    axes = list(report["cells"][0]["labels"]) if report["cells"] else []
    shown = ("float", *report["methods"])
    splits = [f"{column}, {split}" for column in shown for split in ("validation", "test")]
    head = [*axes, *splits, "chosen", "lost by it, test"]
    rows = []
    for cell in report["cells"]:
        if not cell["summary"]:
            continue
        summary = cell["summary"]
        row = [*cell["labels"].values()]
        row += [_spread(summary[key]) for key in ("float_validation", "float")]
        for method in report["methods"]:
            accuracies = summary["methods"].get(method)
            keys = ("validation_accuracy", "accuracy")
            row += [_percent(accuracies[key]) if accuracies else "failed" for key in keys]
        lost = cell["chosen_lost_points"]
        row += [cell["chosen_method"] or "none", "" if lost is None else f"{lost:.2f}"]
        rows.append(row)
    losses = [
        f"- {name}: {loss['points']:.2f} (cells: {loss['cells']}, answers: {loss['answers']:,})"
        for name, loss in report["chosen_lost_points"].items()
    ]
    return [
        "## Methods of quantisation",
        "",
        *markdown_table(head, rows),
        "The method is chosen on validation. Points lost on test, over all cells of a network:",
        "",
        *losses,
        "",
    ]


def _percent(figure: Mapping[str, Any]) -> str:
    spread = None if figure["std"] is None else 100 * figure["std"]
    return _spread({"mean": 100 * figure["mean"], "std": spread})


def _failures(cells: Sequence[Mapping[str, Any]]) -> list[str]:
    failures = []
    for cell in cells:
        for run in cell["runs"]:
            where = f"- {labels_text(cell)}, seed {run['seed']}"
            if "error" in run:
                failures.append(f"{where}: {run['error']}")
            for method, accuracies in run.get("methods", {}).items():
                if "error" in accuracies:
                    failures.append(f"{where}, {method}: {accuracies['error']}")
    return ["## Failed", "", *failures, ""] if failures else []
