# SPDX-License-Identifier: Apache-2.0
"""Scores of detected events against annotations, by events and by segments of time.

The definitions are from sed_eval (A. Mesaros, T. Heittola and T. Virtanen, "Metrics for
polyphonic sound event detection", Applied Sciences 6(6), 2016), with its default settings.
"""

from __future__ import annotations

import dataclasses
import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import TypedDict

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array
from scipy.sparse.csgraph import maximum_bipartite_matching

from m3net_tf.audio.annotations.events import SoundEvent

COLLAR_S = 0.2
"""Most by which a start may differ, and an end."""
LENGTH_SHARE = 0.5
"""Share of the annotated length by which an end may differ, if that is more."""
SEGMENT_S = 1.0
_ROUNDING_S = 1e-9  # of differences of times in decimals: 1.2 - 1.0 is more than 0.2


class Figures(TypedDict):
    """:class:`Counts` in JSON; None where a figure is not defined."""

    annotated: int
    detected: int
    correct: int
    precision: float | None
    recall: float | None
    f1: float | None
    error_rate: float | None


@dataclasses.dataclass(frozen=True)
class Counts:
    """What was annotated, what was detected, and what of it agrees.

    Attributes:
        annotated: number of annotated events, or of segments of classes that have some.
        detected: the same of detected ones.
        correct: number of those that agree.
        substitutions: annotated ones for which one of another class was detected.
    """

    annotated: int = 0
    detected: int = 0
    correct: int = 0
    substitutions: int = 0

    def __add__(self, other: Counts) -> Counts:
        return Counts(
            self.annotated + other.annotated,
            self.detected + other.detected,
            self.correct + other.correct,
            self.substitutions + other.substitutions,
        )

    @property
    def deletions(self) -> int:
        """Annotated ones for which nothing was detected."""
        return self.annotated - self.correct - self.substitutions

    @property
    def insertions(self) -> int:
        """Detected ones where nothing was annotated."""
        return self.detected - self.correct - self.substitutions

    def to_dict(self) -> Figures:
        """Plain values, with precision, recall, their harmonic mean F1, and error rate.

        The error rate is (substitutions + deletions + insertions) / annotated.
        """
        errors = self.substitutions + self.deletions + self.insertions
        return {
            "annotated": self.annotated,
            "detected": self.detected,
            "correct": self.correct,
            "precision": _share(self.correct, self.detected),
            "recall": _share(self.correct, self.annotated),
            "f1": _share(2 * self.correct, self.annotated + self.detected),
            "error_rate": _share(errors, self.annotated),
        }


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None


@dataclasses.dataclass(frozen=True)
class Scores:
    """Counts of all classes together, and of each; a class alone has no substitutions."""

    all: Counts
    classes: dict[str, Counts]

    def __add__(self, other: Scores) -> Scores:
        classes = defaultdict(Counts, self.classes)
        for label, counts in other.classes.items():
            classes[label] += counts
        return Scores(self.all + other.all, dict(classes))


Scorer = Callable[[Sequence[SoundEvent], Sequence[SoundEvent]], Scores]
"""Scores the detected events of a recording, the second, against the annotated ones."""


def event_based(annotated: Sequence[SoundEvent], detected: Sequence[SoundEvent]) -> Scores:
    """Scores of whole events of a recording.

    A detected event is correct if its class is, its start differs by at most :data:`COLLAR_S`, and
    its end by at most that or :data:`LENGTH_SHARE` of the annotated length. Each event is matched
    once, so that most are correct. Of the others, an annotated and a detected one at the same time
    are a substitution.
    """
    annotated, detected = sorted(annotated), sorted(detected)
    near = _near(annotated, detected)
    same = np.array([[a.label == d.label for d in detected] for a in annotated], bool)
    correct = maximum_bipartite_matching(csr_array(near & same.reshape(near.shape)), "column")
    matched = dict(zip(*_pairs(correct), strict=True))
    free = near.copy()
    free[list(matched)] = False
    free[:, list(matched.values())] = False
    classes = {}
    for label in sorted({event.label for event in (*annotated, *detected)}):
        classes[label] = Counts(
            sum(event.label == label for event in annotated),
            sum(event.label == label for event in detected),
            sum(annotated[index].label == label for index in matched),
        )
    overall = Counts(len(annotated), len(detected), len(matched), _first_matches(free))
    return Scores(overall, classes)


def _pairs(columns: npt.NDArray[np.int32]) -> tuple[list[int], list[int]]:
    """Rows with a column, and their columns."""
    rows = np.flatnonzero(columns >= 0)
    return rows.tolist(), columns[rows].tolist()


def _near(annotated: Sequence[SoundEvent], detected: Sequence[SoundEvent]) -> npt.NDArray[np.bool_]:
    """Which events begin and end at the same time, shape (annotated, detected)."""
    true = np.array([(e.start_s, e.end_s) for e in annotated], float).reshape(-1, 1, 2)
    found = np.array([(e.start_s, e.end_s) for e in detected], float).reshape(1, -1, 2)
    apart = np.abs(true - found) - _ROUNDING_S
    lengths = true[..., 1] - true[..., 0]
    ends = np.maximum(COLLAR_S, LENGTH_SHARE * lengths)
    return np.asarray((apart[..., 0] <= COLLAR_S) & (apart[..., 1] <= ends))


def _first_matches(near: npt.NDArray[np.bool_]) -> int:
    """Rows that get a column of their own, each the first that is left, as in sed_eval."""
    left = np.ones(near.shape[1], bool)
    matches = 0
    for row in near:
        columns = np.flatnonzero(row & left)
        if len(columns):
            left[columns[0]] = False
            matches += 1
    return matches


def segment_based(annotated: Sequence[SoundEvent], detected: Sequence[SoundEvent]) -> Scores:
    """Scores of segments of :data:`SEGMENT_S` of a recording.

    A class is in a segment if one of its events is, if only for a moment. In each segment, classes
    that are detected instead of others are substitutions.
    """
    labels = sorted({event.label for event in (*annotated, *detected)})
    segments = max((_segment(e)[1] for e in (*annotated, *detected)), default=0)
    true, found = (_roll(events, labels, segments) for events in (annotated, detected))
    correct = true & found
    of_class = zip(
        true.sum(0).tolist(), found.sum(0).tolist(), correct.sum(0).tolist(), strict=True
    )
    classes = {label: Counts(*sums) for label, sums in zip(labels, of_class, strict=True)}
    swapped = np.minimum(true.sum(1), found.sum(1)) - correct.sum(1)
    sums = (int(part.sum()) for part in (true, found, correct, swapped))
    return Scores(Counts(*sums), classes)


def _segment(event: SoundEvent) -> tuple[int, int]:
    """The first segment of an event, and the one after its last."""
    return math.floor(event.start_s / SEGMENT_S), math.ceil(event.end_s / SEGMENT_S)


def _roll(
    events: Sequence[SoundEvent], labels: Sequence[str], segments: int
) -> npt.NDArray[np.bool_]:
    """Which class is in which segment, shape (segments, classes)."""
    roll = np.zeros((segments, len(labels)), bool)
    for event in events:
        roll[slice(*_segment(event)), labels.index(event.label)] = True
    return roll
