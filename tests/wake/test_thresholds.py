# SPDX-License-Identifier: Apache-2.0
"""The threshold of a wake word, from the highest false scores of known recordings."""

import dataclasses

import numpy as np
import pytest

from m3net_tf.audio.frontend import FrontendConfig
from m3net_tf.evaluation.scenes import TrueEvent
from m3net_tf.evaluation.tuning import THRESHOLDS, Recording
from m3net_tf.runtime import ClassSettings, DetectorConfig, Tape
from m3net_tf.runtime.detector import due_columns
from m3net_tf.wake.thresholds import tune_thresholds

SECONDS = 900
CONFIG = DetectorConfig(
    window_columns=49,
    gate_bins=40,
    classes=(ClassSettings("silence", event=False), ClassSettings("a"), ClassSettings("b")),
)


def peaks(heights: list[int]) -> Recording:
    """A quarter of an hour with events of score 120, a and b in turn, and peaks of b elsewhere."""
    truth = [TrueEvent(1 + at // 10 % 2, at, at + 1) for at in range(5, SECONDS - 5, 10)]
    columns = due_columns(CONFIG, SECONDS * 50)
    scores = np.full((len(columns), 3), -128, np.int8)
    for event in truth:
        during = (columns >= event.start_s * 50) & (columns < event.start_s * 50 + 50)
        scores[during, event.label] = 120
    for number, height in enumerate(heights):  # two seconds after every second event
        start_s = 18 + 20 * number
        scores[(columns >= start_s * 50) & (columns < start_s * 50 + 50), 2] = height
    tape = Tape(np.zeros(SECONDS * 50, np.int32), scores)  # the gate is always open
    return Recording(FrontendConfig(), tape, tuple(truth), SECONDS / 3600, tolerance_s=0.98)


def test_the_threshold_is_extrapolated_from_the_highest_peaks():
    log_odds = -0.5 + 0.5 * np.log(11 / np.arange(1, 12))  # as of an exponential distribution
    made = peaks([round(256 / (1 + np.exp(-each))) - 128 for each in log_odds])
    allowed = [0.1, 0.5, 5.0]
    found = [tune_thresholds(made, CONFIG, 2 * each / made.hours).classes[2] for each in allowed]
    slope = np.mean(log_odds[:10] - log_odds[10])
    for each, settings in zip(allowed, found, strict=True):
        height = np.log(settings.threshold / (1 - settings.threshold))
        own = log_odds[10] + slope * np.log(10 / each)
        expected = 0.3 * own + 0.7 * np.log(0.35 / (each / made.hours)) / 3.1
        lowest = np.log(0.3 / 0.7)
        # Events of b take some of the time.
        assert height == pytest.approx(max(lowest, expected), abs=0.1)
    usual = tune_thresholds(peaks([]), CONFIG, 2 * allowed[0] / made.hours).classes[2]
    assert usual.threshold < found[0].threshold  # as this phrase is confused more often


def test_without_false_scores_the_threshold_is_the_usual_one():
    gated = dataclasses.replace(CONFIG, gate_level=-60)
    tuned = tune_thresholds(peaks([]), gated, 2 * 0.35)
    assert tuned.gate_level is None  # it would refuse quiet voices
    assert [each.threshold for each in tuned.classes[1:]] == [0.5, 0.5]
    assert tune_thresholds(peaks([]), CONFIG, 0.0).classes[2].threshold == THRESHOLDS[-1]


def test_own_recordings_of_a_class_raise_its_usual_threshold():
    tuned = tune_thresholds(peaks([]), CONFIG, 2 * 0.35, recorded=["b"]).classes
    assert tuned[2].threshold > tuned[1].threshold == 0.5
