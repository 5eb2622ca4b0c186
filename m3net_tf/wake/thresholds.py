# SPDX-License-Identifier: Apache-2.0
"""The threshold of a wake word, whose false accepts must stay rare.

Few hours of validation allow less than one false accept, so that the threshold lies above all false
scores. It is extrapolated: the highest peaks' log odds above the eleventh are taken as exponential,
as extreme values of many distributions are (Pickands, "Statistical inference using extreme order
statistics", 1975). A single sound can be most of what so few hours say of a phrase. So the usual
threshold, of networks of two words, counts more than its own (docs/evidence/wake_word.md).
A user's recordings raise the scores of other sounds, too, and so the usual threshold. Scores are
means over the longest window, since short ones miss more real voices.
"""

import dataclasses
import math
from collections.abc import Collection

import numpy as np
import numpy.typing as npt

from m3net_tf.evaluation.tuning import THRESHOLDS, WINDOW_RUNS, Recording
from m3net_tf.runtime.detector import due_columns, smooth
from m3net_tf.runtime.detector_config import ClassSettings, DetectorConfig, at_threshold
from m3net_tf.runtime.recognizer import event_time_s

_PEAKS = 10  # whose mean height above the next one gives the slope of the tail
_SUPPRESSION_S = 1.0
_STEP = 1 / 512  # half a step of int8 scores
# False accepts of a phrase an hour at a threshold of 0.5, without and with a user's recordings ...
_USUAL_PER_HOUR, _USUAL_WITH_RECORDINGS = 0.35, 1.6
_USUAL_FALL = 3.1  # ... and how fast their logarithm falls with its log odds
_OWN_SHARE = 0.3  # of a phrase's own hours in its threshold

Float = npt.NDArray[np.float64]


def tune_thresholds(
    recording: Recording,
    config: DetectorConfig,
    target_false_accepts_per_hour: float,
    recorded: Collection[str] = (),
    *,
    usual: bool = True,
) -> DetectorConfig:
    """Settings with few misses for a target on a recording.

    Args:
        recording: validation scenes and hours, never of the test split.
        config: window and rate of the runs.
        target_false_accepts_per_hour: target for all classes together, which share it equally.
        recorded: classes of which the network was trained on a user's recordings.
        usual: whether the usual threshold counts; it is of this package's front end.

    Returns:
        The config with an open gate, which would refuse quiet voices, and the threshold of each
        class.
    """
    config = dataclasses.replace(config, gate_level=None)
    events = [label for label, settings in enumerate(config.classes) if settings.event]
    target = target_false_accepts_per_hour / max(1, len(events))
    classes = list(config.classes)
    for label in events:
        per_hour = _USUAL_WITH_RECORDINGS if classes[label].label in recorded else _USUAL_PER_HOUR
        classes[label] = _tuned(recording, config, label, target, per_hour if usual else None)
    return dataclasses.replace(config, classes=tuple(classes))


def _tuned(
    recording: Recording, config: DetectorConfig, label: int, target: float, usual: float | None
) -> ClassSettings:
    """Settings of a class for a number of false accepts an hour.

    Args:
        usual: false accepts of a phrase an hour at a threshold of 0.5; None if they are unknown.
    """
    columns = due_columns(config, len(recording.tape.levels))
    ran = np.ones(len(columns), bool)
    times_s = np.array([event_time_s(recording.frontend, int(column)) for column in columns])
    events = [
        (times_s >= event.start_s) & (times_s <= event.end_s + recording.tolerance_s)
        for event in recording.truth
        if event.label == label
    ]
    without = ~np.any([np.zeros(len(columns), bool), *events], axis=0)
    hours = without.sum() * config.run_columns * recording.frontend.hop_s / 3600
    suppression = round(_SUPPRESSION_S / recording.frontend.hop_s)
    window_runs = max(WINDOW_RUNS)
    scores = smooth(recording.tape.scores[:, label], ran, window_runs) / 65536
    peaks = _peaks(scores[without], suppression // config.run_columns)
    return at_threshold(
        config.classes[label],
        _threshold(peaks, hours, target, usual),
        suppression_columns=suppression,
        window_runs=window_runs,
        hits=1,
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


def _threshold(peaks: Float, hours: float, target: float, usual: float | None) -> float:
    """The threshold for so many false accepts an hour, within the searched ones."""
    if not target:
        return THRESHOLDS[-1]
    log_odds = math.log(usual / target) / _USUAL_FALL if usual else 0.0
    if len(peaks) > 1:
        own_share = _OWN_SHARE if usual else 1.0
        extrapolated = _extrapolated(peaks, target * hours)
        log_odds = own_share * extrapolated + (1 - own_share) * log_odds
    return round(min(max(1 / (1 + math.exp(-log_odds)), THRESHOLDS[0]), THRESHOLDS[-1]), 4)


def _extrapolated(peaks: Float, allowed: float) -> float:
    """The log odds that so many peaks are expected to exceed."""
    peaks = np.clip(peaks, _STEP, 1 - _STEP)
    *above, base = np.log(peaks / (1 - peaks)).tolist()
    slope = float(np.mean(above)) - base
    return float(base + slope * math.log(len(above) / allowed))
