# SPDX-License-Identifier: Apache-2.0
"""Figures of merit of a classifier."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

_Z_95 = 1.959963984540054


def wilson_interval(hits: int, trials: int) -> tuple[float, float]:
    """95 % interval of a proportion (Wilson, 1927): sound for small sets and near 0 and 1."""
    if trials == 0:
        return 0.0, 1.0
    share, z2 = hits / trials, _Z_95**2
    centre = (share + z2 / (2 * trials)) / (1 + z2 / trials)
    half = (
        _Z_95 / (1 + z2 / trials) * math.sqrt(share * (1 - share) / trials + z2 / (4 * trials**2))
    )
    return max(0.0, centre - half), min(1.0, centre + half)


def confusion_matrix(
    truth: npt.ArrayLike, predicted: npt.ArrayLike, classes: int
) -> npt.NDArray[np.int64]:
    """Counts of clips, shape (classes, classes): row = true class, column = predicted class."""
    matrix = np.zeros((classes, classes), np.int64)
    np.add.at(matrix, (np.asarray(truth), np.asarray(predicted)), 1)
    return matrix


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """How well a set of clips was recognised.

    Attributes:
        matrix: confusion matrix, shape (classes, classes).
        labels: names of the classes.
    """

    matrix: npt.NDArray[np.int64]
    labels: tuple[str, ...]

    @classmethod
    def of(
        cls, truth: npt.ArrayLike, predicted: npt.ArrayLike, labels: Sequence[str]
    ) -> Evaluation:
        """Compare true and predicted class indices, each of shape (clips,)."""
        return cls(confusion_matrix(truth, predicted, len(labels)), tuple(labels))

    @property
    def clips(self) -> int:
        """Number of clips."""
        return int(self.matrix.sum())

    @property
    def accuracy(self) -> float:
        """Share of clips whose class was found."""
        return float(np.trace(self.matrix) / max(self.clips, 1))

    def to_dict(self) -> dict[str, Any]:
        """Plain values: accuracy with its 95 % interval, macro averages and recall per class."""
        hits = np.diag(self.matrix).astype(float)
        recall = hits / np.maximum(self.matrix.sum(1), 1)
        precision = hits / np.maximum(self.matrix.sum(0), 1)
        f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-12)
        present = self.matrix.sum(1) > 0
        low, high = wilson_interval(int(hits.sum()), self.clips)
        return {
            "clips": self.clips,
            "accuracy": self.accuracy,
            "accuracy_95_low": low,
            "accuracy_95_high": high,
            "macro_precision": float(precision[present].mean()) if present.any() else 0.0,
            "macro_recall": float(recall[present].mean()) if present.any() else 0.0,
            "macro_f1": float(f1[present].mean()) if present.any() else 0.0,
            "recall": {
                label: float(value)
                for label, value, there in zip(self.labels, recall, present, strict=True)
                if there
            },
        }

    def to_csv(self) -> str:
        """The confusion matrix as CSV, true classes down, predicted ones across."""
        rows = [",".join(["true\\predicted", *self.labels])]
        for label, row in zip(self.labels, self.matrix, strict=True):
            rows.append(",".join([label, *map(str, row)]))
        return "\n".join(rows) + "\n"
