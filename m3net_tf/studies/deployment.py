# SPDX-License-Identifier: Apache-2.0
"""A grid's finished runs on a board: int8 accuracy over the seeds, memory, instructions, budgets.

``m3net table`` trains a grid; here each run is exported, each cell's first is also built, certified
and emulated. What lies in a run's folder is not made again.
"""

from __future__ import annotations

import csv
import dataclasses
import gc
import io
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from m3net_tf.artifacts import provenance, read_json, sha256_of, write_json
from m3net_tf.deployment.certification import certify_export
from m3net_tf.deployment.fit import BUDGETS
from m3net_tf.deployment.matrix import COSTS
from m3net_tf.errors import ConfigError, DataError, M3NetError, ModelError
from m3net_tf.export import Bundle, export_run
from m3net_tf.keras import keras
from m3net_tf.progress import Log, silent
from m3net_tf.quantization.method_accuracy import method_figures
from m3net_tf.quantization.methods import Method
from m3net_tf.studies.grid import Cell, Grid, find_grid, load_grid
from m3net_tf.studies.table_runs import ANY_DATA, DataFolders, finished_runs, require_data
from m3net_tf.studies.tables import RESULTS_DIR, RUNS_DIR, machine
from m3net_tf.studies.written import recipes_link, stem_to_write, write_report
from m3net_tf.training.features import compute_features
from m3net_tf.training.metrics import summarise_folds
from m3net_tf.training.run import Run, design_of

OURS = ("m3net", "spectromasknet", "bilateral", "diffres")
"""Networks of the papers; all others are rivals."""
KEPT = "deployment.json"
"""File in a run's folder with what was measured on the desktop."""
_FORMAT = 1
_MEANS = ("float", "int8", "lost_points")
_COSTS = tuple(cost for cost in COSTS if cost != "model_bytes")  # those of the board


def make_deployment(
    name: str,
    budget: str,
    board: str,
    *,
    data_folders: DataFolders,
    methods: Sequence[str] = (),
    runs_folder: Path = RUNS_DIR,
    out: Path = RESULTS_DIR,
    keep_results: bool = False,
    command: str = "",
    log: Log = silent,
) -> dict[str, Any]:
    """Export and measure a grid's runs, and write the table.

    Where runs fail that the written table has results of, it stays as it is, and the new one goes
    beside it, as ``<paper>/<table>.<budget>.deployment.incomplete.*``.

    Args:
        name: ``<paper>/<table>``, or the path of its YAML file.
        budget: ``tiny``, ``small`` or ``paper``.
        board: emulated board. Where it cannot be emulated the table says why, and has no figures
            of it.
        data_folders: where data sets lie, by name.
        methods: methods of quantisation to try besides; validation chooses among them.
        runs_folder: where the runs of all tables are kept.
        out: where ``<paper>/<table>.<budget>.deployment.md``, ``.csv`` and ``.json`` go.
        keep_results: take what the table in ``out`` says of a run that ``runs_folder`` lacks, if
            its recipe and its network are still the same and it has the board and the methods.
        command: the command, as the header quotes it.
        log: takes lines of progress.

    Returns:
        What the JSON has; ``failed`` counts the runs that failed. A method that a network has no
        form in stands with its reason in the run, which did not fail by that.

    Raises:
        ConfigError: there is no such table, budget or method, or a run is not finished.
        DataError: results are to be kept and there are none, or a data set of a run that is not
            measured yet is not there; nothing was exported or written.
        FirmwareError: there is no such emulated board.
    """
    grid = load_grid(find_grid(name), budget)
    wanted = [Method.parse(text) for text in methods]
    stem = out / f"{grid.name}.{grid.budget}.deployment"
    known = _known_rows(Path(f"{stem}.json"), grid, board, wanted) if keep_results else {}
    folders = _folders(grid, runs_folder, known)
    unmeasured = [Run(folder) for folder in folders.values() if _needs_data(folder, wanted)]
    recipes = [run.recipe() for run in unmeasured]
    require_data(recipes, data_folders, f"{grid.name} at {budget} budget")
    cells = [
        _cell(cell, grid, folders, known, runs_folder, board, data_folders, wanted, log)
        for cell in grid.cells
        if cell.trained
    ]
    _compare(grid, cells)
    report = {
        "table": grid.name,
        "title": grid.title,
        "budget": grid.budget,
        "board": board,
        "reference": dict(grid.reference),
        "methods": [str(method) for method in wanted],
        "command": command,
        "kept": sum(1 for cell in cells for run in cell["runs"] if "kept" in run),
        "failed": sum(1 for cell in cells for run in cell["runs"] if "error" in run),
        "machine": machine(),
        "cells": cells,
        "chosen_lost_points": _lost_by_network(cells),
        **provenance(),
    }
    place = stem_to_write(stem, cells, _finished)
    if place != stem:
        log(f"{stem}.md stays as it is: it has results of runs that failed now")
    markdown = _markdown(report, recipes_link(grid.path, place))
    log(str(write_report(place, report, _csv(report), markdown)))
    return report


