# SPDX-License-Identifier: Apache-2.0
"""Figures of a grid's networks on a board: means, chosen methods, limits, the reference."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd

from m3net_tf.boards.deployment.footprint import SIZE_LIMITS
from m3net_tf.lab.studies.deployment_record import (
    AgainstReference,
    BoardFigures,
    CellSummary,
    DeployedCell,
    LostPoints,
    MeasuredCell,
    SizeLimitFigures,
)
from m3net_tf.lab.studies.grid import Grid
from m3net_tf.training.metrics import Spread, summarise_folds

OURS = ("m3net", "spectromasknet", "bilateral", "diffres")
"""Networks of the papers; all others are rivals."""


def summary_of(cell: MeasuredCell) -> CellSummary:
    """Means over a measured cell's finished runs, and the limits of its preset."""
    runs = [run for run in cell["runs"] if "error" not in run]
    if not runs:
        return {"summary": None, "size_limit": None}
    spread = summarise_folds(
        [
            {
                "float": run["float"],
                "int8": run["int8"],
                "lost_points": run["float"] - run["int8"],
                "float_validation": run["float_validation"],
            }
            for run in runs
        ]
    )
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
        "size_limit": _size_limit(cell, model_bytes),
    }


def _chosen(methods: Mapping[str, Mapping[str, Spread]]) -> str | None:
    """The method with the best validation accuracy; the first of equal ones."""
    return max(methods, key=lambda name: methods[name]["validation_accuracy"]["mean"], default=None)


def lost_by_network(cells: Sequence[DeployedCell]) -> dict[str, LostPoints]:
    """Points that the chosen methods lose on the test split: means over the cells of a network."""
    rows = [
        {
            "network": cell["model"]["name"],
            "points": points,
            "answers": sum(run["clips"] for run in cell["runs"] if "error" not in run),
        }
        for cell in cells
        if (points := cell.get("chosen_lost_points")) is not None
    ]
    frame = pd.DataFrame(rows, columns=["network", "points", "answers"])
    return {
        str(name): {
            "cells": len(own),
            "answers": int(own["answers"].sum()),
            "points": float(own["points"].mean()),
        }
        for name, own in frame.groupby("network", sort=False)
    }


def _size_limit(cell: MeasuredCell, model_bytes: int) -> SizeLimitFigures | None:
    """Limits of a preset of ours, and whether they are kept; None if it has none."""
    preset = cell["model"]["preset"]
    if not is_ours(cell) or preset not in SIZE_LIMITS:
        return None
    limit, board = SIZE_LIMITS[preset], board_figures(cell)
    return {
        "arena_bytes": limit.arena_bytes,
        "model_bytes": limit.model_bytes,
        "holds": limit.holds(board["arena_bytes"], model_bytes) if board else None,
    }


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
    board, reference_board = board_figures(cell), board_figures(reference)
    summary, reference_summary = cell["summary"], reference["summary"]
    if not (board and reference_board and summary and reference_summary):
        return None
    return {
        "int8_points": summary["int8"]["mean"] - reference_summary["int8"]["mean"],
        "instructions": board["instructions"] / reference_board["instructions"],
        "arena_bytes": board["arena_bytes"] / reference_board["arena_bytes"],
        "flash_bytes": board["flash_bytes"] / reference_board["flash_bytes"],
        "model_bytes": summary["model_bytes"] / reference_summary["model_bytes"],
    }


def _dominates(rival: DeployedCell, cell: DeployedCell) -> bool:
    """Whether a rival is at least as accurate and as fast as a cell, and better in one."""
    against = None if is_ours(rival) else _against(rival, cell)
    if against is None:
        return False
    more, cost = against["int8_points"], against["instructions"]
    return more >= 0 and cost <= 1 and (more > 0 or cost < 1)


def is_ours(cell: MeasuredCell) -> bool:
    """Whether a cell has a network of the papers."""
    return cell["model"]["name"] in OURS


def board_figures(cell: MeasuredCell) -> BoardFigures | None:
    """The figures of a cell on the board; None if it was not measured there."""
    board = cell["board"]
    return board if board and "missing" not in board else None


def labels_text(cell: MeasuredCell) -> str:
    """A cell's labels in one line."""
    return " / ".join(cell["labels"].values())
