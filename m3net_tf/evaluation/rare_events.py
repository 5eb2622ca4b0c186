# SPDX-License-Identifier: Apache-2.0
"""Settings for classes that must stay rare, such as wake words.

An hour of validation allows half a false accept at half an hour's rate. A threshold above all false
scores would depend on the highest of them, and the choice of window and hits on luck. So window and
hits are those with the fewest misses on average over up to five more false accepts, and a number
that is not whole gives a threshold in between: for half a false accept, halfway between the lowest
threshold without any and the lowest with one.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence

from m3net_tf.evaluation.scoring import ClassTruth, Tally
from m3net_tf.evaluation.tuning import (
    HITS,
    WINDOW_RUNS,
    Recording,
    at_threshold,
    find_gate_level,
    thresholds_up_to_one,
)
from m3net_tf.runtime.detector import due_columns, event_runs, gate_open, smooth
from m3net_tf.runtime.detector_config import ClassSettings, DetectorConfig
from m3net_tf.runtime.recognizer import event_time_s

_THRESHOLDS = thresholds_up_to_one(0.01)
_MORE = range(6)  # false accepts beyond the allowed ones over which misses are averaged
_SUPPRESSION_S = 1.0


def tune_rare_events(
    recording: Recording, config: DetectorConfig, target_false_accepts_per_hour: float
) -> DetectorConfig:
    """Settings with few misses for a target on a recording.

    Args:
        recording: validation scenes and hours, never of the test split.
        config: window and rate of the runs; other settings are searched.
        target_false_accepts_per_hour: target for all classes together, which share it equally.

    Returns:
        The config with a gate, and threshold, window and hits of each class. A class without
        settings that meet the target has threshold 1, which switches it off.
    """
    gated = dataclasses.replace(config, gate_level=find_gate_level(recording, config))
    events = [label for label, settings in enumerate(gated.classes) if settings.event]
    allowed = target_false_accepts_per_hour * recording.hours / max(1, len(events))
    classes = list(gated.classes)
    for label in events:
        classes[label] = _tuned(recording, gated, label, allowed)
    return dataclasses.replace(gated, classes=tuple(classes))


def _tuned(
    recording: Recording, config: DetectorConfig, label: int, allowed: float
) -> ClassSettings:
    """Settings of a class for a number of false accepts in the recording."""
    truth = ClassTruth.of(recording.truth, label)
    columns = due_columns(config, len(recording.tape.levels))
    ran = gate_open(config, recording.tape.levels)[columns]
    suppression = round(_SUPPRESSION_S / recording.frontend.hop_s)
    best = dataclasses.replace(config.classes[label], threshold=1.0, release=1.0)
    fewest = len(_MORE) * len(truth.starts_s)
    whole, part = divmod(allowed, 1)
    for window_runs, hits in itertools.product(WINDOW_RUNS, HITS):
        smoothed = smooth(recording.tape.scores[:, label], ran, window_runs)
        row = [
            at_threshold(
                config.classes[label],
                threshold,
                suppression_columns=suppression,
                window_runs=window_runs,
                hits=hits,
            )
            for threshold in _THRESHOLDS
        ]
        tallies = []
        for settings in row:
            runs = event_runs(settings, config.run_columns, smoothed, ran)
            times_s = [event_time_s(recording.frontend, int(column)) for column in columns[runs]]
            tallies.append(truth.tally(times_s, recording.tolerance_s))
        lowest = [_lowest(tallies, whole + more) for more in _MORE]
        missed = [tally.missed for tally in tallies] + [len(truth.starts_s)]
        total = sum(missed[index] for index in lowest)
        if total < fewest and lowest[0] < len(row):
            fewest = total
            strict, loose = (_THRESHOLDS[index] for index in lowest[:2])
            threshold = round(strict - part * (strict - loose), 4)
            best = at_threshold(row[lowest[0]], threshold)
    return best


def _lowest(tallies: Sequence[Tally], count: float) -> int:
    """Index of the threshold from which on there are at most so many false accepts."""
    above = [index for index, tally in enumerate(tallies) if tally.false_accepts > count]
    return above[-1] + 1 if above else 0
