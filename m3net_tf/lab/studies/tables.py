# SPDX-License-Identifier: Apache-2.0
"""A paper's table, run and written beside the paper's values: Markdown, CSV and JSON."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from m3net_tf.lab import RESULTS, RUNS
from m3net_tf.lab.many.plan import Outcome, Plan, in_order, plan_trainings
from m3net_tf.lab.many.scheduling import run_trainings
from m3net_tf.lab.studies.cell_recipe import find_cells
from m3net_tf.lab.studies.grid import Grid
from m3net_tf.lab.studies.grid_cells import load_grid
from m3net_tf.lab.studies.table_record import RunValues, TableReport
from m3net_tf.lab.studies.table_results import EarlierRuns, Trainings, table_report
from m3net_tf.lab.studies.table_views import write_table
from m3net_tf.system.artifacts import read_json
from m3net_tf.system.errors import DataError
from m3net_tf.system.progress import Log, silent
from m3net_tf.training.cluster.data import DataFolders, require_data
from m3net_tf.training.cluster.pools import IN_PROCESS, PoolOptions
from m3net_tf.training.run import built_otherwise


@dataclasses.dataclass(frozen=True)
class TablePlan:
    """The runs of a table, before any is started.

    Attributes:
        stem: path of the written table, without its ending.
        trainings: one for each cell's number and repeat.
        earlier: runs in the written table, with ``keep_results`` in all written tables, whose
            recipes and networks are unchanged: key -> metric -> run.
        known: keys of the trainings that are skipped, as their results are kept.
        runs: which runs are finished, and which must be trained.
    """

    grid: Grid
    stem: Path
    trainings: Trainings
    earlier: EarlierRuns
    known: frozenset[str]
    runs: Plan


def plan_table(
    name: str,
    scale: str,
    *,
    runs_folder: Path = RUNS,
    out: Path = RESULTS,
    keep_results: bool = False,
    overlay: Path | None = None,
    only: Sequence[str] = (),
) -> TablePlan:
    """Find out which runs of a table are missing; writes nothing.

    Arguments and errors: see :func:`make_table`.
    """
    grid = load_grid(name, scale, overlay)
    stem = out / f"{grid.name}.{scale}{f'.{overlay.stem}' if overlay else ''}"
    trainings = {
        (index, repeat): grid.training(cell, repeat)
        for index, cell in enumerate(grid.cells)
        for repeat in cell.repeats
    }
    written = [path for path in (Path(f"{stem}.json"),) if path.exists()]
    if keep_results:  # the table's own results go first
        written += [path for path in sorted(out.rglob(f"*.{scale}.json")) if path not in written]
        if not written:
            raise DataError(
                f"{out} has no results of {scale} scale to keep: run it without --keep-results"
            )
    earlier: dict[str, Mapping[str, RunValues]] = {}
    for path in written:
        earlier = {**_earlier_rows(path, grid, trainings), **earlier}
    known = frozenset(earlier if keep_results else ())
    # The first run of every cell before the second of any: a stopped table can be compared.
    in_turn = sorted(trainings, key=lambda place: grid.cells[place[0]].repeats.index(place[1]))
    runs = plan_trainings((trainings[place] for place in in_turn), runs_folder, known)
    if only:
        cells = [cell for text in only for cell in find_cells(grid, text)]
        chosen = (trainings[place] for place in trainings if grid.cells[place[0]] in cells)
        keys = {training.key for training in in_order(chosen)}
        runs = dataclasses.replace(runs, runs=tuple(run for run in runs.runs if run.key in keys))
    return TablePlan(grid, stem, trainings, earlier, known, runs)


def make_table(
    name: str,
    scale: str,
    *,
    data_folders: DataFolders,
    options: PoolOptions = IN_PROCESS,
    runs_folder: Path = RUNS,
    out: Path = RESULTS,
    keep_results: bool = False,
    overlay: Path | None = None,
    only: Sequence[str] = (),
    train: bool = True,
    command: str = "",
    log: Log = silent,
) -> TableReport:
    """Train the missing runs of a table and write the table.

    If a run fails, its result in the written table is kept. If that result cannot be kept because
    it belongs to another recipe or network, the written table is left unchanged and the new one is
    written to ``<paper>/<table>.<scale>.incomplete.*`` in the same folder.

    Args:
        name: ``<paper>/<table>``, or the path of its YAML file.
        scale: ``tiny``, ``small`` or ``paper``.
        options: where the runs are trained, and how many at once.
        out: folder for ``<paper>/<table>.<scale>.md``, ``.csv`` and ``.json``.
        keep_results: do not train a run that ``runs_folder`` lacks if a table in ``out`` has its
            result and its recipe and network are unchanged.
        overlay: a patch over all cells; its name joins the names of the table's files.
        only: slugs or labels of cells: no run of another cell is trained.
        train: False writes the table of the runs that are finished.
        command: the command line, quoted in the table.

    Returns:
        Content of the JSON; ``failed`` counts the runs and measurements that failed.

    Raises:
        ConfigError: there is no such table or scale, or the grid or one of its recipes is wrong.
        DataError: a data set of a run that must be trained is missing, Ray is needed and not
            installed or reached, or ``keep_results`` is set and no table is written.
    """
    start_s = time.perf_counter()
    plan = plan_table(
        name,
        scale,
        runs_folder=runs_folder,
        out=out,
        keep_results=keep_results,
        overlay=overlay,
        only=only,
    )
    grid, trainings = plan.grid, plan.trainings
    log(f"{grid.name} at {scale} scale: {len(grid.cells)} cells, {len(trainings)} runs in them")
    outcomes: Mapping[str, Outcome]
    if train:
        waiting = [training.recipe for training in plan.runs.waiting]
        require_data(waiting, data_folders, f"{grid.name} at {scale} scale")
        outcomes = run_trainings(plan.runs, runs_folder, data_folders, options=options, log=log)
    else:
        outcomes = {key: Outcome(folder) for key, folder in plan.runs.finished.items()}
    report = table_report(
        grid, trainings, outcomes, plan.earlier, runs_folder, command, start_s, log
    )
    write_table(report, grid.path, plan.stem, log)
    return report


def _earlier_rows(path: Path, grid: Grid, trainings: Trainings) -> dict[str, dict[str, RunValues]]:
    """Runs in a written table whose recipes and networks are unchanged: key -> metric -> run."""
    noted = {
        (run["recipe_sha256"], cell["metric"]): run
        for cell in read_json(path).get("cells", ())  # a figure's have no runs
        for run in cell.get("runs", ())
        if "metrics" in run and run["value"] is not None
    }
    rows: dict[str, dict[str, RunValues]] = {}
    changed = set()
    for (index, _), training in trainings.items():
        metric = grid.cells[index].metric
        run = noted.get((training.key, metric))
        if run is None or built_otherwise(run["metrics"], training.recipe):
            changed.add(training.key)
        else:
            rows.setdefault(training.key, {})[metric] = run
    return {key: metrics for key, metrics in rows.items() if key not in changed}
