# SPDX-License-Identifier: Apache-2.0
"""A paper's table as CSV and as Markdown."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from m3net_tf.studies.grid import Cell, Grid
from m3net_tf.studies.statistics import FEWEST_PAIRS
from m3net_tf.studies.written import recipes_link

if TYPE_CHECKING:
    from m3net_tf.studies.tables import CellResult, RunRow

NOTED_DATA = ("name", "protocol", "leaking")
_ABOUT = {
    "tiny": "Built-in sounds, few clips, one epoch: it shows that everything runs, and no more.",
    "small": "Small real subsets, short trainings: compare within the table, not with the paper.",
    "paper": "Data, protocol and training as in the paper, as far as it tells.",
}


def table_csv(grid: Grid, results: Sequence[CellResult]) -> str:
    """One line a run; cells without runs have one line, too."""
    axes = list(grid.axes)
    fixed = ("metric", "paper", "seed", "fold", "value", "validation", "dataset", "protocol")
    more = ("leaking", "parameters", "macs", "best_epoch", "training_s", "git_commit")
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow([*axes, *fixed, *more, "recipe_sha256", "run", "error"])
    for result in results:
        cell = result.cell
        head = [*(cell.labels[axis] for axis in axes), cell.metric, _blank(cell.expected)]
        if not result.runs:
            value = result.summary["mean"] if result.summary else None
            facts = [_blank(result.facts.get(key)) for key in ("parameters", "macs")]
            row = ["", "", _blank(value), "", "", "", "", *facts, "", "", "", "", ""]
            writer.writerow([*head, *row, result.error or ("quoted" if cell.quoted else "")])
        for run in result.runs:
            metrics = run.metrics or {}
            data = metrics.get("dataset", {})
            validation = metrics.get("validation", {})
            writer.writerow(
                [
                    *head,
                    run.repeat.seed,
                    _blank(run.repeat.fold),
                    _blank(run.value),
                    _blank(_percent(validation.get(cell.metric))),
                    *(_blank(data.get(key)) for key in NOTED_DATA),
                    *(_blank(metrics.get(key)) for key in more[1:]),
                    run.key,
                    run.place,
                    run.error,
                ]
            )
    return buffer.getvalue()


def _percent(share: float | None) -> float | None:
    return None if share is None else 100 * share


def _blank(value: Any) -> Any:
    if isinstance(value, float):
        return f"{value:.6g}"
    return "" if value is None else value


def table_markdown(
    grid: Grid, results: Sequence[CellResult], report: Mapping[str, Any], stem: Path
) -> str:
    """The table beside the paper's values, its tests, failures and how it was made.

    Args:
        grid: the table.
        results: its cells, in the grid's order.
        report: what the JSON has.
        stem: the file's path without its ending, which links start from.
    """
    lines = [
        f"# {grid.table}: {grid.title}",
        "",
        f"{grid.paper}. Budget `{grid.budget}`. {_ABOUT.get(grid.budget, '')}",
        "",
        "Mean ± standard deviation over the runs; in brackets the paper's value.",
        "",
        *_reader_table(grid, results),
        "",
        "## Cells",
        "",
        *_cell_table(grid, results),
        "",
    ]
    if grid.reference:
        told = ", ".join(f"{axis}: {label}" for axis, label in grid.reference.items())
        lines += [
            f"Compared with {told} by Wilcoxon's signed-rank test (two-sided, exact, paired by "
            f"seed and fold). With fewer than {FEWEST_PAIRS} pairs p cannot fall below 0.05; the "
            "least possible value stands in brackets then.",
            "",
        ]
    lines += [
        "95 %: Student's t over the runs; of one run, Wilson's interval over its clips.",
        "",
        *_failures(grid, results),
        "## How",
        "",
        *_provenance_lines(report, recipes_link(grid.path, stem)),
    ]
    return "\n".join(lines) + "\n"


def _reader_table(grid: Grid, results: Sequence[CellResult]) -> list[str]:
    """Rows and columns as the paper prints them: the last of several axes goes across."""
    if len(grid.axes) == 1:
        lines = _row([*grid.axes, _title(results[0].cell.metric)]) + _row(["---", "---"])
        for result in results:
            lines += _row([*result.cell.labels.values(), _shown(result)])
        return lines
    *down, across = grid.axes
    columns = grid.axes[across]
    by_labels = {tuple(result.cell.labels.values()): result for result in results}
    lines = _row([*down, *columns]) + _row(["---"] * (len(down) + len(columns)))
    for row in dict.fromkeys(labels[:-1] for labels in by_labels):
        lines += _row([*row, *(_shown(by_labels.get((*row, column))) for column in columns)])
    return lines


def _row(values: Sequence[str]) -> list[str]:
    return [f"| {' | '.join(values)} |"]


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
    """Marks a cell in which a result of an earlier call stands for a run that failed now."""
    return " ‡" if any(run.kept and run.error for run in result.runs) else ""


def _paper(cell: Cell) -> str:
    if cell.expected is None:
        return ""
    spread = "" if cell.expected_std is None else f" ± {cell.expected_std:g}"
    whole = cell.expected == round(cell.expected) and cell.expected >= 1000
    return (f"{cell.expected:,.0f}" if whole else f"{cell.expected:g}") + spread


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
    lines = _row(head) + _row(["---"] * len(head))
    for result in results:
        cell, summary, facts = result.cell, result.summary, result.facts
        if cell.quoted:
            continue
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
            known = [_number(end, cell.metric) for end in ends if end is not None]
            row += [" to ".join(known), str(summary["runs"]) if result.runs else ""]
        if grid.reference:
            row += _test(grid, result)
        protocol = " ".join(str(facts[key]) for key in ("name", "protocol") if key in facts)
        row.append(protocol + (" †" if facts.get("leaking") else ""))
        row += [f"{facts[key]:,}" if key in facts else "" for key in ("parameters", "macs")]
        lines += _row(row)
    if any(result.facts.get("leaking") for result in results):
        lines += ["", "† This split leaks: clips of one recording or speaker are on both sides."]
    if any(map(_kept_mark, results)):
        lines += ["", "‡ Runs of it failed; what an earlier call found stands in their place."]
    return lines


def _test(grid: Grid, result: CellResult) -> list[str]:
    if grid.reference_of(result.cell) is None:
        return ["reference", ""]
    test = result.comparison
    if test is None:
        return ["", ""]
    least = f" (≥ {test.smallest_p:.3g})" if test.pairs < FEWEST_PAIRS else ""
    return [f"{test.difference:+.2f}", f"{test.p:.3g}{least}"]


def _failures(grid: Grid, results: Sequence[CellResult]) -> list[str]:
    told = []
    for result in results:
        where = " / ".join(result.cell.labels.values())
        if result.error and not result.runs:
            told.append(f"- {where}: {result.error}")
        told += [
            f"- {where}, {run.repeat.name}: {run.error}{_in_its_place(run)}"
            for run in result.runs
            if run.error
        ]
    return ["## Failed", "", *told, ""] if told else []


def _in_its_place(run: RunRow) -> str:
    """What an earlier call found, and of which commit."""
    if not run.kept or run.value is None:
        return ""
    commit = (run.metrics or {}).get("git_commit")
    return f" (kept: {run.value:.6g}{f', of commit {commit}' if commit else ''})"


def _provenance_lines(report: Mapping[str, Any], recipes: str) -> list[str]:
    machine = report["machine"]
    devices = ", ".join(machine["accelerators"]) or "no accelerator"
    versions = ", ".join(f"{name} {value}" for name, value in report["versions"].items())
    return [
        f"- command: `{report['command']}`",
        f"- {report['runs']} runs, {report['training_s']:.0f} s of training; this call took "
        f"{report['wall_s']:.0f} s (finished runs are used again)",
        *(
            [f"- {report['kept']} of the runs: as an earlier call wrote them"]
            if report["kept"]
            else []
        ),
        f"- written on {machine['processor']}, {machine['cores']} cores, {devices}",
        f"- recipes come from the grid {recipes}",
        f"- recipes: SHA-256 {report['recipes_sha256']}",
        f"- commit: {report['git_commit'] or 'unknown'}",
        f"- versions: {versions}",
    ]
