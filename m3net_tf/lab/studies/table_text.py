# SPDX-License-Identifier: Apache-2.0
"""A paper's table as CSV and as Markdown."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from m3net_tf.lab.studies.grid import Cell, Grid
from m3net_tf.lab.studies.report_files import csv_value, kept_lines, recipes_link
from m3net_tf.lab.studies.statistics import FEWEST_PAIRS
from m3net_tf.lab.studies.table_results import NOTED_DATA, CellResult, RunRow
from m3net_tf.system.markdown import markdown_table

_ABOUT = {
    "tiny": "Built-in sounds, few clips, one epoch: it only shows that everything runs.",
    "small": "Small real subsets, short trainings: compare within the table, not with the paper.",
    "paper": "Data, protocol and training as in the paper, as far as it describes them.",
}
_UNTRAINED = "Nothing is trained. Compare networks, not machines."

_NOT_COMPARABLE = " Values of another split or of other data say nothing about ours."
_QUOTED = " Rivals are quoted from the paper, each with the split of its own paper."


def cells_in_words(grid: Grid) -> str:
    """What the cells of a table are, in one line."""
    trained = [cell for cell in grid.cells if cell.trained]
    if not trained:
        return f"in brackets the paper's value. {_UNTRAINED}"
    metrics = " or ".join(sorted({_title(cell.metric) for cell in trained}))
    return f"{metrics}, the mean of our runs; in brackets the paper's value. {_ABOUT[grid.scale]}"


def table_csv(grid: Grid, results: Sequence[CellResult]) -> str:
    """One line per run, and one per cell without runs."""
    axes = list(grid.axes)
    fixed = (
        "metric",
        "paper",
        "paper_differs",
        "seed",
        "fold",
        "value",
        "validation",
        "dataset",
        "protocol",
    )
    more = ("leaking", "parameters", "macs", "best_epoch", "threads", "training_s", "git_commit")
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow([*axes, *fixed, *more, "recipe_sha256", "subset_sha256", "run", "error"])
    for result in results:
        cell = result.cell
        expected = csv_value(cell.expected)
        head = [*(cell.labels[axis] for axis in axes), cell.metric, expected, _difference(cell)]
        if not result.runs:
            value = result.summary["mean"] if result.summary else None
            facts = [csv_value(result.facts.get(key)) for key in ("parameters", "macs")]
            row = ["", "", csv_value(value), "", "", "", "", *facts, *[""] * 7]
            writer.writerow([*head, *row, result.error or ("quoted" if cell.quoted else "")])
        for run in result.runs:
            metrics = run.metrics or {}
            data = metrics.get("dataset", {})
            validation = metrics.get("validation", {})
            writer.writerow(
                [
                    *head,
                    run.repeat.seed,
                    csv_value(run.repeat.fold),
                    csv_value(run.value),
                    csv_value(_percent(validation.get(cell.metric))),
                    *(csv_value(data.get(key)) for key in NOTED_DATA),
                    *(csv_value(metrics.get(key)) for key in more[1:]),
                    run.key,
                    data.get("subset_sha256", ""),
                    run.place,
                    run.error,
                ]
            )
    return buffer.getvalue()


def _percent(share: float | None) -> float | None:
    return None if share is None else 100 * share


def table_markdown(
    grid: Grid, results: Sequence[CellResult], report: Mapping[str, Any], stem: Path
) -> str:
    """The table with the paper's values, its statistical tests, its failures and how it was made.

    Args:
        grid: the table.
        results: its cells, in the grid's order.
        report: content of the JSON.
        stem: the file's path without its ending; links are relative to it.
    """
    trained = any(cell.trained for cell in grid.cells)
    about = _ABOUT.get(grid.scale, "") if trained else _UNTRAINED
    lines = [
        f"# {grid.table}: {grid.title}",
        "",
        f"{grid.paper}. Scale `{grid.scale}`. {about}",
        "",
        ("Mean ± standard deviation over the runs; in" if trained else "In")
        + " brackets the paper's value."
        + (_NOT_COMPARABLE if any(_difference(cell) for cell in grid.cells) else "")
        + (_QUOTED if any(cell.quoted for cell in grid.cells) else ""),
        "",
        *_reader_table(grid, results),
        "## Cells",
        "",
        *_cell_table(grid, results),
    ]
    if grid.reference:
        labels = ", ".join(f"{axis}: {label}" for axis, label in grid.reference.items())
        lines += [
            f"Compared with {labels}, paired by seed and fold: mean difference with its 95 % "
            "interval by Student's t, and p by Wilcoxon's signed-rank test (two-sided, exact). "
            f"With fewer than {FEWEST_PAIRS} pairs p cannot fall below 0.05; the smallest possible "
            "value is then given in brackets.",
            "",
        ]
    if trained:
        lines += [
            "95 %: confidence interval, by Student's t over the runs, or by Wilson over the clips "
            "of a single run.",
            "",
        ]
    lines += [
        *_failures(grid, results),
        "## How",
        "",
        *_provenance_lines(report, recipes_link(grid.path, stem)),
    ]
    return "\n".join(lines) + "\n"


def _reader_table(grid: Grid, results: Sequence[CellResult]) -> list[str]:
    """Rows and columns as the paper prints them: the last of several axes goes across."""
    if len(grid.axes) == 1:
        head = [*grid.axes, _title(results[0].cell.metric)]
        return markdown_table(
            head, [[*result.cell.labels.values(), _shown(result)] for result in results]
        )
    *down, across = grid.axes
    columns = grid.axes[across]
    by_labels = {tuple(result.cell.labels.values()): result for result in results}
    rows = [
        [*row, *(_shown(by_labels.get((*row, column))) for column in columns)]
        for row in dict.fromkeys(labels[:-1] for labels in by_labels)
    ]
    return markdown_table([*down, *columns], rows)


def _shown(result: CellResult | None) -> str:
    if result is None:
        return ""
    cell, summary = result.cell, result.summary
    paper = _paper(cell)
    if cell.quoted:
        return f"({paper})" if paper else ""
    if summary is None:
        return "failed" + (f" ({paper})" if paper else "")
    ours = _number(summary["mean"], cell.metric)
    if summary["std"] is not None:
        ours += f" ± {_number(summary['std'], cell.metric)}"
    failed = sum(1 for run in result.runs if run.value is None)
    if failed:
        ours += f", {failed} of {len(result.runs)} runs failed"
    leaks = " †" if cell.scored and result.facts.get("leaking") else ""
    return ours + leaks + _kept_mark(result) + (f" ({paper})" if paper else "")


def _kept_mark(result: CellResult) -> str:
    """Mark of a cell with a kept result of a run that has failed now."""
    return " ‡" if any(run.kept and run.error for run in result.runs) else ""


def _paper(cell: Cell) -> str:
    """The paper's value; marked where it cannot be compared with ours."""
    if cell.expected is None:
        return ""
    other = f"{difference}: " if (difference := _difference(cell)) else ""
    spread = "" if cell.expected_std is None else f" ± {cell.expected_std:g}"
    whole = cell.expected == round(cell.expected) and cell.expected >= 1000
    return other + (f"{cell.expected:,.0f}" if whole else f"{cell.expected:g}") + spread


