# SPDX-License-Identifier: Apache-2.0
"""A paper's table, run and written beside the paper's values: Markdown, CSV and JSON."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import platform
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from m3net_tf.artifacts import provenance, read_json
from m3net_tf.datasets import dataset_names
from m3net_tf.errors import ConfigError, DataError, M3NetError
from m3net_tf.progress import Log, silent
from m3net_tf.studies.footprint import measure
from m3net_tf.studies.grid import Cell, Grid, Repeat, Training, find_grid, load_grid
from m3net_tf.studies.statistics import Comparison, compare
from m3net_tf.studies.table_runs import (
    ANY_DATA,
    DataFolders,
    Outcome,
    Plan,
    plan_trainings,
    require_data,
    run_trainings,
)
from m3net_tf.studies.table_text import NOTED_DATA, table_csv, table_markdown
from m3net_tf.studies.written import stem_to_write, write_report
from m3net_tf.training.metrics import summarise_folds
from m3net_tf.training.run import Run, built_otherwise

RESULTS_DIR = Path("experiments/results")
RUNS_DIR = Path("runs/tables")
_NOTED = ("parameters", "macs", "best_epoch", "training_s", "git_commit", "design_sha256")


@dataclasses.dataclass(frozen=True)
class RunRow:
    """One run of a cell.

    Attributes:
        repeat: its seed and fold.
        key: hash of its recipe.
        value: the cell's metric, in percent where it is a share; None if the run failed.
        metrics: all that ``metrics.json`` has, or what a table keeps of it; None if the run failed.
        error: why it failed in this call; '' if it did not.
        place: its folder, below the folder of all tables' runs.
        kept: it is the result of an earlier call: its folder is not at hand, or it was tried again
            and failed, which ``error`` tells then.
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


@dataclasses.dataclass(frozen=True)
class TablePlan:
    """What a table consists of, before anything is run.

    Attributes:
        grid: the table.
        stem: path of the written table, without its ending.
        trainings: one for each cell's number and repeat.
        earlier: what the written table says of runs of today's recipes and networks: key ->
            metric -> run.
        known: keys of those that need not be trained.
        runs: what is finished, and what must be trained.
    """

    grid: Grid
    stem: Path
    trainings: Mapping[tuple[int, Repeat], Training]
    earlier: Mapping[str, Mapping[str, Mapping[str, Any]]]
    known: frozenset[str]
    runs: Plan


def plan_table(
    name: str,
    budget: str,
    *,
    runs_folder: Path = RUNS_DIR,
    out: Path = RESULTS_DIR,
    keep_results: bool = False,
) -> TablePlan:
    """Find out what is missing of a table; reads, and writes nothing.

    Args and errors are those of :func:`make_table`.
    """
    grid = load_grid(find_grid(name), budget)
    stem = out / f"{grid.name}.{budget}"
    trainings = {
        (index, repeat): grid.training(cell, repeat)
        for index, cell in enumerate(grid.cells)
        for repeat in cell.repeats
    }
    written = Path(f"{stem}.json")
    if keep_results and not written.exists():
        raise DataError(
            f"{written} is missing, so there are no results to keep: run it without --keep-results"
        )
    earlier = _earlier_rows(written, grid, trainings) if written.exists() else {}
    known = frozenset(earlier if keep_results else ())
    runs = plan_trainings(trainings.values(), runs_folder, known)
    return TablePlan(grid, stem, trainings, earlier, known, runs)


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
    log: Log = silent,
) -> dict[str, Any]:
    """Run what is missing of a table and write it.

    A run that fails keeps the result that the written table has of it. Where there is one that
    cannot be kept, as it is of another recipe or network, the written table stays as it is and
    the new one goes beside it, as ``<paper>/<table>.<budget>.incomplete.*``.

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
        DataError: a data set of a run that must be trained is not there, several processes are
            asked for and Ray is not installed, or results are to be kept and there are none.
            Nothing was trained or written.
    """
    start = time.perf_counter()
    plan = plan_table(name, budget, runs_folder=runs_folder, out=out, keep_results=keep_results)
    grid, trainings = plan.grid, plan.trainings
    log(f"{grid.name} at {budget} budget: {len(grid.cells)} cells, {len(trainings)} runs in them")
    waiting = [training.recipe for training in plan.runs.waiting]
    require_data(waiting, data_folders, f"{grid.name} at {budget} budget")
    outcomes = run_trainings(plan.runs, runs_folder, data_folders, jobs=jobs, log=log)
    results = []
    measured: dict[str, dict[str, Any]] = {}
    for index, cell in enumerate(grid.cells):
        runs = tuple(
            _run_row(cell, repeat, trainings[index, repeat], outcomes, plan.earlier, runs_folder)
            for repeat in cell.repeats
        )
        results.append(_result(cell, runs) if cell.trained else _measured(cell, measured, log))
    results = [_compared(grid, results, result) for result in results]
    report = _report(grid, results, trainings.values(), command)
    report["wall_s"] = round(time.perf_counter() - start, 1)
    stem = stem_to_write(plan.stem, report["cells"], _finished)
    if stem != plan.stem:
        log(f"{plan.stem}.md stays as it is: it has results of runs that failed now")
    markdown = table_markdown(grid, results, report, stem)
    log(str(write_report(stem, report, table_csv(grid, results), markdown)))
    return report


