# SPDX-License-Identifier: Apache-2.0
"""A grid's finished runs on a board: int8 accuracy over the seeds, memory, instructions, limits.

``m3net table`` trains a grid; here each run is exported, and the first run of each cell is also
built, certified and emulated. Finished steps are skipped: their results are in the run's folder.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

from m3net_tf.lab import RESULTS, RUNS
from m3net_tf.lab.many.plan import finished_runs
from m3net_tf.lab.studies.deployment_cells import Setup, is_incomplete, kept_runs, measure_cell
from m3net_tf.lab.studies.deployment_record import DeployedCell, DeploymentReport
from m3net_tf.lab.studies.deployment_summary import add_comparisons, lost_by_network, summary_of
from m3net_tf.lab.studies.deployment_views import deployment_csv, deployment_markdown
from m3net_tf.lab.studies.grid import Grid
from m3net_tf.lab.studies.grid_cells import load_grid
from m3net_tf.lab.studies.machine import machine
from m3net_tf.lab.studies.report_files import write_report
from m3net_tf.quantization.methods import Method
from m3net_tf.system.artifacts import provenance
from m3net_tf.system.errors import ConfigError
from m3net_tf.system.progress import Log, silent, track
from m3net_tf.training.cluster.data import DataFolders, require_data
from m3net_tf.training.run import Run


def make_deployment(
    name: str,
    scale: str,
    board: str,
    *,
    data_folders: DataFolders,
    methods: Sequence[str] = (),
    runs_folder: Path = RUNS,
    out: Path = RESULTS,
    keep_results: bool = False,
    command: str = "",
    log: Log = silent,
) -> DeploymentReport:
    """Export and measure a grid's runs, and write the table.

    If a run fails that has results in the written table, that table is left unchanged and the new
    one is written to ``<paper>/<table>.<scale>.deployment.incomplete.*`` in the same folder.

    Args:
        name: ``<paper>/<table>``, or the path of its YAML file.
        scale: ``tiny``, ``small`` or ``paper``.
        board: emulated board. If it cannot be emulated, the table gives the reason and has no
            figures of the board.
        methods: additional methods of quantisation; validation chooses among them.
        out: folder for ``<paper>/<table>.<scale>.deployment.md``, ``.csv`` and ``.json``.
        keep_results: keep the results in ``out`` of a run that ``runs_folder`` lacks, if its recipe
            and network are unchanged and the results are of this board and these methods.
        command: the command line, quoted in the table.

    Returns:
        Content of the JSON; ``failed`` counts the failed runs. A method that a network cannot be
        converted by has its reason in the run, which does not count as failed.

    Raises:
        ConfigError: there is no such table, scale or method, or a run is not finished.
        DataError: ``keep_results`` is set and there is no written table, or the data set of a run
            that must be measured is missing; nothing was exported or written.
        FirmwareError: there is no such emulated board.
    """
    grid = load_grid(name, scale)
    if not any(cell.trained for cell in grid.cells):
        raise ConfigError(f"{grid.name} trains no network: name a table that does")
    parsed = [Method.parse(text) for text in methods]
    stem = out / f"{grid.name}.{grid.scale}.deployment"
    kept = kept_runs(Path(f"{stem}.json"), grid, board, parsed) if keep_results else {}
    folders = _folders(grid, runs_folder, kept)
    incomplete = [Run(folder) for folder in folders.values() if is_incomplete(folder, parsed)]
    recipes = [run.recipe() for run in incomplete]
    require_data(recipes, data_folders, f"{grid.name} at {grid.scale} scale")
    setup = Setup(grid, folders, kept, runs_folder, board, data_folders, parsed, log)
    report = _report(setup, _measured(setup), command)
    write_report(
        stem,
        report,
        deployment_csv(report),
        lambda place: deployment_markdown(report, grid.path, place),
        log,
    )
    return report


def _measured(setup: Setup) -> list[DeployedCell]:
    """All cells of the grid that are trained, with their summaries."""
    trained = [cell for cell in setup.grid.cells if cell.trained]
    cells: list[DeployedCell] = []
    with track(setup.log, "cells", len(trained), "cells") as task:
        for cell in trained:
            measured = measure_cell(cell, setup)
            cells.append(
                {**measured, **summary_of(measured), "against_reference": None, "dominated_by": []}
            )
            task.advance()
    return cells


def _report(setup: Setup, cells: list[DeployedCell], command: str) -> DeploymentReport:
    grid = setup.grid
    add_comparisons(grid, cells)
    return {
        "table": grid.name,
        "title": grid.title,
        "scale": grid.scale,
        "board": setup.board,
        "reference": dict(grid.reference),
        "methods": [str(method) for method in setup.methods],
        "command": command,
        "kept": sum(1 for cell in cells for run in cell["runs"] if "kept" in run),
        "failed": sum(1 for cell in cells for run in cell["runs"] if "error" in run),
        "machine": machine(),
        "cells": cells,
        "chosen_lost_points": lost_by_network(cells),
        **provenance(),
    }


def _folders(grid: Grid, root: Path, kept: Collection[str]) -> dict[str, Path]:
    """Folders of the grid's runs by their trainings' keys; only kept runs may lack one."""
    finished = finished_runs(root)
    keys = [
        grid.training(cell, repeat).key
        for cell in grid.cells
        if cell.trained
        for repeat in cell.repeats
    ]
    if missing := sum(key not in finished and key not in kept for key in keys):
        raise ConfigError(
            f"{missing} of {len(keys)} runs of {grid.name} are not finished in {root}: train them "
            f"with m3net table {grid.name} --scale {grid.scale} --runs {root}"
        )
    return {key: finished[key] for key in keys if key in finished}
