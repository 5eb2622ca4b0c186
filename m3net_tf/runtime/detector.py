# SPDX-License-Identifier: Apache-2.0
"""Converts scores to events: the reference of ``firmware/core/detector.c``, equal in every step.

:class:`Detector` processes column by column like the device. :func:`detect` computes the same
events for a whole recording at once, for tuning. All arithmetic uses integers.
"""

import collections
import dataclasses
import enum
import heapq
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from m3net_tf.runtime.detector_config import ClassSettings, DetectorConfig
from m3net_tf.system.errors import ConfigError

_WRAP = 2**32
_NEVER = np.iinfo(np.int64).max


@dataclasses.dataclass(frozen=True, slots=True)
class Event:
    """A detected sound.

    Attributes:
        column: number of columns between the start or last reset and the column that completed the
            event; wraps at 2^32.
        score: the smoothed score, in 65536ths of full scale.
    """

    column: int
    label: int
    score: int


class Refusal(enum.Enum):
    """Why a class triggers no event; in the order in which they are checked."""

    NEVER = "never"  #: The class triggers no events.
    THRESHOLD = "threshold"  #: The smoothed score is below the threshold.
    HITS = "hits"  #: Too few hits in a row so far.
    ACTIVE = "active"  #: The event before is not over: the score has not fallen below release.
    SUPPRESSED = "suppressed"  #: Too soon after the event before.


