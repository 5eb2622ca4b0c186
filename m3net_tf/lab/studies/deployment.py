# SPDX-License-Identifier: Apache-2.0
"""A grid's finished runs on a board: int8 accuracy over the seeds, memory, instructions, limits.

``m3net table`` trains a grid; here each run is exported, and the first run of each cell is also
built, certified and emulated. Finished steps are skipped: their results are in the run's folder.
"""

import dataclasses
import gc
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from m3net_tf.boards.emulation.starting import firmware_folder
from m3net_tf.boards.measure.certificate import certify_export
from m3net_tf.boards.measure.cost import cost_among
from m3net_tf.compiler.engines import TFLM
from m3net_tf.export import Bundle, export_run
from m3net_tf.lab import RESULTS, RUNS
from m3net_tf.lab.many.plan import finished_runs
from m3net_tf.lab.studies.deployment_views import COSTS, deployment_page, deployment_rows
from m3net_tf.lab.studies.grid import Cell, Grid
from m3net_tf.lab.studies.grid_file import load_grid
from m3net_tf.lab.studies.report_files import write_report
from m3net_tf.quantization.method_accuracy import method_figures
from m3net_tf.quantization.methods import Method
from m3net_tf.system.artifacts import provenance, read_json, sha256_of, write_json
from m3net_tf.system.errors import ConfigError, M3NetError, ModelError, one_line
from m3net_tf.system.keras import keras
from m3net_tf.system.processor import machine
from m3net_tf.system.progress import Log, silent, track
from m3net_tf.training.clips.features import compute_features
from m3net_tf.training.cluster.data import DataFolders, local_folder, require_data, source_of
from m3net_tf.training.run import Run

KEPT = "deployment.json"
"""File in a run's folder with its accuracies on the desktop."""
_FORMAT = 1

Row = dict[str, object]
"""A run in the table: figures by the columns of the CSV; ``error`` says why it failed."""


@dataclasses.dataclass(frozen=True)
class _Setup:
    """How the runs of a grid are measured.

    Attributes:
        folders: folders of its finished runs, by their trainings' keys.
    """

    grid: Grid
    folders: Mapping[str, Path]
    root: Path
    board: str
    data_folders: DataFolders
    methods: Sequence[Method]
    log: Log


def make_deployment(
    name: str,
    scale: str,
    board: str,
    *,
    data_folders: DataFolders,
    methods: Sequence[str] = (),
    runs_folder: Path = RUNS,
    out: Path = RESULTS,
    command: str = "",
    log: Log = silent,
) -> dict[str, Any]:
    """Export and measure a grid's runs, and write the table.

    If a run fails that has results in the written table, that table is left unchanged and the new
    one is written to ``<paper>/<table>.<scale>.deployment.incomplete.*`` in the same folder.

    Args:
        board: emulated board. If it cannot be emulated, the table gives the reason and has no
            figures of the board.
        methods: additional methods of quantisation; validation chooses among them.
        out: folder for ``<paper>/<table>.<scale>.deployment.md``, ``.csv`` and ``.json``.

    Returns:
        Content of the JSON; ``failed`` counts the failed runs. A method that a network cannot be
        converted by has its reason in the run, which does not count as failed.

    Raises:
        ConfigError: there is no such table, scale or method, or a run is not finished.
        DataError: the data set of a run that must be measured is missing; nothing was exported or
            written.
        FirmwareError: there is no such emulated board.
    """
    grid = load_grid(name, scale)
    trained = [cell for cell in grid.cells if cell.trained]
    if not trained:
        raise ConfigError(f"{grid.name} trains no network: name a table that does")
    parsed = [Method.parse(text) for text in methods]
    folders = _folders(grid, runs_folder)
    incomplete = [Run(folder) for folder in folders.values() if _is_incomplete(folder, parsed)]
    require_data(
        (run.recipe() for run in incomplete), data_folders, f"{grid.name} at {scale} scale"
    )
    setup = _Setup(grid, folders, runs_folder, board, data_folders, parsed, log)
    cells = []
    with track(log, "cells", len(trained), "cells") as task:
        for cell in trained:
            cells.append({"labels": dict(cell.labels), "runs": _measured(cell, setup)})
            task.advance()
    report = {
        "table": grid.name,
        "title": grid.title,
        "scale": grid.scale,
        "board": board,
        "reference": dict(grid.reference),
        "methods": [str(method) for method in parsed],
        "command": command,
        "failed": sum("error" in row for cell in cells for row in cell["runs"]),
        "machine": machine(),
        "cells": cells,
        **provenance(),
    }
    stem = out / f"{grid.name}.{grid.scale}.deployment"
    page = deployment_page(report, grid.path, stem)
    write_report(stem, report, deployment_rows(report), page, log)
    return report


