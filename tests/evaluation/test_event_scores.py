# SPDX-License-Identifier: Apache-2.0
"""Scores of events against annotations, computed by hand from sed_eval's definitions."""

import itertools
import random

import pytest

from m3net_tf.audio.annotations.events import SoundEvent
from m3net_tf.evaluation.event_scores import (
    COLLAR_S,
    LENGTH_SHARE,
    Counts,
    event_based,
    segment_based,
)


def events(*rows: tuple[float, float, str]) -> list[SoundEvent]:
    return [SoundEvent(*row) for row in rows]


@pytest.mark.parametrize(
    ("found", "correct"),
    [
        ((1.0, 2.0), 1),
        ((1.2, 2.0), 1),  # the collar belongs to it
        ((0.8, 2.0), 1),
        ((1.21, 2.0), 0),
        ((0.79, 2.0), 0),
        ((1.0, 2.5), 1),  # half of a second
        ((1.0, 1.5), 1),
        ((1.0, 2.51), 0),
        ((1.0, 1.49), 0),
    ],
)
def test_edges_of_an_event_of_a_second(found, correct):
    assert event_based(events((1, 2, "a")), events((*found, "a"))).all.correct == correct


@pytest.mark.parametrize(("end_s", "correct"), [(1.3, 1), (1.31, 0)])
def test_a_short_event_has_the_collar_at_its_end(end_s, correct):
    """A fifth of a second is more than half of the length of 0.1 s."""
    assert event_based(events((1, 1.1, "a")), events((1, end_s, "a"))).all.correct == correct


def test_events_by_hand():
    annotated = events((0, 1, "a"), (2, 3, "a"), (5, 6, "b"), (8, 9, "b"))
    detected = events(
        (0.1, 1.1, "a"),  # correct
        (0.15, 1.0, "a"),  # a second one for the same: inserted
        (2.1, 3.0, "b"),  # another class: substituted
        (5.5, 6.0, "b"),  # starts too late: inserted, and that one is deleted
    )
    scores = event_based(annotated, detected)
    assert scores.all == Counts(annotated=4, detected=4, correct=1, substitutions=1)
    assert (scores.all.deletions, scores.all.insertions) == (2, 2)
    figures = scores.all.to_dict()
    assert figures["precision"] == figures["recall"] == figures["f1"] == 1 / 4
    assert figures["error_rate"] == (1 + 2 + 2) / 4
    assert scores.classes == {"a": Counts(2, 2, 1), "b": Counts(2, 2, 0)}
    assert scores.classes["a"].to_dict()["error_rate"] == (0 + 1 + 1) / 2


def test_matching_is_as_large_as_it_can_be():
    """The first in time would take the only event that fits the second."""
    annotated = events((1.0, 2.0, "a"), (1.3, 2.0, "a"))
    detected = events((0.9, 2.0, "a"), (1.15, 2.0, "a"))
    assert event_based(annotated, detected).all.correct == 2
    assert event_based(annotated[::-1], detected[::-1]).all.correct == 2


def largest(annotated, detected) -> int:
    """Most pairs that are correct, by trying all assignments."""

    def fits(true, found) -> bool:
        if found is None:
            return False
        ends_s = max(COLLAR_S, LENGTH_SHARE * (true.end_s - true.start_s))
        return (
            true.label == found.label
            and round(abs(true.start_s - found.start_s), 6) <= COLLAR_S
            and round(abs(true.end_s - found.end_s), 6) <= round(ends_s, 6)
        )

    padded = [*detected, *[None] * len(annotated)]
    return max(
        sum(
            found is not None and fits(true, found)
            for true, found in zip(annotated, order, strict=False)
        )
        for order in itertools.permutations(padded, len(annotated))
    )


def test_matching_is_that_of_trying_everything():
    draw = random.Random(1)

    def drawn() -> list[SoundEvent]:
        starts = [draw.randint(0, 8) / 10 for _ in range(draw.randint(0, 4))]
        return events(*((at, at + draw.randint(1, 6) / 10, draw.choice("ab")) for at in starts))

    found = [(drawn(), drawn()) for _ in range(150)]
    correct = [event_based(*pair).all.correct for pair in found]
    assert correct == [largest(*pair) for pair in found] and sum(correct) > 50


def test_segments_by_hand():
    """Seconds 0 to 5: a a - b b, of which b a - b - and one a beyond are detected."""
    annotated = events((0.0, 2.0, "a"), (3.2, 4.1, "b"))
    detected = events((0.1, 0.9, "b"), (1.5, 1.6, "a"), (3.0, 4.0, "b"), (6.0, 6.5, "a"))
    scores = segment_based(annotated, detected)
    assert scores.classes == {"a": Counts(2, 2, 1), "b": Counts(2, 2, 1)}
    assert scores.all == Counts(annotated=4, detected=4, correct=2, substitutions=1)
    assert (scores.all.deletions, scores.all.insertions) == (1, 1)
    figures = scores.all.to_dict()
    assert figures["f1"] == 1 / 2 and figures["error_rate"] == (1 + 1 + 1) / 4


def test_an_end_on_a_second_is_not_in_the_next_segment():
    assert segment_based(events((0, 2, "a")), []).all.annotated == 2
    assert segment_based(events((0, 2.01, "a")), []).all.annotated == 3


@pytest.mark.parametrize("scorer", [event_based, segment_based])
def test_without_events_on_a_side(scorer):
    one = events((1, 1.5, "a"))
    nothing = scorer([], []).all.to_dict()
    assert nothing["f1"] is None and nothing["error_rate"] is None
    missed = scorer(one, []).all.to_dict()
    assert missed["recall"] == missed["f1"] == 0 and missed["error_rate"] == 1
    assert missed["precision"] is None
    assert scorer([], one).all.to_dict()["precision"] == 0


@pytest.mark.parametrize("scorer", [event_based, segment_based])
def test_recordings_add_up(scorer):
    first = scorer(events((0, 1, "a")), events((0, 1, "a"), (2, 3, "b")))
    second = scorer(events((0, 1, "b")), events((0, 1, "c")))
    both = first + second
    assert both.all == Counts(annotated=2, detected=3, correct=1, substitutions=1)
    assert both.classes == {"a": Counts(1, 1, 1), "b": Counts(1, 1, 0), "c": Counts(0, 1, 0)}