class Detector:
    """Decides when to run the model and when its scores are an event; see ``detector.h``."""

    def __init__(self, config: DetectorConfig) -> None:
        self.config = config
        self.reset()

    def reset(self) -> None:
        """Restart: columns, runs and events are counted from 0."""
        self.columns = self.runs = self.skipped_runs = self.events = 0
        classes = len(self.config.classes)
        self._until_run = self.config.window_columns
        self._open_columns = 0
        self._newest = 0
        self._history = [[0] * classes for _ in range(self.config.history_runs)]
        self._sums = [0] * classes
        self._quiet_columns = [0] * classes
        self._hits = [0] * classes
        self._active = [False] * classes
        self._waiting = [0] * classes  # the score with which it was outranked in the last run

    def set_class(self, label: int, settings: ClassSettings) -> None:
        """Change the settings of a class from the next run on.

        Raises:
            ConfigError: its window is longer than the detector's history.
        """
        rows = len(self._history)
        if settings.window_runs > rows:
            raise ConfigError(
                f"detector.classes.{settings.label}.window_runs is {settings.window_runs}: the "
                f"detector keeps the scores of {rows} runs; give at most {rows}"
            )
        classes = list(self.config.classes)
        classes[label] = settings
        self.config = dataclasses.replace(self.config, classes=tuple(classes))
        self._hits[label] = self._waiting[label] = 0
        newest = (self._history[(self._newest - i) % rows] for i in range(settings.window_runs))
        self._sums[label] = sum(row[label] for row in newest)

    def wants_inference(self, column: Sequence[int] | npt.NDArray[np.int8]) -> bool:
        """Process the next column of features.

        Returns:
            Whether the caller must run the model on the window that ends with this column, and pass
            its scores to :meth:`step` before the next column.
        """
        return self.wants_inference_at(sum(map(int, column[: self.config.gate_bins])))

    def wants_inference_at(self, level: int) -> bool:
        """:meth:`wants_inference`, given the sum of the column's first ``gate_bins`` features."""
        self.columns = (self.columns + 1) % _WRAP
        is_open = True
        if level >= self.config.gate_sum:
            self._open_columns = self.config.gate_hold_columns
        elif self._open_columns > 0:
            self._open_columns -= 1
        else:
            is_open = False
        self._until_run -= 1
        if self._until_run > 0:
            return False
        self._until_run = self.config.run_columns
        if is_open:
            return True
        self.skipped_runs = (self.skipped_runs + 1) % _WRAP
        self._advance(None)
        return False

    def runs_ahead(self, levels: npt.NDArray[np.int32]) -> npt.NDArray[np.int64]:
        """The next columns, by their index, at which :meth:`wants_inference_at` will be true.

        Scores do not matter, so the model can run over all of their windows at once.

        Args:
            levels: sums of the columns' first ``gate_bins`` features, shape (columns,).
        """
        due = np.arange(self._until_run - 1, len(levels), self.config.run_columns)
        return due[gate_open(self.config, levels, self._open_columns)[due]]

    def step(self, scores: Sequence[int] | npt.NDArray[np.int8]) -> Event | None:
        """Process the int8 scores of a run, shape (classes,)."""
        self.runs = (self.runs + 1) % _WRAP
        self._advance([int(score) for score in scores])
        due = [label for label in range(len(self._hits)) if self.refusal(label) is None]
        if not due:
            return None
        # The first if several are equal.
        best = max(due, key=lambda label: max(self.score(label), self._waiting[label]))
        score = max(self.score(best), self._waiting[best])
        if self.config.several_labels:
            for label in due:
                waited = max(self.score(label), self._waiting[label])
                self._waiting[label] = 0 if label == best else waited
        self.events = (self.events + 1) % _WRAP
        self._active[best] = True
        self._quiet_columns[best] = self.config.classes[best].suppression_columns
        return Event((self.columns - 1) % _WRAP, best, score)

    def score(self, label: int) -> int:
        """Smoothed score of a class after the last run, in 65536ths of full scale."""
        return 256 * self._sums[label] // self.config.classes[label].window_runs

    def newest_score(self, label: int) -> int:
        """Score of a class in the last run alone, in 65536ths of full scale."""
        return 256 * self._history[self._newest][label]

    def _advance(self, scores: list[int] | None) -> None:
        """Update the state for a run, or for one that the gate skipped (None)."""
        rows = len(self._history)
        self._newest = (self._newest + 1) % rows
        newest = self._history[self._newest]
        for label, settings in enumerate(self.config.classes):
            leaving = self._history[(self._newest - settings.window_runs) % rows][label]
            newest[label] = 0 if scores is None else scores[label] + 128
            self._sums[label] += newest[label] - leaving
            quiet = self._quiet_columns[label] - self.config.run_columns
            self._quiet_columns[label] = max(quiet, 0)
            score = self.score(label)
            if score < settings.release_units:
                self._active[label] = False
            if scores is None or score < settings.threshold_units:
                self._hits[label] = 0
            else:
                self._hits[label] += 1
            if scores is None:
                self._waiting[label] = 0

    def refusal(self, label: int) -> Refusal | None:
        """Why a class could not trigger an event at the last run; None if it could.

        After :meth:`step` the class of the event itself is active. A class without a refusal was
        outranked: a run triggers at most one event.
        """
        settings = self.config.classes[label]
        if not settings.event:
            return Refusal.NEVER
        if self._waiting[label]:
            return None
        if self._hits[label] >= settings.hits:
            if self._active[label]:
                return Refusal.ACTIVE
            return Refusal.SUPPRESSED if self._quiet_columns[label] else None
        return Refusal.HITS if self._hits[label] else Refusal.THRESHOLD


@dataclasses.dataclass(frozen=True)
class Tape:
    """The inputs of a detector for a recording.

    Attributes:
        levels: sum of each column's first ``gate_bins`` features, shape (columns,).
        scores: int8 scores of all due runs, including skipped ones, shape (runs, classes).
    """

    levels: npt.NDArray[np.int32]
    scores: npt.NDArray[np.int8]


def due_columns(config: DetectorConfig, columns: int) -> npt.NDArray[np.int64]:
    """Indices of the columns of a recording at which a run of the model is due."""
    return np.arange(config.window_columns - 1, columns, config.run_columns)


def gate_open(
    config: DetectorConfig, levels: npt.NDArray[np.int32], open_columns: int = 0
) -> npt.NDArray[np.bool_]:
    """Whether the gate is open at each column, shape (columns,).

    Args:
        open_columns: number of first columns at which it is, from loud ones before.
    """
    index = np.arange(len(levels))
    before = open_columns - config.gate_hold_columns - 1
    last_loud = np.maximum.accumulate(np.where(levels >= config.gate_sum, index, before))
    return index - last_loud <= config.gate_hold_columns


