# SPDX-License-Identifier: Apache-2.0
"""Counts of hits and false accepts, and the search for settings, on known recordings."""

import dataclasses
import itertools

import numpy as np
import pytest

from m3net_tf.audio.frontend import FrontendConfig
from m3net_tf.evaluation import tuning
from m3net_tf.evaluation.scenes import TrueEvent
from m3net_tf.evaluation.scoring import ClassTruth, Tally, poisson_interval
from m3net_tf.evaluation.tuning import Recording, find_gate_level, operating_points, total, tune
from m3net_tf.runtime import ClassSettings, DetectorConfig, Tape
from m3net_tf.runtime.detector import due_columns

TRUTH = ClassTruth.of([TrueEvent(0, 5.0, 6.0), TrueEvent(1, 1.0, 9.0), TrueEvent(0, 10.0, 10.5)], 0)


@pytest.mark.parametrize(
    ("times_s", "detected", "false_accepts"),
    [
        ([], 0, 0),
        ([5.0, 10.0], 2, 0),  # from its beginning on
        ([4.999, 11.501], 0, 2),  # not before, and not later than the tolerance
        ([7.0, 11.5], 2, 0),
        ([5.5, 5.6, 10.2], 2, 1),  # a second detection of the same
        ([8.0], 0, 1),
    ],
)
def test_an_event_finds_one_true_event(times_s, detected, false_accepts):
    tally = TRUTH.tally(times_s, 1.0)
    assert (tally.true_events, tally.detected, tally.false_accepts) == (2, detected, false_accepts)
    assert tally.missed == 2 - detected


def test_latency_counts_from_the_end_of_the_sound():
    tally = TRUTH.tally([5.5, 11.25], 1.0)
    assert tally.latencies_s == pytest.approx((-0.5, 0.75))
    values = (tally + Tally(2, 0, 3, ())).to_dict(hours=2.0)
    assert values["miss_rate"] == 0.5 and values["missed"] == 2
    assert values["false_accepts_per_hour"] == 1.5
    assert values["latency_s"]["largest"] == pytest.approx(0.75)
    assert Tally(0, 0, 0, ()).to_dict(1.0)["latency_s"]["median"] is None


def test_poisson_interval_is_the_exact_one():
    # No event seen: the mean is below -ln(0.025). From tables: 10 seen, 4.795 to 18.39.
    assert poisson_interval(0) == pytest.approx((0.0, -np.log(0.025)))
    assert poisson_interval(10) == pytest.approx((4.795, 18.39), abs=0.005)


FRONTEND = FrontendConfig()
CONFIG = DetectorConfig(
    window_columns=49,
    gate_bins=40,
    classes=(ClassSettings("silence", event=False), ClassSettings("a"), ClassSettings("b")),
)


