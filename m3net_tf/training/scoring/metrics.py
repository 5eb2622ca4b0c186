# SPDX-License-Identifier: Apache-2.0
"""Metrics of a classifier."""

from __future__ import annotations

import dataclasses
import math
import statistics
from collections.abc import Mapping, Sequence
from typing import NotRequired, TypedDict

import numpy as np
import numpy.typing as npt

from m3net_tf.system.artifacts import csv_table

_Z_95 = 1.959963984540054


def wilson_interval(hits: float, trials: float) -> tuple[float, float]:
    """95 % interval of a proportion (Wilson, 1927): valid for small sets and near 0 and 1.

    Numbers of clips that are not independent may be effective ones, which are not whole.
    """
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


class MacroAverages(TypedDict):
    """Means of precision, recall and F1 over the classes with clips."""

    macro_precision: float
    macro_recall: float
    macro_f1: float


class LabelFigures(MacroAverages):
    """Figures of a split; shares of clips.

    Attributes:
        listed_clips: figures of the clips that the publisher lists; absent if it lists all.
    """

    clips: int
    accuracy: float
    accuracy_95_low: float
    accuracy_95_high: float
    recall: dict[str, float]
    listed_clips: NotRequired[LabelFigures]


class MultiLabelFigures(MacroAverages):
    """Figures of a split of a data set whose clips have several labels, at a threshold of 0.5.

    Attributes:
        mean_average_precision: over the classes with clips.
        mean_auc: mean area under the ROC curve over the classes that some clips have and others
            lack; None without such classes.
        d_prime: separation of two normal distributions with this area, sqrt(2) times the quantile
            of ``mean_auc``; None if it is infinite.
    """

    clips: int
    mean_average_precision: float
    mean_auc: float | None
    d_prime: float | None
    average_precision: dict[str, float]


class ClassScores(TypedDict):
    """How well a class of clips with several labels is recognised, at its threshold.

    Attributes:
        clips: number of clips that have the class.
        average_precision: None without such clips, as ``recall``.
        precision: None if no clip reaches the threshold.
    """

    clips: int
    average_precision: float | None
    threshold: float
    precision: float | None
    recall: float | None


