# SPDX-License-Identifier: Apache-2.0
"""When the sounds of events begin and end, from scores that are made by hand."""

import dataclasses

import numpy as np
import pytest

from m3net_tf.audio.annotations.events import SoundEvent
from m3net_tf.audio.frontend import FrontendConfig
from m3net_tf.runtime import ClassSettings, DetectorConfig, Tape, detect, event_time_s
from m3net_tf.runtime.detector_config import FULL_SCALE
from m3net_tf.runtime.spans import sound_events

FRONTEND = FrontendConfig()
WINDOW, STEP, RUNS = 50, 5, 40
CONFIG = DetectorConfig(
    window_columns=WINDOW,
    gate_bins=40,
    run_columns=STEP,
    classes=(
        ClassSettings("a", threshold=0.5, release=0.25, window_runs=1, hits=2),
        ClassSettings("b", threshold=0.5, release=0.25, window_runs=3, hits=1),
        ClassSettings("_silence_", event=False),
    ),
)
COLUMNS = WINDOW + STEP * (RUNS - 1)
MIDDLE_S = event_time_s(FRONTEND, WINDOW - 1) / 2


def tape(label: int, **shares: float) -> Tape:
    """Scores of a class at runs, such as ``r4=0.9``; 0 at all others."""
    scores = np.full((RUNS, 3), -128, np.int8)
    for run, share in shares.items():
        scores[int(run[1:]), label] = round(256 * share) - 128
    return Tape(np.zeros(COLUMNS, np.int32), scores)


def middle_s(run: float) -> float:
    """Time of the middle of a run's window."""
    return MIDDLE_S + run * STEP * FRONTEND.hop_s


def spans(config: DetectorConfig, of: Tape) -> list[SoundEvent]:
    return sound_events(FRONTEND, config, of, config.labels)


def test_a_sound_lasts_from_crossing_to_crossing():
    (event,) = spans(CONFIG, tape(0, r10=0.25, r11=0.75, r12=0.875, r13=0.75, r14=0.375))
    assert event.label == "a" and event.score == 0.875
    assert event.start_s == pytest.approx(middle_s(10.5))
    assert event.end_s == pytest.approx(middle_s(13 + 2 / 3))


def test_a_dip_above_release_does_not_end_a_sound():
    scores = {"r10": 0.75, "r11": 0.75, "r12": 0.375, "r13": 0.75, "r14": 0.0}
    (event,) = spans(CONFIG, tape(0, **scores))
    assert event.start_s == pytest.approx(middle_s(10 - 1 / 3))
    assert event.end_s == pytest.approx(middle_s(13 + 1 / 3))
    (event,) = spans(CONFIG, tape(0, **{**scores, "r12": 0.0}))
    assert event.end_s == pytest.approx(middle_s(11 + 1 / 3))


def test_averaged_runs_count_by_the_middle_of_all_of_them():
    (event,) = spans(CONFIG, tape(1, **{f"r{run}": 0.75 for run in range(10, 20)}))
    # The mean of three is 0.25 at run 10 and 0.5 at run 11, whose windows' middle is run 10's.
    assert event.start_s == pytest.approx(middle_s(10))
    assert event.end_s == pytest.approx(middle_s(19))


def test_a_sound_at_an_end_of_the_recording_reaches_it():
    first, last = spans(CONFIG, tape(0, r0=0.75, r1=0.75, r38=0.75, r39=0.75))
    assert first.start_s == 0.0 and first.end_s == pytest.approx(middle_s(1 + 1 / 3))
    assert last.start_s == pytest.approx(middle_s(38 - 1 / 3))
    assert last.end_s == event_time_s(FRONTEND, COLUMNS - 1)


def test_edges_are_moved_inside_but_not_past_each_other():
    of = tape(0, r10=0.75, r11=0.75, r12=0.75, r20=0.75, r21=0.75)
    plain = spans(CONFIG, of)
    moved = spans(dataclasses.replace(CONFIG, inset_s=0.05), of)
    assert len(plain) == len(moved) == 2
    assert moved[0].start_s == pytest.approx(plain[0].start_s + 0.05)
    assert moved[0].end_s == pytest.approx(plain[0].end_s - 0.05)
    (point, *_) = spans(dataclasses.replace(CONFIG, inset_s=3.0), of)
    assert point.start_s == pytest.approx(point.end_s)
    assert plain[0].start_s < point.start_s < plain[0].end_s
    wider = spans(dataclasses.replace(CONFIG, inset_s=-0.05), of)
    assert wider[0].start_s == pytest.approx(plain[0].start_s - 0.05)


def test_events_are_those_of_the_detector():
    rng = np.random.default_rng(0)
    scores = rng.integers(-128, 128, (2_000, 3)).astype(np.int8)
    columns = WINDOW + STEP * 1_999
    levels = rng.integers(-5_000, -3_000, columns).astype(np.int32)
    config = dataclasses.replace(CONFIG, gate_level=-100, gate_hold_columns=2)
    of = Tape(levels, scores)
    expected = detect(config, of)
    found = spans(config, of)
    assert len(found) > 20
    assert sorted((config.labels[e.label], e.score / FULL_SCALE) for e in expected) == sorted(
        (e.label, e.score) for e in found
    )
    assert all(0 <= e.start_s <= e.end_s for e in found) and found == sorted(found)


def test_a_recording_shorter_than_a_window_has_no_event():
    short = Tape(np.zeros(10, np.int32), np.zeros((0, 3), np.int8))
    assert spans(CONFIG, short) == []
