# SPDX-License-Identifier: Apache-2.0
"""Examples of events; whole recordings at once give the same events."""

import dataclasses

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from refusals import refuses

from m3net_tf.runtime import ClassSettings, Detector, DetectorConfig, Event, Tape, detect
from m3net_tf.runtime.detector import due_columns, gate_open
from m3net_tf.system.errors import ConfigError

PLAIN = ClassSettings("a", True, 0.5, 0.5, suppression_columns=0, window_runs=1, hits=1)
HIGH, LOW = 127, -128


def config(*classes: ClassSettings, **changes) -> DetectorConfig:
    made = DetectorConfig(window_columns=1, gate_bins=1, classes=classes, run_columns=1)
    return dataclasses.replace(made, **changes)


def events(settings: DetectorConfig, scores, levels=None) -> list[Event]:
    """Events of a detector that gets one column a run (except for the gate's levels)."""
    scores = np.array(scores, np.int8).reshape(len(scores), -1)
    detector = Detector(settings)
    steps = []
    for i, row in enumerate(scores):
        if detector.wants_inference([0 if levels is None else levels[i]]):
            steps.append(detector.step(row))
    return [event for event in steps if event]


def columns_of(detected: list[Event]) -> list[int]:
    return [event.column for event in detected]


def test_an_event_at_the_threshold_but_not_below():
    assert columns_of(events(config(PLAIN), [LOW, -1, 0, LOW])) == [2]
    assert events(config(PLAIN), [LOW, 0]) == [Event(1, 0, 32_768)]


def test_one_event_until_the_score_falls_below_release():
    settings = config(dataclasses.replace(PLAIN, release=0.25))
    assert columns_of(events(settings, [HIGH, -64, HIGH, -64, HIGH])) == [0]
    assert columns_of(events(settings, [HIGH, -65, HIGH])) == [0, 2]


def test_suppression_counts_columns():
    settings = config(dataclasses.replace(PLAIN, suppression_columns=5))
    assert columns_of(events(settings, [HIGH, LOW, LOW, LOW, HIGH, HIGH, HIGH])) == [0, 5]
    twice_as_fast = dataclasses.replace(settings, run_columns=2)
    detector = Detector(twice_as_fast)
    steps = []
    for i in range(20):
        if detector.wants_inference([0]):
            steps.append(detector.step([HIGH if i in (0, 4, 6) else LOW]))
    assert [event.column for event in steps if event] == [0, 6]


def test_hits_must_be_in_a_row():
    settings = config(dataclasses.replace(PLAIN, hits=3))
    assert columns_of(events(settings, [HIGH, HIGH, LOW, HIGH, HIGH, HIGH])) == [5]


def test_scores_are_averaged_and_runs_not_yet_made_count_as_lowest():
    settings = config(dataclasses.replace(PLAIN, window_runs=4))
    assert columns_of(events(settings, [HIGH, HIGH, HIGH])) == [2]  # 3 * 255 / 4 > 128
    assert columns_of(events(settings, [HIGH, LOW, LOW, LOW, HIGH, LOW, LOW, HIGH])) == []


def test_a_class_without_events_makes_none():
    settings = config(
        dataclasses.replace(PLAIN, event=False), dataclasses.replace(PLAIN, label="b")
    )
    assert [event.label for event in events(settings, [[HIGH, LOW], [LOW, HIGH]])] == [1]


def test_of_two_that_are_due_the_higher_comes_first_the_other_next():
    settings = config(PLAIN, dataclasses.replace(PLAIN, label="b"))
    detected = events(settings, [[100, 110], [100, 110], [LOW, LOW]])
    assert [(event.column, event.label) for event in detected] == [(0, 1), (1, 0)]
    detected = events(settings, [[100, 100], [LOW, LOW]])
    assert [(event.column, event.label) for event in detected] == [(0, 0)]


def test_the_model_runs_from_a_full_window_on():
    detector = Detector(config(PLAIN, window_columns=4, run_columns=3))
    inferences = [detector.wants_inference([0]) for _ in range(11)]
    assert np.flatnonzero(inferences).tolist() == [3, 6, 9]