def _macro_averages(
    hits: npt.NDArray[np.int64], clips: npt.NDArray[np.int64], answers: npt.NDArray[np.int64]
) -> MacroAverages:
    """Averages over the classes with clips, from the counts of each class, shape (classes,)."""
    present = clips > 0
    if not present.any():
        return {"macro_precision": 0.0, "macro_recall": 0.0, "macro_f1": 0.0}
    recall = hits / np.maximum(clips, 1)
    precision = hits / np.maximum(answers, 1)
    f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-12)
    return {
        "macro_precision": float(precision[present].mean()),
        "macro_recall": float(recall[present].mean()),
        "macro_f1": float(f1[present].mean()),
    }


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """Result of a single-label classification.

    Attributes:
        matrix: confusion matrix, shape (classes, classes).
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
        """Share of correctly classified clips."""
        return float(np.trace(self.matrix) / max(self.clips, 1))

    def to_dict(self) -> LabelFigures:
        """Plain values: accuracy with its 95 % interval, macro averages and recall per class."""
        hits = np.diag(self.matrix)
        clips = self.matrix.sum(1)
        low, high = wilson_interval(int(hits.sum()), self.clips)
        return {
            "clips": self.clips,
            "accuracy": self.accuracy,
            "accuracy_95_low": low,
            "accuracy_95_high": high,
            **_macro_averages(hits, clips, self.matrix.sum(0)),  # type: ignore[typeddict-item]
            "recall": {
                label: float(hit / count)
                for label, hit, count in zip(self.labels, hits, clips, strict=True)
                if count
            },
        }

    def to_csv(self) -> str:
        """The confusion matrix as CSV: rows are true classes, columns predicted classes."""
        rows = [(label, *row) for label, row in zip(self.labels, self.matrix, strict=True)]
        return csv_table(["true\\predicted", *self.labels], rows)


def average_precision(
    truth: npt.NDArray[np.generic], scores: npt.NDArray[np.floating]
) -> npt.NDArray[np.float64]:
    """Average precision of each class: the mean of the precision at the ranks of its clips.

    Clips with equal scores share the last one's rank; there is no interpolation. FSD50K (Fonseca
    et al., 2022, section V.C) and AudioSet use this metric.

    Args:
        truth: non-zero if a clip has a class, shape (clips, classes).
        scores: higher means likelier, same shape.

    Returns:
        Shape (classes,); NaN for classes without clips.
    """
    from sklearn.metrics import average_precision_score  # takes a second to import

    columns = zip((np.asarray(truth) != 0).T, scores.T, strict=True)
    return np.array([average_precision_score(*c) if c[0].any() else np.nan for c in columns])


_INT8_SCORES = (1 / 256, 255 / 256)  # above 0
DEFAULT_THRESHOLD = 0.5
"""Of a class without clips."""


def best_thresholds(
    truth: npt.NDArray[np.generic], scores: npt.NDArray[np.floating]
) -> npt.NDArray[np.float64]:
    """Threshold of each class with the best F1, shape (classes,), which int8 scores can reach.

    It is halfway between the lowest score that it accepts and the next lower one, or 0; of equal F1
    the highest counts, which accepts the fewest clips.

    Args:
        truth: non-zero if a clip has a class, shape (clips, classes).
        scores: 0 to 1, same shape.
    """
    thresholds = []
    for own, values in zip((np.asarray(truth) != 0).T, scores.T, strict=True):
        if not own.any():
            thresholds.append(DEFAULT_THRESHOLD)
            continue
        order = np.argsort(-values, kind="stable")
        ranked = values[order].astype(np.float64)
        last = np.append(np.diff(ranked) < 0, True)  # of equal scores
        f1 = (2 * np.cumsum(own[order]) / (np.arange(1, len(own) + 1) + own.sum()))[last]
        accepted = np.append(ranked[last], 0.0)
        best = int(f1.argmax())  # the first of equals, which is the highest
        thresholds.append(float(accepted[best] + accepted[best + 1]) / 2)
    return np.clip(thresholds, *_INT8_SCORES)


def roc_auc(
    truth: npt.NDArray[np.generic], scores: npt.NDArray[np.floating]
) -> npt.NDArray[np.float64]:
    """Area under the ROC curve of each class.

    It is the probability that a clip of the class scores higher than another clip; equal scores
    count half. Table 3 of DiffRes gives its mean over the classes for AudioSet.

    Args:
        truth: non-zero if a clip has a class, shape (clips, classes).
        scores: higher means likelier, same shape.

    Returns:
        Shape (classes,); NaN for classes that all clips have or lack.
    """
    from sklearn.metrics import roc_auc_score  # takes a second to import

    columns = zip((np.asarray(truth) != 0).T, scores.T, strict=True)
    return np.array([roc_auc_score(*c) if 0 < c[0].mean() < 1 else np.nan for c in columns])


def d_prime(auc: float | None) -> float | None:
    """Separation of two normal distributions, in standard deviations, from the area under the ROC.

    None for no area, and where it is infinite.
    """
    if auc is None or not 0 < auc < 1:
        return None
    return math.sqrt(2) * statistics.NormalDist().inv_cdf(auc)


@dataclasses.dataclass(frozen=True)
class MultiLabelEvaluation:
    """Result of a multi-label classification.

    Attributes:
        truth: non-zero if a clip has a class, shape (clips, classes).
    """

    truth: npt.NDArray[np.generic]
    probabilities: npt.NDArray[np.floating]
    labels: tuple[str, ...]

    @property
    def mean_average_precision(self) -> float:
        """Mean of :func:`average_precision` over the classes with clips."""
        values = average_precision(self.truth, self.probabilities)
        return float(np.nanmean(values)) if np.isfinite(values).any() else 0.0

    @property
    def mean_auc(self) -> float | None:
        """Mean of :func:`roc_auc` over the classes that have one."""
        values = roc_auc(self.truth, self.probabilities)
        return float(np.nanmean(values)) if np.isfinite(values).any() else None

    def thresholds(self) -> dict[str, float]:
        """Threshold of each class by :func:`best_thresholds`, to four digits."""
        values = best_thresholds(self.truth, self.probabilities)
        return {label: round(float(t), 4) for label, t in zip(self.labels, values, strict=True)}

    def by_class(self, thresholds: Mapping[str, float]) -> dict[str, ClassScores]:
        """Figures of each class at its threshold.

        Args:
            thresholds: threshold of each class; :data:`DEFAULT_THRESHOLD` of one without.
        """
        truth = np.asarray(self.truth) != 0
        precisions = average_precision(truth, self.probabilities)
        figures: dict[str, ClassScores] = {}
        for index, label in enumerate(self.labels):
            threshold = thresholds.get(label, DEFAULT_THRESHOLD)
            answers = self.probabilities[:, index] >= threshold
            clips, found = int(truth[:, index].sum()), int((truth[:, index] & answers).sum())
            figures[label] = {
                "clips": clips,
                "average_precision": float(precisions[index]) if clips else None,
                "threshold": threshold,
                "precision": found / int(answers.sum()) if answers.any() else None,
                "recall": found / clips if clips else None,
            }
        return figures

    def to_dict(self) -> MultiLabelFigures:
        """Plain values: mAP, AUC, macro averages at a threshold of 0.5, average precision by class.

        Classes without clips are ignored.
        """
        truth = np.asarray(self.truth) != 0
        predicted = self.probabilities >= 0.5
        clips = truth.sum(0)
        values = average_precision(truth, self.probabilities)
        auc = self.mean_auc
        return {
            "clips": len(truth),
            "mean_average_precision": self.mean_average_precision,
            "mean_auc": auc,
            "d_prime": d_prime(auc),
            **_macro_averages((truth & predicted).sum(0), clips, predicted.sum(0)),
            "average_precision": {
                label: float(value)
                for label, value, count in zip(self.labels, values, clips, strict=True)
                if count
            },
        }
