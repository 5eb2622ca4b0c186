# SPDX-License-Identifier: Apache-2.0
"""Operating points, and the search for settings that meet a target of false accepts per hour.

Threshold, window, consecutive hits and suppression are searched separately for each class. A
threshold is rated by the worst result within two steps in either direction, so that the choice does
not depend on single scores and generalises to other recordings. The allowed false accepts are
divided among the classes with the fewest misses (exactly, by dynamic programming). Among equal
settings the strictest threshold wins, then the shortest window.
"""

import dataclasses
import itertools
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from m3net_tf.audio.frontend import FrontendConfig
from m3net_tf.evaluation.scenes import TrueEvent
from m3net_tf.evaluation.scoring import ClassTruth, Tally
from m3net_tf.runtime.detector import (
    Tape,
    detect,
    due_columns,
    event_runs,
    gate_open,
    smooth,
)
from m3net_tf.runtime.detector_config import ClassSettings, DetectorConfig, at_threshold
from m3net_tf.runtime.recognizer import event_time_s

WINDOW_RUNS = (1, 2, 3, 4, 6, 8)
HITS = (1, 2, 3)
SUPPRESSION_S = (0.5, 1.0, 2.0)


THRESHOLDS = tuple(
    round(float(threshold), 4)
    for threshold in np.concatenate([np.arange(0.3, 0.9, 0.05), 1 - 0.1 * 0.75 ** np.arange(14)])
)
"""Steps up to 0.9, then ever finer ones."""
MARGIN_STEPS = 2  # steps of THRESHOLDS in either direction
GATE_MARGIN = 4  # int8 steps below the quietest event's loudest column


@dataclasses.dataclass(frozen=True)
class Recording:
    """A detector's inputs for a long recording, with its true events.

    Attributes:
        tape: levels and scores with an open gate.
        tolerance_s: longest time from a sound's end to its event: the length of the model's window.
    """

    frontend: FrontendConfig
    tape: Tape
    truth: tuple[TrueEvent, ...]
    hours: float
    tolerance_s: float

    def score(self, config: DetectorConfig) -> dict[str, Tally]:
        """Result of a detector for each class with events."""
        times = self._times_s(config)
        return {
            settings.label: ClassTruth.of(self.truth, label).tally(times[label], self.tolerance_s)
            for label, settings in enumerate(config.classes)
            if settings.event
        }

    def missed(self, config: DetectorConfig, label: int) -> npt.NDArray[np.bool_]:
        """Whether a detector misses each event of a class, in order of time, shape (events,)."""
        times_s = self._times_s(config)[label]
        truth = ClassTruth.of(self.truth, label)
        return np.isnan(truth.latencies_s(times_s, self.tolerance_s))

    def _times_s(self, config: DetectorConfig) -> dict[int, list[float]]:
        """Times of a detector's events by class."""
        times: dict[int, list[float]] = {label: [] for label in range(len(config.classes))}
        for event in detect(config, self.tape):
            times[event.label].append(event_time_s(self.frontend, event.column))
        return times

    def spared_runs(self, config: DetectorConfig) -> float:
        """Share of the model's runs that the gate skips."""
        due = due_columns(config, len(self.tape.levels))
        return 1.0 - float(gate_open(config, self.tape.levels)[due].mean())


def total(tallies: dict[str, Tally]) -> Tally:
    """Sum over all classes."""
    return sum(tallies.values(), Tally(0, 0, 0, ()))


def with_threshold(config: DetectorConfig, threshold: float) -> DetectorConfig:
    """The same detector with one threshold for all classes."""
    return dataclasses.replace(
        config,
        classes=tuple(at_threshold(settings, threshold) for settings in config.classes),
    )


def operating_points(
    recording: Recording, config: DetectorConfig
) -> list[tuple[float, dict[str, Tally]]]:
    """Result of each threshold, used for all classes."""
    return [
        (threshold, recording.score(with_threshold(config, threshold))) for threshold in THRESHOLDS
    ]