def smooth(
    scores: npt.NDArray[np.int8], ran: npt.NDArray[np.bool_], window_runs: int
) -> npt.NDArray[np.int64]:
    """Scores of a class averaged over the last runs, in 65536ths of full scale, (runs,)."""
    values = np.where(ran, scores.astype(np.int64) + 128, 0)
    total = np.concatenate([np.zeros(window_runs, np.int64), np.cumsum(values)])
    sums = total[window_runs:] - total[:-window_runs]
    return np.asarray(256 * sums // window_runs, np.int64)


class _ClassEvents:
    """The runs of a recording at which a class may trigger events."""

    def __init__(
        self,
        settings: ClassSettings,
        run_columns: int,
        smoothed: npt.NDArray[np.int64],
        ran: npt.NDArray[np.bool_],
    ) -> None:
        hit = ran & (smoothed >= settings.threshold_units) & settings.event
        edges = np.flatnonzero(np.diff(np.concatenate([[False], hit, [False]]).astype(np.int8)))
        first, stops = edges[::2] + settings.hits - 1, edges[1::2]
        long_enough = first < stops
        # Sequences of hits: the first run with an event, and the run after the sequence.
        self._sequences = collections.deque(np.stack([first, stops], axis=1)[long_enough].tolist())
        self._below = np.flatnonzero(smoothed < settings.release_units)
        self._apart = -(-settings.suppression_columns // run_columns)
        self._allowed = 0

    def next_run(self, at_least: int) -> int | None:
        """The first run from ``at_least`` on at which an event is due."""
        while self._sequences:
            first, stop = self._sequences[0]
            run: int = max(first, self._allowed, at_least)
            if run < stop:
                return run
            self._sequences.popleft()
        return None

    def fire(self, run: int) -> None:
        """Record an event: no other one follows before release and the end of suppression."""
        after = int(np.searchsorted(self._below, run, side="right"))
        released = int(self._below[after]) if after < len(self._below) else _NEVER
        self._allowed = max(run + self._apart, released)


def event_runs(
    settings: ClassSettings,
    run_columns: int,
    smoothed: npt.NDArray[np.int64],
    ran: npt.NDArray[np.bool_],
) -> list[int]:
    """Runs at which a class triggers events, independent of other classes."""
    events = _ClassEvents(settings, run_columns, smoothed, ran)
    runs: list[int] = []
    while (run := events.next_run(0)) is not None:
        events.fire(run)
        runs.append(run)
    return runs


def detect(config: DetectorConfig, tape: Tape) -> list[Event]:
    """Events of a whole recording; a new :class:`Detector` reports the same."""
    columns = due_columns(config, len(tape.levels))
    ran = gate_open(config, tape.levels)[columns]
    smoothed = [
        smooth(tape.scores[:, label], ran, settings.window_runs)
        for label, settings in enumerate(config.classes)
    ]
    classes = [
        _ClassEvents(settings, config.run_columns, smoothed[label], ran)
        for label, settings in enumerate(config.classes)
    ]
    pending: list[tuple[int, int, int]] = []  # run, score (negative), label

    def push(label: int, at_least: int) -> None:
        if (run := classes[label].next_run(at_least)) is not None:
            heapq.heappush(pending, (run, -int(smoothed[label][run]), label))

    for label in range(len(classes)):
        push(label, 0)
    events = []
    while pending:
        run, score, label = heapq.heappop(pending)
        classes[label].fire(run)
        events.append(Event(int(columns[run]) % _WRAP, label, -score))
        push(label, run + 1)
        while pending and pending[0][0] == run:  # a run triggers at most one event
            _, score, label = heapq.heappop(pending)
            if config.several_labels and run + 1 < len(ran) and ran[run + 1]:
                waited = min(score, -int(smoothed[label][run + 1]))
                heapq.heappush(pending, (run + 1, waited, label))
            else:
                push(label, run + 1)
    return events