def _finished(cell: Mapping[str, Any]) -> int:
    """How many values a written cell has."""
    return sum(run["value"] is not None for run in cell["runs"]) or int(cell["ours"] is not None)


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


def _earlier_rows(
    path: Path, grid: Grid, trainings: Mapping[tuple[int, Repeat], Training]
) -> dict[str, dict[str, Mapping[str, Any]]]:
    """What a written table says of runs of today's recipes and networks: key -> metric -> run."""
    noted = {
        (run["recipe_sha256"], cell["metric"]): run
        for cell in read_json(path)["cells"]
        for run in cell["runs"]
        if "metrics" in run and run["value"] is not None
    }
    rows: dict[str, dict[str, Mapping[str, Any]]] = {}
    unknown = set()
    for (index, _), training in trainings.items():
        metric = grid.cells[index].metric
        run = noted.get((training.key, metric))
        if run is None or built_otherwise(run["metrics"], training.recipe):
            unknown.add(training.key)
        else:
            rows.setdefault(training.key, {})[metric] = run
    return {key: metrics for key, metrics in rows.items() if key not in unknown}


def _run_row(
    cell: Cell,
    repeat: Repeat,
    training: Training,
    outcomes: Mapping[str, Outcome],
    earlier: Mapping[str, Mapping[str, Mapping[str, Any]]],
    runs_folder: Path,
) -> RunRow:
    outcome = outcomes.get(training.key)
    error = outcome.error if outcome else ""
    if outcome and not error:
        metrics = Run(outcome.folder).metrics()
        place = outcome.folder.relative_to(runs_folder).as_posix()
        value = _value(metrics, cell.metric)
        error = "" if value is not None else f"its metrics.json has no {cell.metric}"
        return RunRow(repeat, training.key, value, metrics, error, place)
    if training.key in earlier:
        run = earlier[training.key][cell.metric]
        return RunRow(repeat, training.key, run["value"], run["metrics"], error, run["run"], True)
    assert outcome is not None, "a run that is not known was planned"
    place = outcome.folder.relative_to(runs_folder).as_posix()
    return RunRow(repeat, training.key, None, None, error, place)


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
        **{key: first["dataset"][key] for key in NOTED_DATA},
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
    for part, keys in (("dataset", NOTED_DATA), ("test", figures), ("validation", figures)):
        known = metrics.get(part, {})
        noted[part] = {key: known[key] for key in keys if key in known}
    return noted