def _difference(cell: Cell) -> str:
    """Why the paper's value says nothing about ours; '' if it does or there is none."""
    if cell.expected is None:
        return ""
    if cell.other_data:
        return "other data"
    return "other split" if cell.other_split else ""


def _number(value: float, metric: str) -> str:
    if "." not in metric:  # percent
        return f"{value:.2f}"
    return f"{round(value):,}" if metric.endswith(("parameters", "macs")) else f"{value:.4g}"


def _title(metric: str) -> str:
    name = metric.split(".")[-1].replace("_", " ")
    return f"{name} (%)" if "." not in metric else name


def _cell_table(grid: Grid, results: Sequence[CellResult]) -> list[str]:
    head = [*grid.axes, "metric", "paper", "ours", "95 %", "runs"]
    if grid.reference:
        head += ["difference", "p"]
    head += ["data and protocol", "parameters", "MACs"]
    rows = [_cell_row(grid, result) for result in results if not result.cell.quoted]
    lines = markdown_table(head, rows)
    if any(result.facts.get("leaking") for result in results):
        lines += [
            "† This split leaks: training and test clips share recordings or speakers.",
            "",
        ]
    if any(map(_kept_mark, results)):
        lines += ["‡ Some runs failed; their results are those of an earlier call.", ""]
    return lines