def find_gate_level(recording: Recording, config: DetectorConfig) -> int:
    """The highest level at which the gate opens for every true event, minus a margin."""
    hop_s = recording.frontend.hop_s
    levels = recording.tape.levels
    loudest = []
    for event in recording.truth:
        if config.classes[event.label].event:
            first = int(event.start_s / hop_s)
            last = int(event.end_s / hop_s) + 1
            loudest.append(int(levels[first:last].max(initial=-128 * config.gate_bins)))
    quietest = min(loudest, default=-128 * config.gate_bins)
    return max(-128, quietest // config.gate_bins - GATE_MARGIN)


@dataclasses.dataclass(frozen=True)
class Option:
    """Settings of one class with what they cost on the recording."""

    false_accepts: int
    missed: int
    settings: ClassSettings

    @property
    def rank(self) -> tuple[int, int, float, int, int, int]:
        """Sort key; smaller is better."""
        settings = self.settings
        return (
            self.false_accepts,
            self.missed,
            -settings.threshold,
            settings.window_runs,
            settings.hits,
            settings.suppression_columns,
        )


def _class_options(
    recording: Recording,
    config: DetectorConfig,
    label: int,
    ran: npt.NDArray[np.bool_],
) -> Iterator[Option]:
    """All settings of a class with their results; the first one never triggers events."""
    truth = ClassTruth.of(recording.truth, label)
    columns = due_columns(config, len(recording.tape.levels))
    plain = dataclasses.replace(config.classes[label], threshold=1.0, release=1.0)
    yield Option(0, len(truth.starts_s), plain)
    for window_runs in WINDOW_RUNS:
        smoothed = smooth(recording.tape.scores[:, label], ran, window_runs)
        for hits, suppression_s in itertools.product(HITS, SUPPRESSION_S):
            row = [
                at_threshold(
                    plain,
                    threshold,
                    suppression_columns=round(suppression_s / recording.frontend.hop_s),
                    window_runs=window_runs,
                    hits=hits,
                )
                for threshold in THRESHOLDS
            ]
            tallies = []
            for settings in row:
                runs = event_runs(settings, config.run_columns, smoothed, ran)
                times_s = [event_time_s(recording.frontend, columns[run]) for run in runs]
                tallies.append(truth.tally(times_s, recording.tolerance_s))
            for i, settings in enumerate(row):
                neighbours = tallies[max(0, i - MARGIN_STEPS) : i + MARGIN_STEPS + 1]
                yield Option(
                    max(tally.false_accepts for tally in neighbours),
                    max(tally.missed for tally in neighbours),
                    settings,
                )


def best_of_each_count(options: Sequence[Option], most: int) -> list[Option]:
    """The best option for each number of false accepts, if it has fewer misses than with less."""
    kept: list[Option] = []
    for option in sorted(options, key=lambda option: option.rank):
        if option.false_accepts <= most and (not kept or option.missed < kept[-1].missed):
            kept.append(option)
    return kept


def share_false_accepts(options: Sequence[Sequence[Option]], allowed: int) -> list[Option]:
    """One option per class, with the fewest misses for at most ``allowed`` false accepts."""
    # best[n]: misses and choice with at most n false accepts among the classes so far
    best: list[tuple[int, list[Option]]] = [(0, [])] * (allowed + 1)
    for class_options in options:
        best = [
            min(
                (
                    (
                        best[n - option.false_accepts][0] + option.missed,
                        [*best[n - option.false_accepts][1], option],
                    )
                    for option in class_options
                    if option.false_accepts <= n
                ),
                key=lambda pair: pair[0],
            )
            for n in range(allowed + 1)
        ]
    return best[allowed][1]


def tune(
    recording: Recording, config: DetectorConfig, target_false_accepts_per_hour: float
) -> DetectorConfig:
    """Settings with the fewest misses that meet a target on a recording.

    Args:
        recording: validation scenes, never scenes of the test split.
        config: window and rate of the runs; other settings are searched.
        target_false_accepts_per_hour: target for all classes together.

    Returns:
        The config with a gate, and threshold, window, hits and suppression of each class. A class
        without settings that meet the target has threshold 1, which switches it off.
    """
    gated = dataclasses.replace(config, gate_level=find_gate_level(recording, config))
    ran = gate_open(gated, recording.tape.levels)[due_columns(gated, len(recording.tape.levels))]
    allowed = int(target_false_accepts_per_hour * recording.hours + 1e-9)
    events = [label for label, settings in enumerate(gated.classes) if settings.event]
    options = [
        best_of_each_count(list(_class_options(recording, gated, label, ran)), allowed)
        for label in events
    ]
    classes = list(gated.classes)
    for label, option in zip(events, share_false_accepts(options, allowed), strict=True):
        classes[label] = option.settings
    return dataclasses.replace(gated, classes=tuple(classes))
