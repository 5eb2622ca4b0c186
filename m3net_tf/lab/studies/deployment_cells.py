# SPDX-License-Identifier: Apache-2.0
"""Measuring the runs of a cell: int8 accuracy on the desktop, costs of the first run on a board."""

from __future__ import annotations

import dataclasses
import gc
from collections.abc import Mapping, Sequence
from pathlib import Path

from m3net_tf.boards.deployment.certification import certify_export
from m3net_tf.boards.deployment.cost import BoardCost
from m3net_tf.boards.emulation.starting import firmware_folder
from m3net_tf.compiler.engines import TFLM
from m3net_tf.export import Bundle, export_run
from m3net_tf.export.certificate import Certificate
from m3net_tf.lab.studies.deployment_record import (
    BoardFigures,
    BoardMissing,
    DesktopAccuracy,
    MeasuredCell,
    Methods,
    ModelName,
    RunRow,
)
from m3net_tf.lab.studies.grid import Cell, Grid
from m3net_tf.quantization.method_accuracy import method_figures
from m3net_tf.quantization.methods import Method
from m3net_tf.system.artifacts import read_json, sha256_of, write_json
from m3net_tf.system.errors import DataError, M3NetError, ModelError, one_line
from m3net_tf.system.keras import keras
from m3net_tf.system.progress import Log
from m3net_tf.training.cluster.data import DataFolders, local_folder, source_of
from m3net_tf.training.features import compute_features
from m3net_tf.training.run import Run, design_of

KEPT = "deployment.json"
"""File in a run's folder with its accuracies on the desktop."""
_FORMAT = 1


@dataclasses.dataclass(frozen=True)
class KeptRun:
    """Results of a run in the written table.

    Attributes:
        board: figures of its cell on the board, if this run was the one on it.
    """

    row: RunRow
    board: BoardFigures | BoardMissing | None


@dataclasses.dataclass(frozen=True)
class Setup:
    """Inputs of the measurement of a grid's cells.

    Attributes:
        folders: folders of its finished runs, by their trainings' keys.
        kept: results of runs without a folder, by their trainings' keys.
    """

    grid: Grid
    folders: Mapping[str, Path]
    kept: Mapping[str, KeptRun]
    root: Path
    board: str
    data_folders: DataFolders
    methods: Sequence[Method]
    log: Log


def kept_runs(path: Path, grid: Grid, board: str, methods: Sequence[Method]) -> dict[str, KeptRun]:
    """Runs in a written table whose recipes and networks are unchanged, by the trainings' keys.

    Args:
        path: JSON of the table.
        board: a table of another board has none.
        methods: a run without results of all of them is left out.

    Raises:
        DataError: there is no written table.
    """
    if not path.exists():
        raise DataError(
            f"{path} is missing, so there are no results to keep: run it without --keep-results"
        )
    report = read_json(path)
    if report["board"] != board:
        return {}
    designs = {
        training.key: design_of(training.recipe)
        for cell in grid.cells
        if cell.trained
        for training in (grid.training(cell, repeat) for repeat in cell.repeats)
    }
    names = [str(method) for method in methods]
    kept: dict[str, KeptRun] = {}
    for cell in report["cells"]:
        finished = [run for run in cell["runs"] if "error" not in run]
        for run in finished:
            key = run.get("recipe_sha256", "")
            same = key in designs and designs[key] == run["design_sha256"]
            if same and {*names} <= {*run["methods"]}:
                row: RunRow = run
                row["methods"] = {name: row["methods"][name] for name in names}
                row["kept"] = True
                kept[key] = KeptRun(row, cell["board"] if run is finished[0] else None)
    return kept


def is_incomplete(folder: Path, methods: Sequence[Method]) -> bool:
    """Whether a run lacks its export or an accuracy, so that its data set is needed."""
    path = folder / KEPT
    if not path.exists() or not (folder / "export" / "manifest.json").exists():
        return True
    return not {*map(str, methods)} <= {*read_json(path).get("methods", ())}


