# SPDX-License-Identifier: Apache-2.0
"""A paper's table, run and written beside the paper's values: Markdown, CSV and JSON."""

from __future__ import annotations

import csv
import dataclasses
import hashlib
import io
import json
import os
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from m3net_tf.artifacts import provenance, read_json, write_json, write_text
from m3net_tf.datasets import dataset_names
from m3net_tf.errors import ConfigError, DataError, M3NetError
from m3net_tf.reports.footprint import measure
from m3net_tf.reports.grid import Cell, Grid, Repeat, Training, find_grid, load_grid
from m3net_tf.reports.statistics import FEWEST_PAIRS, Comparison, compare
from m3net_tf.reports.table_runs import ANY_DATA, DataFolders, Outcome, run_trainings
from m3net_tf.training.metrics import summarise_folds
from m3net_tf.training.run import Run, built_otherwise

Log = Callable[[str], None]
RESULTS_DIR = Path("experiments/results")
RUNS_DIR = Path("runs/tables")
_NOTED_DATA = ("name", "protocol", "leaking")
_NOTED = ("parameters", "macs", "best_epoch", "training_s", "git_commit", "design_sha256")
_ABOUT = {
    "tiny": "Built-in sounds, few clips, one epoch: it shows that everything runs, and no more.",
    "small": "Small real subsets, short trainings: compare within the table, not with the paper.",
    "paper": "Data, protocol and training as in the paper, as far as it tells.",
}


@dataclasses.dataclass(frozen=True)
class RunRow:
    """One run of a cell.

    Attributes:
        repeat: its seed and fold.
        key: hash of its recipe.
        value: the cell's metric, in percent where it is a share; None if the run failed.
        metrics: all that ``metrics.json`` has, or what a table keeps of it; None if the run failed.
        error: why it failed; '' if it did not.
        place: its folder, below the folder of all tables' runs.
        kept: it is the result of an earlier call; its folder is not at hand.
    """

    repeat: Repeat
    key: str
    value: float | None
    metrics: Mapping[str, Any] | None
    error: str
    place: str
    kept: bool = False


@dataclasses.dataclass(frozen=True)
class CellResult:
    """What came of a cell.

    Attributes:
        cell: the cell.
        runs: its runs, finished and failed; none where nothing is trained.
        summary: ``runs``, ``mean``, ``std``, ``low`` and ``high`` over the finished runs.
        comparison: test against the reference cell, on the runs that both have.
        facts: ``parameters`` and ``macs``, the data set's ``name``, ``protocol`` and ``leaking``,
            as far as known.
        error: why a cell without runs has no value.
    """

    cell: Cell
    runs: tuple[RunRow, ...]
    summary: Mapping[str, Any] | None
    comparison: Comparison | None
    facts: Mapping[str, Any]
    error: str = ""


def make_table(
    name: str,
    budget: str,
    *,
    data_folders: DataFolders,
    jobs: int = 1,
    runs_folder: Path = RUNS_DIR,
    out: Path = RESULTS_DIR,
    keep_results: bool = False,
    command: str = "",
    log: Log = lambda _: None,
) -> dict[str, Any]:
    """Run what is missing of a table and write it.

    Args:
        name: ``<paper>/<table>``, or the path of its YAML file.
        budget: ``tiny``, ``small`` or ``paper``.
        data_folders: where data sets lie, by name.
        jobs: processes that train at once.
        runs_folder: where runs are kept, those of all tables together.
        out: where ``<paper>/<table>.<budget>.md``, ``.csv`` and ``.json`` go.
        keep_results: take what the table in ``out`` says of a run that ``runs_folder`` lacks, if
            its recipe and its network are still the same, in place of training it.
        command: the command, as the header quotes it.
        log: takes lines of progress.

    Returns:
        What the JSON has; ``failed`` counts the runs and measures that failed.

    Raises:
        ConfigError: there is no such table or budget, or the grid or a recipe of it is wrong.
        DataError: several processes are asked for and Ray is not installed, or results are to be
            kept and there are none.
    """
    start = time.perf_counter()
    grid = load_grid(find_grid(name), budget)
    stem = out / f"{grid.name}.{budget}"
    trainings = {
        (index, repeat): grid.training(cell, repeat)
        for index, cell in enumerate(grid.cells)
        for repeat in cell.repeats
    }
    log(f"{grid.name} at {budget} budget: {len(grid.cells)} cells, {len(trainings)} runs in them")
    known = _known_rows(Path(f"{stem}.json"), grid, trainings) if keep_results else {}
    outcomes = run_trainings(
        trainings.values(), runs_folder, data_folders, known=known, jobs=jobs, log=log
    )
    results = []
    measured: dict[str, dict[str, Any]] = {}
    for index, cell in enumerate(grid.cells):
        runs = tuple(
            _run_row(cell, repeat, trainings[index, repeat], outcomes, known, runs_folder)
            for repeat in cell.repeats
        )
        results.append(_result(cell, runs) if cell.trained else _measured(cell, measured, log))
    results = [_compared(grid, results, result) for result in results]
    report = _report(grid, results, trainings.values(), command)
    report["wall_s"] = round(time.perf_counter() - start, 1)
    write_json(Path(f"{stem}.json"), report)
    write_text(Path(f"{stem}.csv"), _csv(grid, results))
    write_text(Path(f"{stem}.md"), _markdown(grid, results, report))
    log(f"{stem}.md")
    return report