def _finished(cell: Mapping[str, Any]) -> int:
    """How many finished runs a written cell has."""
    return sum("error" not in run for run in cell["runs"])


@dataclasses.dataclass(frozen=True)
class Known:
    """What a written table says of a run.

    Attributes:
        row: the run's figures.
        board: those of its cell on the board, if this was the run that was on it.
    """

    row: Mapping[str, Any]
    board: Mapping[str, Any] | None


def _known_rows(path: Path, grid: Grid, board: str, methods: Sequence[Method]) -> dict[str, Known]:
    """What a written table says of runs of today's recipes and networks, by the trainings' keys."""
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
    known: dict[str, Known] = {}
    for cell in report["cells"]:
        done = [run for run in cell["runs"] if "error" not in run]
        for run in done:
            key = run.get("recipe_sha256", "")
            tried = [str(method) for method in methods]
            same = key in designs and designs[key] == run["design_sha256"]
            if same and {*tried} <= {*run["methods"]}:
                row = {**run, "methods": {name: run["methods"][name] for name in tried}}
                known[key] = Known({**row, "kept": True}, cell["board"] if run is done[0] else None)
    return known


def _folders(grid: Grid, root: Path, known: Collection[str]) -> dict[str, Path]:
    """Folders of the grid's runs by their trainings' keys; a known one need not have any."""
    finished = finished_runs(root)
    keys = [
        grid.training(cell, repeat).key
        for cell in grid.cells
        if cell.trained
        for repeat in cell.repeats
    ]
    if missing := sum(key not in finished and key not in known for key in keys):
        raise ConfigError(
            f"{missing} of {len(keys)} runs of {grid.name} are not finished in {root}: train them "
            f"by m3net table {grid.name} --budget {grid.budget} --runs {root}"
        )
    return {key: finished[key] for key in keys if key in finished}


def _cell(
    cell: Cell,
    grid: Grid,
    folders: Mapping[str, Path],
    known: Mapping[str, Known],
    root: Path,
    board: str,
    data_folders: DataFolders,
    methods: Sequence[Method],
    log: Log,
) -> dict[str, Any]:
    """All runs of a cell, the first one on the board."""
    section = cell.values["model"]
    found: dict[str, Any] = {
        "labels": dict(cell.labels),
        "model": {"name": section["name"], "preset": section.get("preset", "mcu")},
        "runs": [],
        "board": None,
    }
    for repeat in cell.repeats:
        training = grid.training(cell, repeat)
        if training.key not in folders:
            found["runs"].append(known[training.key].row)
            found["board"] = found["board"] or known[training.key].board
            continue
        run = Run(folders[training.key])
        place = run.folder.relative_to(root).as_posix()
        row: dict[str, Any] = {"seed": repeat.seed, "fold": repeat.fold, "run": place}
        row |= {"recipe_sha256": training.key, "design_sha256": design_of(training.recipe)}
        data = data_folders.get(run.recipe().dataset.name, data_folders.get(ANY_DATA))
        try:
            bundle = export_run(run, data, log=log)
            row |= _figures(run, bundle, data, methods, log)
            if found["board"] is None:
                log(f"{place}: on {board}")
                firmware = run.folder / "firmware" / board
                found["board"] = _board(certify_export(bundle, board, firmware, log))
        except M3NetError as error:
            row["error"] = " ".join(str(error).split())
            log(f"{place}: {row['error']}")
        finally:
            keras.backend.clear_session()
            gc.collect()
        found["runs"].append(row)
    return {**found, **_summary(found)}