def recording(seed: int = 0, seconds: int = 900) -> Recording:
    """A quarter of an hour in which class a is easy and class b is like chance.

    True events come every 10 s, a and b in turn. The scores of a reach 0.98 in its events and
    short peaks of 0.9 elsewhere; b has the same peaks in and outside its events.
    """
    rng = np.random.default_rng(seed)
    columns = seconds * 50
    levels = np.full(columns, -120 * 40, np.int32)
    due = due_columns(CONFIG, columns)
    scores = rng.integers(-128, -60, (len(due), 3))
    truth = []
    for start_s in range(5, seconds - 5, 10):
        label = 1 + (start_s // 10) % 2
        truth.append(TrueEvent(label, start_s, start_s + 1))
        levels[start_s * 50 : start_s * 50 + 50] = -60 * 40
        during = (due >= (start_s + 0.5) * 50) & (due < (start_s + 1.5) * 50)
        scores[during, label] = rng.integers(118, 124) if label == 1 else rng.integers(80, 110)
    for run in rng.integers(0, len(due), seconds // 15):
        levels[due[run] : due[run] + 50] = -60 * 40
        scores[run : run + 2, 1] = rng.integers(90, 105)
        scores[run : run + 10, 2] = rng.integers(80, 110)
    tape = Tape(levels, scores.astype(np.int8))
    return Recording(FRONTEND, tape, tuple(truth), seconds / 3600, tolerance_s=0.98)


def test_a_target_is_kept_with_the_fewest_misses():
    made = recording()
    strict = tune(made, CONFIG, 0.0)
    tallies = made.score(strict)
    assert total(tallies).false_accepts == 0
    assert tallies["a"].missed == 0
    assert tallies["b"].missed > 10  # impossible without false accepts
    loose = tune(made, CONFIG, 200.0)
    tallies = made.score(loose)
    assert 0 < total(tallies).false_accepts <= 50
    assert tallies["a"].missed == 0
    assert tallies["b"].missed < made.score(strict)["b"].missed
    # The settings hold on a recording that the search has not seen.
    assert made.score(strict)["a"].detected == recording(1).score(strict)["a"].detected


def test_settings_found_are_of_the_searched_kind():
    tuned = tune(recording(), CONFIG, 0.0)
    assert tuned.classes[0] == CONFIG.classes[0]
    assert tuned.labels == CONFIG.labels and tuned.run_columns == CONFIG.run_columns
    easy = tuned.classes[1]
    assert easy.threshold in tuning.THRESHOLDS and easy.window_runs in tuning.WINDOW_RUNS
    assert easy.hits in tuning.HITS and easy.suppression_columns in (25, 50, 100)
    assert easy.release == pytest.approx(0.75 * easy.threshold, abs=1e-4)


def test_a_class_that_cannot_keep_to_the_target_is_switched_off():
    made = recording(seconds=100)
    always = made.tape.scores.copy()
    always[:, 2] = np.tile([127, 127, 127, 127, -128, -128], len(always))[: len(always)]
    noisy = dataclasses.replace(made, tape=Tape(made.tape.levels, always))
    # With the gate open: a closed gate would block every event.
    loud = dataclasses.replace(noisy, tape=Tape(np.zeros_like(made.tape.levels), always))
    tuned = tune(loud, CONFIG, 0.0)
    assert tuned.classes[2].threshold == 1.0
    assert loud.score(tuned)["b"].detected == 0
    assert loud.score(tuned)["a"].missed == 0


def test_gate_shuts_between_the_events_only():
    made = recording()
    level = find_gate_level(made, CONFIG)
    assert level == -60 - tuning.GATE_MARGIN
    gated = dataclasses.replace(CONFIG, gate_level=level)
    assert made.spared_runs(CONFIG) == 0.0
    assert 0.5 < made.spared_runs(gated) < 0.9
    assert tune(made, CONFIG, 0.0).gate_level == level
    silent = dataclasses.replace(made, truth=())
    assert find_gate_level(silent, CONFIG) == -128


def test_operating_points_go_from_loose_to_strict():
    points = operating_points(recording(), CONFIG)
    assert [threshold for threshold, _ in points] == sorted(tuning.THRESHOLDS)
    accepts = [total(tallies).false_accepts for _, tallies in points]
    misses = [total(tallies).missed for _, tallies in points]
    assert accepts[0] > 20 and accepts[-1] == 0
    assert misses[-1] > misses[0]
    assert set(points[0][1]) == {"a", "b"}


def test_false_accepts_are_shared_in_the_best_way():
    """Compared with all possible assignments, tried one by one."""
    rng = np.random.default_rng(3)
    plain = ClassSettings("a")
    for _ in range(50):
        options = [
            [tuning.Option(0, 60, plain)]
            + [
                tuning.Option(int(rng.integers(0, 8)), int(rng.integers(0, 60)), plain)
                for _ in range(5)
            ]
            for _ in range(3)
        ]
        allowed = int(rng.integers(0, 12))
        kept = [tuning.best_of_each_count(own, allowed) for own in options]
        chosen = tuning.share_false_accepts(kept, allowed)
        best = min(
            sum(option.missed for option in way)
            for way in itertools.product(*options)
            if sum(option.false_accepts for option in way) <= allowed
        )
        assert sum(option.missed for option in chosen) == best
        assert sum(option.false_accepts for option in chosen) <= allowed