def parse_data_folders(texts: Sequence[str]) -> dict[str, Path]:
    """Folders from ``NAME=FOLDER`` and ``FOLDER``; ``DATA_DIR`` where the latter is not given.

    Raises:
        ConfigError: a name of no data set.
    """
    folders = {ANY_DATA: Path(os.environ["DATA_DIR"])} if os.environ.get("DATA_DIR") else {}
    for text in texts:
        name, equals, folder = text.partition("=")
        if equals and name not in dataset_names():
            raise ConfigError(
                f"--data-dir {text}: there is no data set {name!r}: choose from "
                f"{', '.join(dataset_names())}"
            )
        folders[name if equals else ANY_DATA] = Path(folder if equals else text)
    return folders


def _known_rows(
    path: Path, grid: Grid, trainings: Mapping[tuple[int, Repeat], Training]
) -> dict[str, dict[str, Mapping[str, Any]]]:
    """What a written table says of runs of today's recipes and networks: key -> metric -> run."""
    if not path.exists():
        raise DataError(
            f"{path} is missing, so there are no results to keep: run it without --keep-results"
        )
    noted = {
        (run["recipe_sha256"], cell["metric"]): run
        for cell in read_json(path)["cells"]
        for run in cell["runs"]
        if "metrics" in run
    }
    known: dict[str, dict[str, Mapping[str, Any]]] = {}
    unknown = set()
    for (index, _), training in trainings.items():
        metric = grid.cells[index].metric
        run = noted.get((training.key, metric))
        if run is None or built_otherwise(run["metrics"], training.recipe):
            unknown.add(training.key)
        else:
            known.setdefault(training.key, {})[metric] = run
    return {key: rows for key, rows in known.items() if key not in unknown}


def _run_row(
    cell: Cell,
    repeat: Repeat,
    training: Training,
    outcomes: Mapping[str, Outcome],
    known: Mapping[str, Mapping[str, Mapping[str, Any]]],
    runs_folder: Path,
) -> RunRow:
    if training.key not in outcomes:
        run = known[training.key][cell.metric]
        return RunRow(repeat, training.key, run["value"], run["metrics"], "", run["run"], True)
    outcome = outcomes[training.key]
    place = outcome.folder.relative_to(runs_folder).as_posix()
    if outcome.error:
        return RunRow(repeat, training.key, None, None, outcome.error, place)
    metrics = Run(outcome.folder).metrics()
    value = _value(metrics, cell.metric)
    error = "" if value is not None else f"its metrics.json has no {cell.metric}"
    return RunRow(repeat, training.key, value, metrics, error, place)


def _value(metrics: Mapping[str, Any], metric: str) -> float | None:
    """A figure of the test clips in percent, or what a path in ``metrics.json`` leads to."""
    if not metric.startswith("run."):
        value = metrics["test"].get(metric)
        return None if value is None else 100 * float(value)
    found: Any = metrics
    for key in metric.split(".")[1:]:
        found = found.get(key) if isinstance(found, Mapping) else None
    return float(found) if isinstance(found, int | float) else None


def _measured(cell: Cell, known: dict[str, dict[str, Any]], log: Log) -> CellResult:
    """A figure of an untrained network; ``known`` keeps what was measured of each."""
    if cell.quoted:
        return CellResult(cell, (), None, None, {})
    figure = cell.metric.removeprefix("model.")
    network = json.dumps(cell.values["model"], sort_keys=True)
    if figure not in known.get(network, {}):
        log(f"measuring {cell.slug}")
        try:
            known[network] = measure(cell.values["model"], figure)
        except M3NetError as error:
            return CellResult(cell, (), None, None, {}, str(error))
    facts = known[network]
    return CellResult(cell, (), _summary([facts[figure]]), None, facts)


def _result(cell: Cell, runs: tuple[RunRow, ...]) -> CellResult:
    done = [run for run in runs if run.value is not None and run.metrics is not None]
    if not done:
        return CellResult(cell, runs, None, None, {}, runs[0].error)
    summary = _summary([run.value for run in done if run.value is not None])
    first = done[0].metrics or {}
    if len(done) == 1 and cell.metric == "accuracy":  # of the clips, as there is but one run
        for end in ("low", "high"):
            summary[end] = 100 * first["test"][f"accuracy_95_{end}"]
    facts = {
        "parameters": first["parameters"],
        "macs": first["macs"],
        **{key: first["dataset"][key] for key in _NOTED_DATA},
    }
    return CellResult(cell, runs, summary, None, facts)


