# SPDX-License-Identifier: Apache-2.0
"""A table's JSON: its results, and how they were made."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import platform
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from m3net_tf.artifacts import provenance
from m3net_tf.studies.grid import Grid, Training
from m3net_tf.studies.table_results import NOTED_DATA, CellResult

_NOTED = ("parameters", "macs", "best_epoch", "training_s", "git_commit", "design_sha256")


def table_report(
    grid: Grid,
    results: Sequence[CellResult],
    trainings: Iterable[Training],
    command: str,
) -> dict[str, Any]:
    """Content of a table's JSON.

    Args:
        grid: the table.
        results: its cells, in the grid's order.
        trainings: the trainings of all cells.
        command: the command line, quoted in the table.
    """
    keys = sorted({training.key for training in trainings})
    training_s: dict[str, float] = {}
    failed, kept = set(), set()
    for result in results:
        for run in result.runs:
            if run.kept:
                kept.add(run.key)
            if run.metrics:
                training_s[run.key] = run.metrics.get("training_s", 0.0)
            if run.error:
                failed.add(run.key)
    unmeasured = sum(1 for result in results if result.error and not result.runs)
    return {
        "table": grid.name,
        "title": grid.title,
        "paper": grid.paper,
        "paper_table": grid.table,
        "scale": grid.scale,
        "axes": {axis: list(labels) for axis, labels in grid.axes.items()},
        "reference": dict(grid.reference),
        "command": command,
        "recipes_sha256": hashlib.sha256(json.dumps(keys).encode()).hexdigest(),
        "runs": len(keys),
        "kept": len(kept),
        "failed": len(failed) + unmeasured,
        "training_s": round(sum(training_s.values()), 1),
        "machine": machine(),
        "cells": [_cell_values(result) for result in results],
        **provenance(),
    }


def machine() -> dict[str, Any]:
    """Processor and cores of this computer, and the accelerators that TensorFlow finds."""
    from m3net_tf.keras import tf

    processor = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        models = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
        processor = models[0] if models else processor
    except OSError:
        pass
    accelerators = [
        tf.config.experimental.get_device_details(device).get("device_name", device.device_type)
        for device in tf.config.list_physical_devices("GPU")
    ]
    return {"processor": processor, "cores": os.cpu_count(), "accelerators": accelerators}


def _cell_values(result: CellResult) -> dict[str, Any]:
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
    """The metrics of a run that a table needs to be written again without the run's folder."""
    figures = (metric, "accuracy_95_low", "accuracy_95_high")
    noted: dict[str, Any] = {key: metrics[key] for key in _NOTED if key in metrics}
    for part, keys in (("dataset", NOTED_DATA), ("test", figures), ("validation", figures)):
        section = metrics.get(part, {})
        noted[part] = {key: section[key] for key in keys if key in section}
    return noted
