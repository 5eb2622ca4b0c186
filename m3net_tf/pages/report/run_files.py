# SPDX-License-Identifier: Apache-2.0
"""Tables that a training leaves in its run's folder: the history and the confusion matrix."""

import csv

import numpy as np
import numpy.typing as npt

from m3net_tf.system.errors import DataError
from m3net_tf.training.run import Run


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


def read_confusion(run: Run) -> tuple[list[str], npt.NDArray[np.int64]]:
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
