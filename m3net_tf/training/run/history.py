# SPDX-License-Identifier: Apache-2.0
"""Validation scores of a run's epochs, while it is trained and afterwards."""

import csv
from pathlib import Path

_COLUMNS = ("validation_accuracy", "validation_map")


def epoch_scores(folder: Path) -> list[float]:
    """Validation score of each epoch that a run has trained, from ``history.csv``; [] without."""
    try:
        with (folder / "history.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        column = next(name for name in _COLUMNS if rows and rows[0].get(name))
        return [float(row[column]) for row in rows]
    except (OSError, StopIteration, ValueError, TypeError):  # it may be cut off
        return []