def measure_cell(cell: Cell, setup: Setup) -> MeasuredCell:
    """Measure all runs of a cell, and the first successful one on the board.

    A run that fails has its reason in ``error``; the others are measured all the same.
    """
    section = cell.values["model"]
    runs: list[RunRow] = []
    board = None
    for repeat in cell.repeats:
        training = setup.grid.training(cell, repeat)
        if training.key not in setup.folders:
            runs.append(setup.kept[training.key].row)
            board = board or setup.kept[training.key].board
            continue
        run = Run(setup.folders[training.key])
        place = run.folder.relative_to(setup.root).as_posix()
        row: RunRow = {
            "seed": repeat.seed,
            "fold": repeat.fold,
            "run": place,
            "recipe_sha256": training.key,
            "design_sha256": design_of(training.recipe),
        }
        try:
            data = local_folder(source_of(run.recipe(), setup.data_folders), setup.log)
            # The tables' figures are TensorFlow Lite Micro's, which runs every network.
            bundle = export_run(run, data, log=setup.log, engine=TFLM)
            _add_figures(row, run, bundle, data, setup)
            if board is None:
                setup.log(f"{place}: on {setup.board}")
                firmware = firmware_folder(run.folder, setup.board, TFLM)
                board = _board_figures(certify_export(bundle, setup.board, firmware, setup.log))
        except M3NetError as error:
            row["error"] = one_line(error)
            setup.log(f"{place}: {row['error']}")
        finally:
            keras.backend.clear_session()
            gc.collect()
        runs.append(row)
    model: ModelName = {"name": section["name"], "preset": section.get("preset", "mcu")}
    return {"labels": dict(cell.labels), "model": model, "runs": runs, "board": board}


def _add_figures(
    row: RunRow, run: Run, bundle: Bundle, data_dir: Path | None, setup: Setup
) -> None:
    """Add size and accuracies of a run, in percent."""
    metrics = run.metrics()
    desktop = _desktop_accuracy(run, bundle, data_dir, setup.log)
    row["methods"] = _method_accuracies(run, desktop, data_dir, setup.methods, setup.log)
    row["parameters"] = metrics.parameters
    row["macs"] = metrics.macs
    row["model_bytes"] = bundle.network.size_bytes
    row["exported_by"] = bundle.manifest.quantization.method
    row["clips"] = desktop["clips"]
    row["float"] = 100 * metrics.test["accuracy"]
    row["float_validation"] = 100 * metrics.validation["accuracy"]
    row["int8"] = desktop["int8"]


def _desktop_accuracy(run: Run, bundle: Bundle, data_dir: Path | None, log: Log) -> DesktopAccuracy:
    """Accuracy of the exported network; kept in the run's folder until the network changes."""
    networks = [sha256_of(part) for part in bundle.network.parts]
    path = run.folder / KEPT
    if path.exists():
        kept: DesktopAccuracy = read_json(path)
        if kept.get("format") == _FORMAT and kept.get("networks") == networks:
            return kept
    log(f"{run.folder}: int8 on the desktop")
    test = compute_features(run.dataset(data_dir), "test", bundle.frontend, log=log)
    hits = bundle.run_reference(test.clean).argmax(1) == test.labels
    measured: DesktopAccuracy = {
        "format": _FORMAT,
        "networks": networks,
        "clips": len(hits),
        "int8": 100 * float(hits.mean()),
        "methods": {},
    }
    write_json(path, measured)
    return measured


def _method_accuracies(
    run: Run, kept: DesktopAccuracy, data_dir: Path | None, methods: Sequence[Method], log: Log
) -> Methods:
    """Accuracies by method; what ``kept`` lacks is measured and added to its file."""
    accuracies: Methods = {}
    for method in methods:
        name = str(method)
        if name not in kept["methods"]:
            try:
                kept["methods"] |= method_figures(run, data_dir, [method], log)
            except ModelError as error:  # such as 16 bits on a layer that has no such form
                accuracies[name] = {"error": one_line(error)}
                continue
            write_json(run.folder / KEPT, kept)
        accuracies[name] = kept["methods"][name]
    return accuracies


def _board_figures(certificate: Certificate) -> BoardFigures | BoardMissing:
    """A certificate's figures of the board; without an emulator, the reason."""
    board = certificate.get("board")
    if board is None:
        return {"missing": certificate["missing"]}
    outputs = certificate["outputs"]
    different = [outputs["different_on_the_board"], outputs["different_in_tflm_on_the_host"]]
    return {
        "bytes_equal": not any(different),
        "clips": certificate["clips"]["count"],
        **BoardCost.from_dict(board["cost"]).to_dict(),
    }