def _needs_data(folder: Path, methods: Sequence[Method]) -> bool:
    """Whether a run must hear its clips, since not all that is asked for lies in its folder."""
    path = folder / KEPT
    if not path.exists() or not (folder / "export" / "manifest.json").exists():
        return True
    return not {*map(str, methods)} <= {*read_json(path).get("methods", ())}


def _figures(
    run: Run, bundle: Bundle, data_dir: Path | None, methods: Sequence[Method], log: Log
) -> dict[str, Any]:
    """Accuracies of a run in percent; kept beside it as long as its network stays the same."""
    metrics = run.metrics()
    networks = [sha256_of(part) for part in bundle.network.parts]
    path = run.folder / KEPT
    kept: dict[str, Any] = read_json(path) if path.exists() else {}
    if kept.get("format") != _FORMAT or kept.get("networks") != networks:
        log(f"{run.folder}: int8 on the desktop")
        test = compute_features(run.dataset(data_dir), "test", bundle.frontend, log=log)
        hits = bundle.run_reference(test.clean).argmax(1) == test.labels
        kept = {
            "format": _FORMAT,
            "networks": networks,
            "clips": len(hits),
            "int8": 100 * float(hits.mean()),
            "methods": {},
        }
        write_json(path, kept)
    tried: dict[str, Any] = {}
    for method in methods:
        name = str(method)
        if name not in kept["methods"]:
            try:
                kept["methods"] |= method_figures(run, data_dir, [method], log)
            except ModelError as error:  # such as 16 bits on a layer that has no such form
                tried[name] = {"error": " ".join(str(error).split())}
                continue
            write_json(path, kept)
        tried[name] = kept["methods"][name]
    return {
        "parameters": metrics["parameters"],
        "macs": metrics["macs"],
        "model_bytes": bundle.network.size_bytes,
        "exported_by": bundle.manifest["quantization"]["method"],
        "clips": kept["clips"],
        "float": 100 * metrics["test"]["accuracy"],
        "float_validation": 100 * metrics["validation"]["accuracy"],
        "int8": kept["int8"],
        "methods": tried,
    }


def _board(certificate: Mapping[str, Any]) -> dict[str, Any]:
    """What a certificate says of the board; without an emulator of the host alone."""
    told = certificate.get("board")
    if told is None:
        return {"missing": certificate["missing"]}
    outputs = certificate["outputs"]
    different = [outputs["different_on_the_board"], outputs["different_in_tflm_on_the_host"]]
    return {
        "bytes_equal": not any(different),
        "clips": certificate["clips"]["count"],
        "instructions": told["model_instructions"],
        "frontend_instructions": told["frontend_instructions_per_frame"],
        "arena_bytes": certificate["arena"]["bytes"],
        "stack_bytes": told["stack_used_bytes"],
        "flash_bytes": told["flash_bytes"],
    }


