# SPDX-License-Identifier: Apache-2.0
"""Settings for classes that must stay rare, such as wake words.

Few hours of validation allow less than one false accept, so that the threshold lies above all false
scores. It is extrapolated: the highest peaks' log odds above the eleventh are taken as exponential,
as extreme values of many distributions are (Pickands, "Statistical inference using extreme order
statistics", 1975). Window and hits are those with the fewest misses at these peaks on average.
"""

import dataclasses
import itertools
import math

import numpy as np
import numpy.typing as npt

from m3net_tf.evaluation.tuning import (
    HITS,
    THRESHOLDS,
    WINDOW_RUNS,
    Recording,
    find_gate_level,
)
from m3net_tf.runtime.detector import due_columns, gate_open, smooth
from m3net_tf.runtime.detector_config import ClassSettings, DetectorConfig, at_threshold
from m3net_tf.runtime.recognizer import event_time_s

_PEAKS = 10  # whose mean height above the next one gives the slope of the tail
_RATED_PEAKS = 6  # thresholds over which misses are averaged
_SUPPRESSION_S = 1.0
_STEP = 1 / 512  # half a step of int8 scores

Float = npt.NDArray[np.float64]


def tune_rare_events(
    recording: Recording, config: DetectorConfig, target_false_accepts_per_hour: float
) -> DetectorConfig:
    """Settings with few misses for a target on a recording.

    Args:
        recording: validation scenes and hours, never of the test split.
        config: window and rate of the runs; other settings are searched.
        target_false_accepts_per_hour: target for all classes together, which share it equally.

    Returns:
        The config with a gate, and threshold, window and hits of each class.
    """
    gated = dataclasses.replace(config, gate_level=find_gate_level(recording, config))
    events = [label for label, settings in enumerate(gated.classes) if settings.event]
    target = target_false_accepts_per_hour / max(1, len(events))
    classes = list(gated.classes)
    for label in events:
        classes[label] = _tuned(recording, gated, label, target)
    return dataclasses.replace(gated, classes=tuple(classes))


def _tuned(
    recording: Recording, config: DetectorConfig, label: int, target: float
) -> ClassSettings:
    """Settings of a class for a number of false accepts an hour."""
    columns = due_columns(config, len(recording.tape.levels))
    ran = gate_open(config, recording.tape.levels)[columns]
    times_s = np.array([event_time_s(recording.frontend, int(column)) for column in columns])
    events = [
        (times_s >= event.start_s) & (times_s <= event.end_s + recording.tolerance_s)
        for event in recording.truth
        if event.label == label
    ]
    without = ~np.any([np.zeros(len(columns), bool), *events], axis=0)
    hours = without.sum() * config.run_columns * recording.frontend.hop_s / 3600
    suppression = round(_SUPPRESSION_S / recording.frontend.hop_s)
    rated = []
    for window_runs, hits in itertools.product(WINDOW_RUNS, HITS):
        scores = smooth(recording.tape.scores[:, label], ran, window_runs) / 65536
        scores = np.min([np.roll(scores, earlier) for earlier in range(hits)], axis=0)
        peaks = _peaks(scores[without], suppression // config.run_columns)
        heard = np.array([scores[during].max(initial=0.0) for during in events])
        missed = sum(int((heard <= peak).sum()) for peak in peaks[:_RATED_PEAKS])
        rated.append((missed, window_runs, hits, _extrapolated(peaks, target * hours)))
    _, window_runs, hits, threshold = min(rated)
    return at_threshold(
        config.classes[label],
        threshold,
        suppression_columns=suppression,
        window_runs=window_runs,
        hits=hits,
    )


def _peaks(scores: Float, apart: int) -> Float:
    """The highest scores that are so many runs apart, in falling order."""
    scores = scores.copy()
    peaks: list[float] = []
    while len(peaks) <= _PEAKS and scores.max(initial=0.0) > _STEP:
        highest = int(scores.argmax())
        peaks.append(float(scores[highest]))
        scores[max(0, highest - apart) : highest + apart + 1] = 0.0
    return np.array(peaks)


def _extrapolated(peaks: Float, allowed: float) -> float:
    """The threshold that so many peaks are expected to exceed, within the searched ones."""
    if len(peaks) < 2 or not allowed:
        return THRESHOLDS[-1] if not allowed else THRESHOLDS[0]
    peaks = np.clip(peaks, _STEP, 1 - _STEP)
    log_odds = np.log(peaks / (1 - peaks))
    *above, base = log_odds.tolist()
    slope = float(np.mean(above)) - base
    height = base + slope * math.log(len(above) / allowed)
    return round(min(max(1 / (1 + math.exp(-height)), THRESHOLDS[0]), THRESHOLDS[-1]), 4)