def test_the_gate_spares_runs_in_silence():
    settings = config(PLAIN, gate_level=-50, gate_hold_columns=2)
    levels = [-51, -50, -51, -51, -51, -51, 10]
    detector = Detector(settings)
    assert [detector.wants_inference([level]) for level in levels] == [
        False, True, True, True, False, False, True,
    ]  # fmt: skip
    assert detector.skipped_runs == 3
    # A run that the gate skips counts as the lowest score and ends an event.
    assert columns_of(events(settings, [LOW, HIGH, HIGH, HIGH, HIGH, HIGH, HIGH], levels)) == [1, 6]


def test_after_a_reset_columns_and_events_are_counted_from_zero():
    detector = Detector(config(PLAIN, window_columns=2))

    def hear() -> Event | None:
        event = None
        for _ in range(3):
            if detector.wants_inference([0]):
                event = detector.step([HIGH]) or event
        return event

    first = hear()
    counted = detector.columns, detector.runs, detector.events
    assert first == Event(1, 0, 65_280) and counted == (3, 2, 1)
    detector.reset()
    assert (detector.columns, detector.runs, detector.events) == (0, 0, 0)
    assert hear() == first
    assert (detector.columns, detector.runs, detector.events) == counted


def test_settings_of_a_class_may_change_while_it_listens():
    detector = Detector(config(PLAIN))
    detector.wants_inference([0])
    detector.step([0])
    detector.set_class(0, dataclasses.replace(PLAIN, threshold=0.9, release=0.9, window_runs=8))
    assert detector.score(0) == 4096
    with refuses(ConfigError, "window_runs", "9", "8"):
        detector.set_class(0, dataclasses.replace(PLAIN, window_runs=9))


@st.composite
def any_class(draw: st.DrawFn, label: str) -> ClassSettings:
    release, threshold = sorted(draw(st.lists(st.floats(0.01, 1), min_size=2, max_size=2)))
    return ClassSettings(
        label,
        draw(st.booleans()) or draw(st.booleans()),
        threshold,
        release,
        draw(st.integers(0, 30)),
        draw(st.integers(1, 20)),
        draw(st.integers(1, 4)),
    )


@settings(max_examples=200, derandomize=True, database=None)
@given(
    classes=st.integers(1, 4).flatmap(
        lambda count: st.tuples(*(any_class(f"c{k}") for k in range(count)))
    ),
    run_columns=st.integers(1, 6),
    window_columns=st.integers(1, 9),
    gate_level=st.none() | st.integers(-128, 127),
    hold=st.integers(0, 20),
    count=st.integers(0, 250),
    cut=st.integers(0, 250),
    seed=st.integers(0, 2**32 - 1),
    several=st.booleans(),
)
def test_a_whole_recording_at_once_gives_the_same_events(
    classes, run_columns, window_columns, gate_level, hold, count, cut, seed, several
):
    detector_config = DetectorConfig(
        window_columns, 1, classes, run_columns, gate_level, hold, several_labels=several
    )
    rng = np.random.default_rng(seed)
    levels = np.repeat(rng.integers(-128, 128, count // 8 + 1), 8)[:count].astype(np.int32)
    due = due_columns(detector_config, count)
    place = np.repeat(rng.integers(-128, 128, (len(due) // 4 + 1, len(classes))), 4, axis=0)
    noise = rng.integers(-20, 21, (len(due), len(classes)))
    scores = np.clip(place[: len(due)] + noise, -128, 127).astype(np.int8)
    detector = Detector(detector_config)
    detected = []
    at = {int(column): i for i, column in enumerate(due)}
    ran = list[int]()
    ahead = list[int]()
    for index, level in enumerate(levels):
        if index == cut:
            ahead = (cut + detector.runs_ahead(levels[cut:])).tolist()
        if detector.wants_inference([level]):
            ran.append(index)
            if event := detector.step(scores[at[index]]):
                detected.append(event)
    assert ahead == [index for index in ran if index >= cut]
    assert detect(detector_config, Tape(levels, scores)) == detected
    assert detector.runs == gate_open(detector_config, levels)[due].sum()
