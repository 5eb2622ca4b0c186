# SPDX-License-Identifier: Apache-2.0
"""Near misses of the detector: one for each rise of a score, with the detector's own reason."""

import dataclasses

import numpy as np

from m3net_tf.runtime import (
    ClassSettings,
    Detector,
    DetectorConfig,
    NearMiss,
    NearMisses,
    Reason,
    explain,
)

PLAIN = ClassSettings("a", True, 0.5, 0.5, suppression_columns=0, window_runs=1, hits=1)
HIGH, LOW = 127, -128
NEAR = -32  # 0.375: above half of the threshold


def misses(
    *classes: ClassSettings,
    scores: list,
    window: int = 1,
    several: bool = False,
) -> list:
    """(column, label, reason) of the near misses of a detector with a run for each column."""
    config = DetectorConfig(
        window_columns=window,
        gate_bins=1,
        classes=classes,
        run_columns=1,
        several_labels=several,
    )
    detector = Detector(dataclasses.replace(config, window_columns=1))
    tracker = NearMisses(detector)
    detector.config = config
    near = []
    for row in np.array(scores).reshape(len(scores), -1):
        assert detector.wants_inference([0])
        near += tracker.after_run(detector.step(row))
    return [(miss.column, miss.label, miss.reason) for miss in near]


def test_one_for_each_rise_at_its_highest_score():
    scores = [LOW, NEAR, NEAR + 9, NEAR, LOW, NEAR, LOW, -65, LOW]
    expected = [(2, 0, Reason.THRESHOLD), (5, 0, Reason.THRESHOLD)]
    assert misses(PLAIN, scores=scores, window=9) == expected
    # An event is no near miss, and neither is what leads to it and follows it.
    assert misses(PLAIN, scores=[NEAR, HIGH, NEAR, LOW], window=9) == []


def test_a_long_one_is_reported_after_a_window_and_once():
    assert misses(PLAIN, scores=[NEAR] * 9, window=3) == [(0, 0, Reason.THRESHOLD)]
    assert misses(PLAIN, scores=[NEAR] * 9, window=99) == []


def test_a_single_run_that_the_mean_smooths_away():
    smooth = dataclasses.replace(PLAIN, window_runs=3)
    assert misses(smooth, scores=[LOW, HIGH, LOW, LOW, LOW]) == [(1, 0, Reason.SMOOTHING)]
    # The mean is highest at a run that is itself below the threshold.
    scores = [LOW, HIGH, NEAR - 20, LOW, LOW, LOW]
    assert misses(smooth, scores=scores, window=9) == [(2, 0, Reason.SMOOTHING)]


def test_too_few_hits_in_a_row():
    twice = dataclasses.replace(PLAIN, hits=2)
    assert misses(twice, scores=[LOW, HIGH, LOW], window=9) == [(1, 0, Reason.HITS)]


def test_suppressed_and_an_event_that_is_not_over():
    apart = dataclasses.replace(PLAIN, suppression_columns=5)
    assert misses(apart, scores=[HIGH, LOW, HIGH, LOW], window=9) == [(2, 0, Reason.SUPPRESSED)]
    held = dataclasses.replace(PLAIN, release=0.1)
    scores = [HIGH, -90, HIGH, LOW]  # below half of the threshold, not below release
    assert misses(held, scores=scores, window=9) == [(2, 0, Reason.ACTIVE)]


def test_of_two_classes_one_has_the_event():
    both = (PLAIN, dataclasses.replace(PLAIN, label="b"))
    scores = [[HIGH, HIGH - 1], [LOW, LOW]]
    assert misses(*both, scores=scores, window=9) == [(0, 1, Reason.OUTRANKED)]
    # Where both may sound at once, the second has its event in the next run.
    assert misses(*both, scores=scores, window=9, several=True) == []


def test_a_class_without_events_has_no_near_misses():
    assert misses(dataclasses.replace(PLAIN, event=False), scores=[NEAR, LOW]) == []


def test_reasons_in_words():
    miss = NearMiss(9, 0, 20_000, 40_000, 32_768, Reason.THRESHOLD)
    words = {
        reason: explain(dataclasses.replace(miss, reason=reason), PLAIN, 0.02) for reason in Reason
    }
    assert words[Reason.THRESHOLD] == "below the threshold: 30.5 % of 50.0 %"
    assert "one run reached 61.0 %, but the mean over 1 only 30.5 %" in words[Reason.SMOOTHING]
    slow = dataclasses.replace(PLAIN, suppression_columns=50)
    suppressed = dataclasses.replace(miss, reason=Reason.SUPPRESSED)
    assert explain(suppressed, slow, 0.02) == "suppressed: less than 1.0 s after the event before"
    assert len(set(words.values())) == len(Reason)