def _summary(values: Sequence[float]) -> dict[str, Any]:
    return summarise_folds([{"value": value} for value in values])["value"]


def _compared(grid: Grid, results: Sequence[CellResult], result: CellResult) -> CellResult:
    reference = grid.reference_of(result.cell)
    if reference is None or not result.cell.scored:
        return result
    other = next(one for one in results if one.cell is reference)
    known = {run.repeat: run.value for run in other.runs if run.value is not None}
    pairs = [
        (run.value, known[run.repeat])
        for run in result.runs
        if run.value is not None and run.repeat in known
    ]
    return dataclasses.replace(
        result, comparison=compare([a for a, _ in pairs], [b for _, b in pairs])
    )


def _report(
    grid: Grid,
    results: Sequence[CellResult],
    trainings: Sequence[Training] | Any,
    command: str,
) -> dict[str, Any]:
    keys = sorted({training.key for training in trainings})
    seen: dict[str, float] = {}
    failed, kept = set(), set()
    for result in results:
        for run in result.runs:
            if run.kept:
                kept.add(run.key)
            if run.metrics:
                seen[run.key] = run.metrics.get("training_s", 0.0)
            if run.error:
                failed.add(run.key)
    unmeasured = sum(1 for result in results if result.error and not result.runs)
    return {
        "table": grid.name,
        "title": grid.title,
        "paper": grid.paper,
        "paper_table": grid.table,
        "budget": grid.budget,
        "axes": {axis: list(labels) for axis, labels in grid.axes.items()},
        "reference": dict(grid.reference),
        "command": command,
        "recipes_sha256": hashlib.sha256(json.dumps(keys).encode()).hexdigest(),
        "runs": len(keys),
        "kept": len(kept),
        "failed": len(failed) + unmeasured,
        "training_s": round(sum(seen.values()), 1),
        "machine": machine(),
        "cells": [_plain(result) for result in results],
        **provenance(),
    }


def machine() -> dict[str, Any]:
    """What this computer is: processor and cores, and accelerators that TensorFlow sees."""
    from m3net_tf.keras import tf

    processor = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        named = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
        processor = named[0] if named else processor
    except OSError:
        pass
    accelerators = [
        tf.config.experimental.get_device_details(device).get("device_name", device.device_type)
        for device in tf.config.list_physical_devices("GPU")
    ]
    return {"processor": processor, "cores": os.cpu_count(), "accelerators": accelerators}


def _plain(result: CellResult) -> dict[str, Any]:
    cell = result.cell
    return {
        "labels": dict(cell.labels),
        "metric": cell.metric,
        "paper": cell.expected,
        "paper_std": cell.expected_std,
        "quoted": cell.quoted,
        "ours": dict(result.summary) if result.summary else None,
        "against_reference": (dataclasses.asdict(result.comparison) if result.comparison else None),
        **({"facts": dict(result.facts)} if result.facts else {}),
        **({"error": result.error} if result.error else {}),
        "runs": [
            {
                "seed": run.repeat.seed,
                "fold": run.repeat.fold,
                "value": run.value,
                "recipe_sha256": run.key,
                "run": run.place,
                **({"metrics": _noted(run.metrics, cell.metric)} if run.metrics else {}),
                **({"kept": True} if run.kept else {}),
                **({"error": run.error} if run.error else {}),
            }
            for run in result.runs
        ],
    }


def _noted(metrics: Mapping[str, Any], metric: str) -> dict[str, Any]:
    """What a table needs of a run's metrics to be written again without its folder."""
    figures = (metric, "accuracy_95_low", "accuracy_95_high")
    noted: dict[str, Any] = {key: metrics[key] for key in _NOTED if key in metrics}
    for part, keys in (("dataset", _NOTED_DATA), ("test", figures), ("validation", figures)):
        known = metrics.get(part, {})
        noted[part] = {key: known[key] for key in keys if key in known}
    return noted


def _csv(grid: Grid, results: Sequence[CellResult]) -> str:
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
                    *(_blank(data.get(key)) for key in _NOTED_DATA),
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


def _markdown(grid: Grid, results: Sequence[CellResult], report: Mapping[str, Any]) -> str:
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
        *_provenance_lines(report),
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
    return ours + leaks + (f" ({paper})" if paper else "")


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
        told += [f"- {where}, {run.repeat.name}: {run.error}" for run in result.runs if run.error]
    return ["## Failed", "", *told, ""] if told else []


def _provenance_lines(report: Mapping[str, Any]) -> list[str]:
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
        f"- recipes: SHA-256 {report['recipes_sha256']}",
        f"- commit: {report['git_commit'] or 'unknown'}",
        f"- versions: {versions}",
    ]
