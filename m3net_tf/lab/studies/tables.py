# SPDX-License-Identifier: Apache-2.0
"""A paper's table, run and written beside the paper's values: Markdown, CSV and JSON."""

import datetime
import hashlib
import json
import math
import time

from m3net_tf.lab.many.scheduling import run_trainings
from m3net_tf.lab.studies.families import cell_verdicts
from m3net_tf.lab.studies.report_files import write_report
from m3net_tf.lab.studies.statistics import add_statistics
from m3net_tf.lab.studies.table_plan import TablePlan
from m3net_tf.lab.studies.table_record import CellValues, TableReport
from m3net_tf.lab.studies.table_results import cell_values
from m3net_tf.lab.studies.table_views import cells_in_words, table_page, table_rows
from m3net_tf.system.artifacts import provenance
from m3net_tf.system.processor import machine
from m3net_tf.system.progress import Log, silent
from m3net_tf.system.words import counted
from m3net_tf.training.cluster.data import DataFolders, require_data
from m3net_tf.training.cluster.pools import IN_PROCESS, PoolOptions


def make_table(
    plan: TablePlan,
    data_folders: DataFolders,
    options: PoolOptions = IN_PROCESS,
    *,
    train: bool = True,
    command: str = "",
    log: Log = silent,
) -> TableReport:
    """Train the missing runs of a table and write the table.

    If a run fails that has a result in the written table, that table is left unchanged and the new
    one is written to ``<paper>/<table>.<scale>.incomplete.*`` in the same folder.

    Args:
        train: False writes the table of the runs that are finished.

    Returns:
        Content of the JSON; ``failed`` counts the runs and measurements that failed.

    Raises:
        DataError: a data set of a run that must be trained is missing, or Ray is needed and not
            installed or reached.
    """
    start_s = time.perf_counter()
    grid = plan.grid
    title = f"{grid.name} at {grid.scale} scale"
    log(
        f"{title}: {counted(len(grid.cells), 'cell')}, {counted(len(plan.trainings), 'run')} "
        "in them"
    )
    outcomes = plan.runs.finished
    if train:
        if waiting := [run.recipe for run in plan.runs.waiting]:
            require_data(waiting, data_folders, title)
        outcomes = run_trainings(plan.runs, data_folders, options=options, log=log)
    cells = cell_values(plan, outcomes, log)
    add_statistics(grid, cells)
    report = _report(plan, cells, command, start_s)
    for cell, verdict in zip(cells, cell_verdicts(report, plan.stem), strict=True):
        if verdict and cell["against_reference"]:
            cell["against_reference"]["t_p_holm"] = verdict["p"]
    page = table_page(report, grid.path, plan.stem)
    write_report(plan.stem, report, table_rows(report), page, log)
    log(f"cells: {cells_in_words(report)}")
    return report


def _report(plan: TablePlan, cells: list[CellValues], command: str, start_s: float) -> TableReport:
    """Content of the JSON; cells share trainings, each of which counts once."""
    grid = plan.grid
    keys = sorted({training.key for training in plan.trainings.values()})
    runs = [run for cell in cells for run in cell["runs"]]
    metrics = [run["metrics"] for run in runs if "metrics" in run]
    seconds: dict[str, float] = {}
    for run in runs:
        key = run["recipe_sha256"]
        run_s = run.get("metrics", {}).get("training_s", 0.0)
        seconds[key] = max(seconds.get(key, 0.0), run_s)
    unmeasured = sum("error" in cell and not cell["runs"] for cell in cells)
    return {
        "table": grid.name,
        "title": grid.title,
        "paper": grid.paper,
        "paper_table": grid.table,
        "scale": grid.scale,
        "axes": {axis: list(labels) for axis, labels in grid.axes.items()},
        "reference": dict(grid.reference),
        "command": command,
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "recipes_sha256": hashlib.sha256(json.dumps(keys).encode()).hexdigest(),
        "subsets": {
            run["dataset"]["subset"]: run["dataset"]["subset_sha256"]
            for run in metrics
            if "subset" in run["dataset"]
        },
        "runs": len(seconds),
        "kept": len({run["recipe_sha256"] for run in runs if "kept" in run}),
        "failed": len({run["recipe_sha256"] for run in runs if "error" in run}) + unmeasured,
        "training_s": round(math.fsum(seconds.values()), 1),
        "machine": machine(),
        "cells": cells,
        "wall_s": round(time.perf_counter() - start_s, 1),
        **provenance(),
    }