def _summary(found: Mapping[str, Any]) -> dict[str, Any]:
    """Means over a cell's finished runs, and its budget."""
    runs = [run for run in found["runs"] if "error" not in run]
    if not runs:
        return {"summary": None, "budget": None}
    figures = [{**run, "lost_points": run["float"] - run["int8"]} for run in runs]
    keys = (*_MEANS, "float_validation")
    spread = summarise_folds([{key: run[key] for key in keys} for run in figures])
    methods = {
        name: summarise_folds([run["methods"][name] for run in runs])
        for name in runs[0]["methods"]
        if not any("error" in run["methods"][name] for run in runs)
    }
    model_bytes = max(run["model_bytes"] for run in runs)
    chosen = _chosen(methods)
    return {
        "summary": {**spread, "model_bytes": model_bytes, "methods": methods},
        "chosen_method": chosen,
        "chosen_lost_points": (
            spread["float"]["mean"] - 100 * methods[chosen]["accuracy"]["mean"] if chosen else None
        ),
        "budget": _budget(found["model"], found["board"], model_bytes),
    }


def _chosen(methods: Mapping[str, Any]) -> str | None:
    """The method of the best validation accuracy; of equal ones the first."""
    return max(methods, key=lambda name: methods[name]["validation_accuracy"]["mean"], default=None)


