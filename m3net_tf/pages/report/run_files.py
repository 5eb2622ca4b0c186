# SPDX-License-Identifier: Apache-2.0
"""Tables that a training leaves in its run's folder: the history and the confusion matrix."""

import csv
from collections.abc import Sequence
from typing import TypedDict

import numpy as np
import numpy.typing as npt

from m3net_tf.system.errors import DataError
from m3net_tf.training.run import Run
from m3net_tf.training.scoring.metrics import wilson_interval

Counts = npt.NDArray[np.int64]
"""Clips by true class (rows) and answer."""


class ClassFigures(TypedDict):
    """A class: its test clips, recall and precision, None without clips or answers, as shares."""

    label: str
    clips: int
    recall: float | None
    recall_95: tuple[float, float]
    precision: float | None
    precision_95: tuple[float, float]


def class_figures(labels: Sequence[str], counts: Counts) -> list[ClassFigures]:
    """The figures of each class, with 95 % intervals by Wilson."""
    figures: list[ClassFigures] = []
    for index, label in enumerate(labels):
        hits = int(counts[index, index])
        clips, answers = int(counts[index].sum()), int(counts[:, index].sum())
        figures.append(
            {
                "label": label,
                "clips": clips,
                "recall": hits / clips if clips else None,
                "recall_95": wilson_interval(hits, clips),
                "precision": hits / answers if answers else None,
                "precision_95": wilson_interval(hits, answers),
            }
        )
    return figures


def read_history(run: Run) -> dict[str, list[float]]:
    """Columns of a run's ``history.csv``; missing values are NaN.

    Raises:
        DataError: the file is missing or damaged.
    """
    path = run.folder / "history.csv"
    try:
        rows = list(csv.DictReader(path.read_text().splitlines()))
        columns = {name: [float(row[name] or "nan") for row in rows] for name in rows[0]}
    except FileNotFoundError:
        raise DataError(f"{path} is missing: train the run again") from None
    except (IndexError, TypeError, ValueError):
        raise DataError(f"{path} is damaged: delete {run.folder} and train again") from None
    return columns


def read_confusion(run: Run) -> tuple[list[str], Counts]:
    """Labels and counts of a run's ``confusion_matrix.csv``: rows are true classes.

    Raises:
        DataError: the run has none, or it is damaged.
    """
    path = run.folder / "confusion_matrix.csv"
    try:
        lines = list(csv.reader(path.read_text().splitlines()))
        labels = lines[0][1:]
        counts = np.array([line[1:] for line in lines[1:]], np.int64)
        return labels, counts.reshape(len(labels), len(labels))
    except FileNotFoundError:
        raise DataError(f"{path} is missing: name a run of a single-label data set") from None
    except (IndexError, ValueError):
        raise DataError(f"{path} is damaged: train the run again") from None
