# SPDX-License-Identifier: Apache-2.0
"""Live detection for a rate of false accepts that is lower than its recordings are long.

Few hours have few false accepts, or none. The scores have many more peaks that stay below the
threshold. The log odds of the highest peaks are taken to fall off exponentially (a generalised
Pareto distribution of shape 0; Pickands, "Statistical inference using extreme order statistics",
1975), which gives a rate to thresholds that no peak has reached.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import numpy.typing as npt

from m3net_tf.evaluation.scoring import ClassTruth
from m3net_tf.evaluation.tuning import Recording, at_threshold, find_gate_level
from m3net_tf.runtime.detector import due_columns, event_runs, gate_open, smooth
from m3net_tf.runtime.detector_config import FULL_SCALE, ClassSettings, DetectorConfig
from m3net_tf.runtime.recognizer import event_time_s

_FEWEST_PEAKS = 20  # that a tail is fitted to
_PEAKS = 4  # for each false accept that is allowed
_WINDOW_RUNS = (1, 2, 3, 4, 6)
_HITS = (1, 2, 3)
_SUPPRESSION_S = 1.0
_HALF_STEP = 128  # of an int8 score, in the detector's units
_HIGHEST = 1 - 1 / 256  # a class with this threshold would need the highest score

Float = npt.NDArray[np.float64]


def rate_interval(per_hour: float, hours: float) -> tuple[float, float]:
    """95 % interval of the rate at a threshold that :func:`tune_by_tail` has chosen for a rate.

    It includes the errors of the number of peaks and of their mean excess (delta method).

    Args:
        per_hour: the rate.
        hours: length of the recordings.
    """
    count = _peak_count(per_hour * hours)
    excess = math.log(count / (per_hour * hours))  # of the threshold, in mean excesses
    factor = math.exp(1.96 * math.sqrt((1 + excess**2) / count))
    return per_hour / factor, per_hour * factor


def _peak_count(allowed: float) -> int:
    return max(_FEWEST_PEAKS, math.ceil(_PEAKS * allowed))


def tune_by_tail(recording: Recording, config: DetectorConfig, per_hour: float) -> DetectorConfig:
    """Settings with the fewest misses at a rate of false accepts.

    The classes with events share the rate equally. The recording itself has at most the rate's
    false accepts of each, rounded up.

    Args:
        recording: validation scenes and hours without events, never of the test split.
        config: window and rate of the runs; other settings are searched.
        per_hour: false accepts an hour of all classes together, above 0.

    Returns:
        As :func:`.tuning.tune`.
    """
    config = dataclasses.replace(config, gate_level=find_gate_level(recording, config))
    events = [label for label, settings in enumerate(config.classes) if settings.event]
    classes = list(config.classes)
    for label in events:
        classes[label] = _tuned(recording, config, label, per_hour / len(events))
    return dataclasses.replace(config, classes=tuple(classes))


def _tuned(
    recording: Recording, config: DetectorConfig, label: int, per_hour: float
) -> ClassSettings:
    """A class's settings; with threshold 1, which switches it off, if its scores are too low."""
    truth = ClassTruth.of(recording.truth, label)
    columns = due_columns(config, len(recording.tape.levels))
    ran = gate_open(config, recording.tape.levels)[columns]
    times_s = np.array([event_time_s(recording.frontend, int(column)) for column in columns])
    begun = np.searchsorted(truth.starts_s, times_s, side="right")
    over = np.searchsorted(truth.ends_s + recording.tolerance_s, times_s)
    is_elsewhere = begun == over
    off = dataclasses.replace(config.classes[label], threshold=1.0, release=1.0)
    best, fewest = off, (len(truth.starts_s), -1.0)
    hours = recording.hours * float(is_elsewhere.mean())
    suppression = round(_SUPPRESSION_S / recording.frontend.hop_s)
    for window_runs in _WINDOW_RUNS:
        smoothed = smooth(recording.tape.scores[:, label], ran, window_runs)
        odds = _log_odds(smoothed)
        for hits in _HITS:
            held = np.min([np.roll(odds, place) for place in range(hits)], axis=0)
            peaks = _peaks(
                np.where(is_elsewhere, held, -np.inf),
                suppression // config.run_columns,
                _peak_count(per_hour * hours),
            )
            threshold = _threshold(peaks, per_hour * hours)
            if threshold >= _HIGHEST:
                continue
            settings = at_threshold(
                off,
                threshold,
                suppression_columns=suppression,
                window_runs=window_runs,
                hits=hits,
            )
            runs = event_runs(settings, config.run_columns, smoothed, ran)
            missed = truth.tally(times_s[runs].tolist(), recording.tolerance_s).missed
            if (missed, -threshold) < fewest:
                best, fewest = settings, (missed, -threshold)
    return best


def _log_odds(smoothed: npt.NDArray[np.int64]) -> Float:
    share = (smoothed + _HALF_STEP) / FULL_SCALE
    return np.asarray(np.log(share) - np.log1p(-share))


def _peaks(odds: Float, apart: int, count: int) -> Float:
    """The highest values that are so many runs apart, in falling order; one more than the tail."""
    odds = odds.copy()
    peaks = []
    for _ in range(count + 1):
        place = int(odds.argmax())
        peaks.append(odds[place])
        odds[max(0, place - apart) : place + apart + 1] = -np.inf
    return np.array(peaks)


def _threshold(peaks: Float, allowed: float) -> float:
    """The threshold as a share of full scale; 1 if the recording has too few peaks."""
    if not np.isfinite(peaks).all():
        return 1.0
    start = peaks[-1]
    scale = float(np.mean(peaks[:-1] - start))
    odds = start + scale * math.log((len(peaks) - 1) / allowed)
    odds = max(odds, peaks[math.ceil(allowed)])
    share = 1 / (1 + math.exp(-odds)) - _HALF_STEP / FULL_SCALE
    return math.ceil(share * 1e4 + 1) / 1e4  # above a peak of this height