def _lost_by_network(cells: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """What the chosen methods lose on the test split, over all cells of a network."""
    lost: dict[str, list[float]] = {}
    answers: dict[str, int] = {}
    for cell in cells:
        if cell["summary"] and cell["chosen_method"]:
            name = cell["model"]["name"]
            lost.setdefault(name, []).append(cell["chosen_lost_points"])
            clips = sum(run["clips"] for run in cell["runs"] if "error" not in run)
            answers[name] = answers.get(name, 0) + clips
    return {
        name: {"cells": len(points), "answers": answers[name], "points": float(np.mean(points))}
        for name, points in lost.items()
    }


def _budget(
    model: Mapping[str, str], board: Mapping[str, Any] | None, model_bytes: int
) -> dict[str, Any] | None:
    """The budget of a preset of ours, and whether it holds; None where it has none."""
    if model["name"] not in OURS or model["preset"] not in BUDGETS:
        return None
    arena, network = BUDGETS[model["preset"]]
    holds = None
    if board and "missing" not in board:
        holds = board["arena_bytes"] <= arena and model_bytes <= network
    return {"arena_bytes": arena, "model_bytes": network, "holds": holds}


def _compare(grid: Grid, cells: Sequence[dict[str, Any]]) -> None:
    """Each cell against the grid's reference, and which rivals are better in both ways at once."""
    known = {tuple(cell["labels"].values()): cell for cell in cells}
    for cell in cells:
        labels = {**cell["labels"], **grid.reference}
        other = known.get(tuple(labels.values())) if grid.reference else None
        cell["against_reference"] = None
        if other is not None and other is not cell and _measured(cell) and _measured(other):
            cell["against_reference"] = {
                "int8_points": _int8(cell) - _int8(other),
                **{
                    key: cell["board"][key] / other["board"][key]
                    for key in ("instructions", "arena_bytes", "flash_bytes")
                },
                "model_bytes": cell["summary"]["model_bytes"] / other["summary"]["model_bytes"],
            }
        cell["dominated_by"] = [
            _name(rival) for rival in cells if _is_ours(cell) and _dominates(rival, cell)
        ]


def _dominates(rival: Mapping[str, Any], cell: Mapping[str, Any]) -> bool:
    """Whether a network of others is at least as accurate and as quick, and better in one."""
    if _is_ours(rival) or not (_measured(rival) and _measured(cell)):
        return False
    more = _int8(rival) - _int8(cell)
    fewer = cell["board"]["instructions"] - rival["board"]["instructions"]
    return more >= 0 and fewer >= 0 and (more > 0 or fewer > 0)


def _is_ours(cell: Mapping[str, Any]) -> bool:
    return cell["model"]["name"] in OURS


def _measured(cell: Mapping[str, Any]) -> bool:
    return bool(cell["summary"]) and bool(cell["board"]) and "missing" not in cell["board"]


def _int8(cell: Mapping[str, Any]) -> float:
    return float(cell["summary"]["int8"]["mean"])


def _name(cell: Mapping[str, Any]) -> str:
    return " / ".join(cell["labels"].values())


def _csv(report: Mapping[str, Any]) -> str:
    """One line a run; the board's figures stand in the line of the run that was on it."""
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
        done = [run for run in cell["runs"] if "error" not in run]
        for run in cell["runs"]:
            board = (cell["board"] or {}) if done and run is done[0] else {}
            tried = run.get("methods", {})
            shares = [
                100 * tried[method][key] if key in tried.get(method, {}) else ""
                for method in report["methods"]
                for key in ("validation_accuracy", "accuracy")
            ]
            row = [*cell["labels"].values(), *cell["model"].values()]
            row += [_blank(run.get(key)) for key in of_run]
            row += [_blank(board.get(key)) for key in of_board]
            writer.writerow([*row, *map(_blank, shares), run["run"], run.get("error", "")])
    return buffer.getvalue()


def _blank(value: Any) -> Any:
    if isinstance(value, float):
        return f"{value:.6g}"
    return "" if value is None else value


def _markdown(report: Mapping[str, Any], recipes: str) -> str:
    cells = report["cells"]
    clips = sorted({run["clips"] for cell in cells for run in cell["runs"] if "clips" in run})
    tested = f" Accuracy on {' or '.join(map(str, clips))} test clips," if clips else " Accuracy"
    lines = [
        f"# {report['title']}, on a board",
        "",
        f"Budget `{report['budget']}`, board `{report['board']}` (emulated).{tested} in percent: "
        "mean ± standard deviation over the seeds. int8 is what the export has, whose bytes are "
        "the board's. The board's figures are those of the first seed: instructions of one run of "
        "the network and of the front end for a frame, arena proven on the board with what "
        "planning needs, and the stack of a run from sound to label.",
        "",
        *_figures_table(cells),
        "",
        *_missing(cells),
        *_reference_table(report),
        *_methods_table(report),
        *_failures(cells),
        "## How",
        "",
        f"- command: `{report['command']}`",
        *(
            [f"- {report['kept']} of the runs: as an earlier call wrote them"]
            if report["kept"]
            else []
        ),
        f"- recipes come from the grid {recipes}",
        f"- written on {report['machine']['processor']}, {report['machine']['cores']} cores",
        f"- commit: {report['git_commit'] or 'unknown'}",
        f"- versions: {', '.join(f'{name} {v}' for name, v in report['versions'].items())}",
    ]
    return "\n".join(lines) + "\n"


def _row(values: Sequence[str]) -> str:
    return f"| {' | '.join(values)} |"


def _figures_table(cells: Sequence[Mapping[str, Any]]) -> list[str]:
    axes = list(cells[0]["labels"]) if cells else []
    head = [*axes, "float", "int8", "lost", "instructions", "front end, a frame", "arena", "stack"]
    head += ["flash", "network", "same bytes", "budget"]
    lines = [_row(head), _row(["---"] * len(head))]
    for cell in cells:
        summary, board = cell["summary"], cell["board"] or {}
        row = [*cell["labels"].values()]
        row += [_spread(summary[key]) for key in _MEANS] if summary else ["failed", "", ""]
        row += [_count(board.get(key)) for key in _COSTS]
        row.append(_count(summary["model_bytes"]) if summary else "")
        row.append({True: "yes", False: "NO", None: ""}[board.get("bytes_equal")])
        lines.append(_row([*row, _kept_to(cell["budget"])]))
    return lines


def _spread(figure: Mapping[str, Any]) -> str:
    spread = "" if figure["std"] is None else f" ± {figure['std']:.2f}"
    return f"{figure['mean']:.2f}{spread}"


def _count(value: int | None) -> str:
    return "" if value is None else f"{value:,}"


def _kept_to(budget: Mapping[str, Any] | None) -> str:
    if budget is None:
        return ""
    told = {True: "holds", False: "EXCEEDED", None: "not measured"}[budget["holds"]]
    return f"{told} ({budget['arena_bytes']:,} + {budget['model_bytes']:,})"


def _missing(cells: Sequence[Mapping[str, Any]]) -> list[str]:
    reasons = {cell["board"]["missing"] for cell in cells if "missing" in (cell["board"] or {})}
    return [line for reason in sorted(reasons) for line in (f"No board: {reason}.", "")]


def _reference_table(report: Mapping[str, Any]) -> list[str]:
    """Costs beside the reference's, and whether rivals are better in both ways at once."""
    if not report["reference"]:
        return []
    cells = [cell for cell in report["cells"] if cell["against_reference"]]
    named = " / ".join(report["reference"].values())
    axes = list(report["reference"])
    lines = [f"## Beside {named}", ""]
    if cells:
        head = [*axes, "int8, points", "instructions", "arena", "flash", "network"]
        lines += [_row(head), _row(["---"] * len(head))]
        for cell in cells:
            against = cell["against_reference"]
            keys = ("instructions", "arena_bytes", "flash_bytes", "model_bytes")
            ratios = [f"{against[key]:.2f} x" for key in keys]
            names = [cell["labels"][axis] for axis in axes]
            lines.append(_row([*names, f"{against['int8_points']:+.2f}", *ratios]))
        lines.append("")
    for cell in filter(_is_ours, report["cells"]):
        if _measured(cell):
            better = ", ".join(cell["dominated_by"])
            told = f"{better} is" if better else "no network of others is"
            lines.append(
                f"{_name(cell)}: {told} at least as accurate in int8 at no more instructions."
            )
    return [*lines, ""]


def _methods_table(report: Mapping[str, Any]) -> list[str]:
    if not report["methods"]:
        return []
    axes = list(report["cells"][0]["labels"]) if report["cells"] else []
    shown = ("float", *report["methods"])
    splits = [f"{one}, {split}" for one in shown for split in ("validation", "test")]
    head = [*axes, *splits, "chosen", "lost by it, test"]
    lines = ["## Methods of quantisation", "", _row(head), _row(["---"] * len(head))]
    for cell in report["cells"]:
        if not cell["summary"]:
            continue
        summary = cell["summary"]
        row = [*cell["labels"].values()]
        row += [_spread(summary[key]) for key in ("float_validation", "float")]
        for method in report["methods"]:
            found = summary["methods"].get(method)
            keys = ("validation_accuracy", "accuracy")
            row += [_percent(found[key]) if found else "failed" for key in keys]
        lost = cell["chosen_lost_points"]
        row += [cell["chosen_method"] or "none", "" if lost is None else f"{lost:.2f}"]
        lines.append(_row(row))
    told = "Validation chooses; test only reports. Points lost over all cells of a network:"
    lines += ["", told, ""]
    lines += [
        f"- {name}: {one['points']:.2f} (cells: {one['cells']}, answers: {one['answers']:,})"
        for name, one in report["chosen_lost_points"].items()
    ]
    return [*lines, ""]


def _percent(figure: Mapping[str, Any]) -> str:
    spread = None if figure["std"] is None else 100 * figure["std"]
    return _spread({"mean": 100 * figure["mean"], "std": spread})


def _failures(cells: Sequence[Mapping[str, Any]]) -> list[str]:
    told = []
    for cell in cells:
        for run in cell["runs"]:
            where = f"- {_name(cell)}, seed {run['seed']}"
            if "error" in run:
                told.append(f"{where}: {run['error']}")
            for method, found in run.get("methods", {}).items():
                if "error" in found:
                    told.append(f"{where}, {method}: {found['error']}")
    return ["## Failed", "", *told, ""] if told else []