def _cell_row(grid: Grid, result: CellResult) -> list[str]:
    cell, summary, facts = result.cell, result.summary, result.facts
    row = [*cell.labels.values(), _title(cell.metric), _paper(cell)]
    if summary is None:
        row += ["failed", "", f"0 of {len(result.runs)}"]
    else:
        spread = summary["std"]
        row.append(
            _number(summary["mean"], cell.metric)
            + ("" if spread is None else f" ± {_number(spread, cell.metric)}")
            + _kept_mark(result)
        )
        ends = [summary["low"], summary["high"]]
        interval = [_number(end, cell.metric) for end in ends if end is not None]
        row += [" to ".join(interval), str(summary["runs"]) if result.runs else ""]
    if grid.reference:
        row += _test(grid, result)
    protocol = " ".join(str(facts[key]) for key in ("name", "protocol") if key in facts)
    row.append(protocol + (" †" if facts.get("leaking") else ""))
    row += [f"{facts[key]:,}" if key in facts else "" for key in ("parameters", "macs")]
    return row


def _test(grid: Grid, result: CellResult) -> list[str]:
    if grid.reference_of(result.cell) is None:
        return ["reference", ""]
    test = result.comparison
    if test is None:
        return ["", ""]
    interval = "" if test.low is None else f" ({test.low:+.2f} to {test.high:+.2f})"
    least = f" (≥ {test.smallest_p:.3g})" if test.pairs < FEWEST_PAIRS else ""
    return [f"{test.difference:+.2f}{interval}", f"{test.p:.3g}{least}"]


def _failures(grid: Grid, results: Sequence[CellResult]) -> list[str]:
    failures = []
    for result in results:
        where = " / ".join(result.cell.labels.values())
        if result.error and not result.runs:
            failures.append(f"- {where}: {result.error}")
        failures += [
            f"- {where}, {run.repeat.name}: {run.error}{_kept_value(run)}"
            for run in result.runs
            if run.error
        ]
    return ["## Failed", "", *failures, ""] if failures else []


def _kept_value(run: RunRow) -> str:
    """The result kept from an earlier call, and its commit."""
    if not run.kept or run.value is None:
        return ""
    commit = (run.metrics or {}).get("git_commit")
    return f" (kept: {run.value:.6g}{f', of commit {commit}' if commit else ''})"


def _threads_lines(report: Mapping[str, Any]) -> list[str]:
    """The threads of an operation in the runs that recorded them."""
    runs = [run for cell in report["cells"] for run in cell["runs"]]
    counts = {run["metrics"]["threads"] for run in runs if "threads" in run.get("metrics", {})}
    return [f"- threads of an operation: {', '.join(map(str, sorted(counts)))}"] if counts else []


def _provenance_lines(report: Mapping[str, Any], recipes: str) -> list[str]:
    machine = report["machine"]
    devices = ", ".join(machine["accelerators"]) or "no accelerator"
    versions = ", ".join(f"{name} {value}" for name, value in report["versions"].items())
    return [
        f"- command: `{report['command']}`",
        f"- {report['runs']} runs, {report['training_s']:.0f} s of training; this call took "
        f"{report['wall_s']:.0f} s (finished runs are used again)",
        *kept_lines(report["kept"]),
        *_threads_lines(report),
        f"- written on {report['date']}, {machine['processor']}, {machine['cores']} cores, "
        f"{devices}",
        f"- recipes come from the grid {recipes}",
        f"- recipes: SHA-256 {report['recipes_sha256']}",
        *(f"- subset `{name}`: SHA-256 {sha256}" for name, sha256 in report["subsets"].items()),
        f"- commit: {report['git_commit'] or 'unknown'}",
        f"- versions: {versions}",
    ]
