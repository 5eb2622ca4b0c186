# SPDX-License-Identifier: Apache-2.0
"""Figures of a grid's networks on a board: means, chosen methods, limits, the reference."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from m3net_tf.deployment.size_limits import SIZE_LIMITS
from m3net_tf.studies.grid import Grid
from m3net_tf.training.metrics import summarise_folds

OURS = ("m3net", "spectromasknet", "bilateral", "diffres")
"""Networks of the papers; all others are rivals."""
MEANS = ("float", "int8", "lost_points")


def summary_of(cell: Mapping[str, Any]) -> dict[str, Any]:
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
        "summary": {**spread, "model_bytes": model_bytes, "methods": methods},
        "chosen_method": chosen,
        "chosen_lost_points": (
            spread["float"]["mean"] - 100 * methods[chosen]["accuracy"]["mean"] if chosen else None
        ),
        "size_limit": _size_limit(cell["model"], cell["board"], model_bytes),
    }


def _chosen(methods: Mapping[str, Any]) -> str | None:
    """The method with the best validation accuracy; the first of equal ones."""
    return max(methods, key=lambda name: methods[name]["validation_accuracy"]["mean"], default=None)


def lost_by_network(cells: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Points that the chosen methods lose on the test split: means over the cells of a network."""
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


def _size_limit(
    model: Mapping[str, str], board: Mapping[str, Any] | None, model_bytes: int
) -> dict[str, Any] | None:
    """Limits of a preset of ours, and whether they are kept; None if it has none."""
    if model["name"] not in OURS or model["preset"] not in SIZE_LIMITS:
        return None
    limit = SIZE_LIMITS[model["preset"]]
    holds = None
    if board and "missing" not in board:
        holds = limit.holds(board["arena_bytes"], model_bytes)
    return {**dataclasses.asdict(limit), "holds": holds}


def add_comparisons(grid: Grid, cells: Sequence[dict[str, Any]]) -> None:
    """Add to each cell its ratios to the grid's reference, and the rivals that dominate it.

    A rival dominates a network if it is at least as accurate and as fast, and better in one.
    """
    by_labels = {tuple(cell["labels"].values()): cell for cell in cells}
    for cell in cells:
        labels = {**cell["labels"], **grid.reference}
        reference = by_labels.get(tuple(labels.values())) if grid.reference else None
        cell["against_reference"] = None
        if reference is cell:
            reference = None
        if reference and is_measured(cell) and is_measured(reference):
            cell["against_reference"] = {
                "int8_points": _int8(cell) - _int8(reference),
                **{
                    key: cell["board"][key] / reference["board"][key]
                    for key in ("instructions", "arena_bytes", "flash_bytes")
                },
                "model_bytes": cell["summary"]["model_bytes"] / reference["summary"]["model_bytes"],
            }
        cell["dominated_by"] = [
            labels_text(rival) for rival in cells if is_ours(cell) and _dominates(rival, cell)
        ]


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
