# SPDX-License-Identifier: Apache-2.0
"""Thresholds from the tail of the scores keep their rate in hours that the tuning has not heard."""

import dataclasses

import numpy as np
import pytest

from m3net_tf.audio.frontend import FrontendConfig
from m3net_tf.evaluation.scenes import TrueEvent
from m3net_tf.evaluation.tail import rate_interval, tune_by_tail
from m3net_tf.evaluation.tuning import Recording
from m3net_tf.runtime.detector import Tape
from m3net_tf.runtime.detector_config import ClassSettings, DetectorConfig

FRONTEND = FrontendConfig()
CLASSES = (ClassSettings("_unknown_", event=False), ClassSettings("yes"), ClassSettings("no"))
CONFIG = DetectorConfig(window_columns=49, gate_bins=40, classes=CLASSES, run_columns=25)
STEP_S = CONFIG.run_columns * FRONTEND.hop_s


def recording(hours: float, seed: int, *, loudest: int = 124) -> Recording:
    """Scores whose log odds have an exponential tail, and an event in every minute."""
    rng = np.random.default_rng(seed)
    columns = round(hours * 3600 / FRONTEND.hop_s)
    runs = len(range(CONFIG.window_columns - 1, columns, CONFIG.run_columns))
    odds = rng.exponential(0.8, (runs, 3)) - 5.0
    scores = np.clip(np.round(256 / (1 + np.exp(-odds)) - 128.5), -128, 127)
    truth = []
    for start_s in range(30, round(hours * 3600) - 30, 60):
        label = 1 + start_s // 60 % 2
        run = round(start_s / STEP_S)  # the first run ends after a second
        scores[run : run + 2, label] = max(-128, rng.integers(loudest - 40, loudest))
        truth.append(TrueEvent(label, start_s, start_s + 1))
    levels = np.full(columns, -20 * 40, np.int32)
    return Recording(FRONTEND, Tape(levels, scores.astype(np.int8)), tuple(truth), hours, 0.98)


@pytest.mark.parametrize("seed", range(3))
def test_the_rate_holds_in_other_hours(seed):
    tuned = tune_by_tail(recording(1, seed), CONFIG, 1.0)
    assert all(settings.threshold < 1 for settings in tuned.classes[1:])
    low, high = rate_interval(0.5, 1)
    assert 0.05 < low < 0.5 < high < 3
    unheard = recording(20, 100 + seed)
    for tally in unheard.score(tuned).values():
        assert tally.false_accepts / unheard.hours < high
        assert tally.missed < 0.4 * tally.true_events


def test_a_lower_rate_has_a_higher_threshold_and_more_hours_a_narrower_interval():
    heard = recording(1, 0)
    often, seldom = (tune_by_tail(heard, CONFIG, rate).classes[1] for rate in (60.0, 1.0))
    assert (often.window_runs, often.hits) == (seldom.window_runs, seldom.hits)
    assert often.threshold < seldom.threshold
    (few_low, few_high), (low, high) = rate_interval(0.5, 1), rate_interval(0.5, 10)
    assert few_low < low < 0.5 < high < few_high


def test_a_class_that_scores_no_higher_than_other_sounds_is_off():
    heard = recording(1, 0, loudest=-120)
    tuned = tune_by_tail(heard, CONFIG, 1.0)
    assert [settings.threshold for settings in tuned.classes[1:]] == [1.0, 1.0]


def test_one_outlier_does_not_decide():
    heard = recording(1, 0)
    plain = tune_by_tail(heard, CONFIG, 1.0).classes[1].threshold
    scores = heard.tape.scores.copy()
    scores[300:302, 1] = 127  # at 2.5 minutes, far from an event
    tape = dataclasses.replace(heard.tape, scores=scores)
    loud = tune_by_tail(dataclasses.replace(heard, tape=tape), CONFIG, 1.0).classes[1].threshold
    assert loud == pytest.approx(plain, abs=0.05)
