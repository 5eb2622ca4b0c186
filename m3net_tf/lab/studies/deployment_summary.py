# SPDX-License-Identifier: Apache-2.0
"""Figures of a grid's networks on a board: means, chosen methods, limits, the reference."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from m3net_tf.boards.deployment.footprint import SIZE_LIMITS
from m3net_tf.lab.studies.deployment_record import (
    AgainstReference,
    BoardFigures,
    BoardMissing,
    CellSummary,
    DeployedCell,
    LostPoints,
    MeasuredCell,
    ModelName,
    SizeLimitFigures,
)
from m3net_tf.lab.studies.grid import Grid
from m3net_tf.training.metrics import summarise_folds

OURS = ("m3net", "spectromasknet", "bilateral", "diffres")
"""Networks of the papers; all others are rivals."""
MEANS = ("float", "int8", "lost_points")


def summary_of(cell: MeasuredCell) -> CellSummary:
    """Means over a measured cell's finished runs, and the limits of its preset."""
    runs = [run for run in cell["runs"] if "error" not in run]
    if not runs:
        return {"summary": None, "size_limit": None}
    figures = [{**run, "lost_points": run["float"] - run["int8"]} for run in runs]
    keys = (*MEANS, "float_validation")
    spread = summarise_folds([{key: run[key] for key in keys} for run in figures])
    methods = {
        name: summarise_folds([run["methods"][name] for run in runs])
        for name in runs[0]["methods"]
        if not any("error" in run["methods"][name] for run in runs)
    }
    model_bytes = max(run["model_bytes"] for run in runs)
    chosen = _chosen(methods)
    return {
        "summary": {
            "float": spread["float"],
            "int8": spread["int8"],
            "lost_points": spread["lost_points"],
            "float_validation": spread["float_validation"],
            "model_bytes": model_bytes,
            "methods": methods,
        },
        "chosen_method": chosen,
        "chosen_lost_points": (
            spread["float"]["mean"] - 100 * methods[chosen]["accuracy"]["mean"] if chosen else None
        ),
        "size_limit": _size_limit(cell["model"], cell["board"], model_bytes),
    }


def _chosen(methods: Mapping[str, Any]) -> str | None:
    """The method with the best validation accuracy; the first of equal ones."""
    return max(methods, key=lambda name: methods[name]["validation_accuracy"]["mean"], default=None)


def lost_by_network(cells: Sequence[DeployedCell]) -> dict[str, LostPoints]:
    """Points that the chosen methods lose on the test split: means over the cells of a network."""
    lost: dict[str, list[float]] = {}
    answers: dict[str, int] = {}
    for cell in cells:
        if (points := cell.get("chosen_lost_points")) is not None:
            name = cell["model"]["name"]
            lost.setdefault(name, []).append(points)
            clips = sum(run["clips"] for run in cell["runs"] if "error" not in run)
            answers[name] = answers.get(name, 0) + clips
    return {
        name: {"cells": len(points), "answers": answers[name], "points": float(np.mean(points))}
        for name, points in lost.items()
    }


def _size_limit(
    model: ModelName, board: BoardFigures | BoardMissing | None, model_bytes: int
) -> SizeLimitFigures | None:
    """Limits of a preset of ours, and whether they are kept; None if it has none."""
    if model["name"] not in OURS or model["preset"] not in SIZE_LIMITS:
        return None
    limit = SIZE_LIMITS[model["preset"]]
    holds = None
    if board and "missing" not in board:
        holds = limit.holds(board["arena_bytes"], model_bytes)
    return {"arena_bytes": limit.arena_bytes, "model_bytes": limit.model_bytes, "holds": holds}


def add_comparisons(grid: Grid, cells: Sequence[DeployedCell]) -> None:
    """Add to each cell its ratios to the grid's reference, and the rivals that dominate it.

    A rival dominates a network if it is at least as accurate and as fast, and better in one.
    """
    by_labels = {tuple(cell["labels"].values()): cell for cell in cells}
    for cell in cells:
        labels = {**cell["labels"], **grid.reference}
        reference = by_labels.get(tuple(labels.values())) if grid.reference else None
        if reference is None or reference is cell:
            cell["against_reference"] = None
        else:
            cell["against_reference"] = _against(cell, reference)
        cell["dominated_by"] = [
            labels_text(rival) for rival in cells if is_ours(cell) and _dominates(rival, cell)
        ]


def _against(cell: DeployedCell, reference: DeployedCell) -> AgainstReference | None:
    """A cell compared with the reference; None if one of them was not measured."""
    board, reference_board = _board_figures(cell), _board_figures(reference)
    summary, reference_summary = cell["summary"], reference["summary"]
    if not (board and reference_board and summary and reference_summary):
        return None
    return {
        "int8_points": _int8(cell) - _int8(reference),
        "instructions": board["instructions"] / reference_board["instructions"],
        "arena_bytes": board["arena_bytes"] / reference_board["arena_bytes"],
        "flash_bytes": board["flash_bytes"] / reference_board["flash_bytes"],
        "model_bytes": summary["model_bytes"] / reference_summary["model_bytes"],
    }


def _board_figures(cell: DeployedCell) -> BoardFigures | None:
    board = cell["board"]
    return board if board and "missing" not in board else None


def _dominates(rival: Mapping[str, Any], cell: Mapping[str, Any]) -> bool:
    """Whether a rival is at least as accurate and as fast as a cell, and better in one."""
    if is_ours(rival) or not (is_measured(rival) and is_measured(cell)):
        return False
    more = _int8(rival) - _int8(cell)
    fewer = cell["board"]["instructions"] - rival["board"]["instructions"]
    return more >= 0 and fewer >= 0 and (more > 0 or fewer > 0)


def is_ours(cell: Mapping[str, Any]) -> bool:
    """Whether a cell has a network of the papers."""
    return cell["model"]["name"] in OURS


def is_measured(cell: Mapping[str, Any]) -> bool:
    """Whether a cell has figures of the board."""
    return bool(cell["summary"]) and bool(cell["board"]) and "missing" not in cell["board"]


def _int8(cell: Mapping[str, Any]) -> float:
    return float(cell["summary"]["int8"]["mean"])


def labels_text(cell: Mapping[str, Any]) -> str:
    """A cell's labels in one line."""
    return " / ".join(cell["labels"].values())