def _folders(grid: Grid, root: Path) -> dict[str, Path]:
    """Folders of the cells' runs by their trainings' keys."""
    keys = [training.key for training in grid.trainings()]
    finished = finished_runs(root, keys)
    if missing := sum(key not in finished for key in keys):
        raise ConfigError(
            f"{missing} of {len(keys)} runs of {grid.name} are not finished in {root}: train them "
            f"with m3net table {grid.name} --scale {grid.scale} --runs {root}"
        )
    return {key: finished[key].folder for key in keys}


def _is_incomplete(folder: Path, methods: Sequence[Method]) -> bool:
    """Whether a run lacks its export or an accuracy, so that its data set is needed."""
    path = folder / KEPT
    if not path.exists() or not (folder / "export" / "manifest.json").exists():
        return True
    return not {*map(str, methods)} <= {*read_json(path).get("methods", ())}


def _measured(cell: Cell, setup: _Setup) -> list[Row]:
    """The runs of a cell, the first successful one with its figures on the board.

    A run that fails has its reason in ``error``; the others are measured all the same.
    """
    section = cell.values["model"]
    rows: list[Row] = []
    on_board = False
    for repeat in cell.repeats:
        key = setup.grid.training(cell, repeat).key
        run = Run(setup.folders[key])
        place = run.folder.relative_to(setup.root).as_posix()
        row: Row = {
            "model": section["name"],
            "preset": section.get("preset", "mcu"),
            "seed": repeat.seed,
            "fold": repeat.fold,
            "run": place,
            "recipe_sha256": key,
        }
        try:
            data = local_folder(source_of(run.recipe(), setup.data_folders), setup.log)
            # The tables' figures are TensorFlow Lite Micro's, which runs every network.
            bundle = export_run(run, data, log=setup.log, engine=TFLM)
            row |= _on_desktop(run, bundle, data, setup)
            if not on_board:
                setup.log(f"{place}: on {setup.board}")
                row |= _on_board(run, bundle, setup)
                on_board = True
        except M3NetError as error:
            row["error"] = one_line(error)
            setup.log(f"{place}: {row['error']}")
        finally:
            keras.backend.clear_session()
            gc.collect()
        rows.append(row)
    return rows


def _on_desktop(run: Run, bundle: Bundle, data_dir: Path | None, setup: _Setup) -> Row:
    """Size and accuracies of a run, in percent."""
    metrics = run.metrics()
    kept = _kept_accuracies(run, bundle, data_dir, setup.log)
    row: Row = {
        "float_validation": 100 * metrics.validation["accuracy"],
        "float": 100 * metrics.test["accuracy"],
        "int8": kept["int8"],
        "clips": kept["clips"],
        "parameters": metrics.parameters,
        "macs": metrics.macs,
        "model_bytes": bundle.network.size_bytes,
        "exported_by": bundle.manifest.quantization.method,
    }
    for method in setup.methods:
        name = str(method)
        try:
            if name not in kept["methods"]:
                kept["methods"][name] = method_figures(run, data_dir, method, setup.log)
                write_json(run.folder / KEPT, kept)
        except ModelError as error:  # such as 16 bits on a layer that has no such form
            row[f"{name} error"] = one_line(error)
            continue
        figures = kept["methods"][name]
        row[f"{name} validation"] = 100 * figures["validation_accuracy"]
        row[f"{name} test"] = 100 * figures["accuracy"]
    return row


def _kept_accuracies(run: Run, bundle: Bundle, data_dir: Path | None, log: Log) -> dict[str, Any]:
    """Accuracy of the exported network; kept in the run's folder until the network changes."""
    networks = [sha256_of(part) for part in bundle.network.parts]
    path = run.folder / KEPT
    if path.exists():
        kept: dict[str, Any] = read_json(path)
        if kept.get("format") == _FORMAT and kept.get("networks") == networks:
            return kept
    log(f"{run.folder}: int8 on the desktop")
    test = compute_features(run.dataset(data_dir), "test", bundle.frontend, log=log)
    hits = bundle.run_reference(test.clean).argmax(1) == test.labels
    measured = {
        "format": _FORMAT,
        "networks": networks,
        "clips": len(hits),
        "int8": 100 * float(hits.mean()),
        "methods": {},
    }
    write_json(path, measured)
    return measured


def _on_board(run: Run, bundle: Bundle, setup: _Setup) -> Row:
    """Figures of a network on the board; without an emulator, the reason."""
    folder = firmware_folder(run.folder, setup.board, TFLM)
    certificate = certify_export(bundle, setup.board, folder, setup.log)
    board = certificate.get("board")
    if board is None:
        return {"no_board": certificate["missing"]}
    outputs = certificate["outputs"]
    different = [outputs["different_on_the_board"], outputs["different_in_tflm_on_the_host"]]
    cost: Mapping[str, object] = cost_among(board["cost"])
    return {"bytes_equal": not any(different), **{key: cost[key] for key in COSTS}}
