# SPDX-License-Identifier: Apache-2.0
"""The board's stream as messages, and the requests of pages, without a board or a browser."""

from __future__ import annotations

import json
from typing import Any

import pytest
from live_rig import CLASS, LABELS, Rig, column, scores

from m3net_tf.audio.frontend import FrontendConfig
from m3net_tf.boards.device.messages import Message
from m3net_tf.pages.live_page.board import LiveBoard


def test_news_have_columns_scores_events_and_near_misses():
    lines = [
        *map(column, range(4)),
        scores(3, 127, -128, -128),
        Message("event", "column=3 label=0 score=65280 latency_us=1500"),
        column(4),
        scores(4, -128, -20, 127),
        column(5),
        Message("level", "peak=300 clipped=0 missing_db=24 gain_db=0 verdict=quiet"),
        Message("column", "column=x values="),
        scores(5, -128, -128, -128),
        None,
    ]
    rig = Rig(lines, FrontendConfig())
    rig.board.run()
    assert rig.news("columns")[0] == (0, "00" * 40) and len(rig.news("columns")) == 6
    assert [run["at"] for run in rig.news("runs")] == [3, 4, 5]
    assert rig.news("runs")[0]["means"] == [0.9961, 0, 0]
    (event,) = rig.news("events")
    assert event == {
        "column": 3,
        "label": 0,
        "time_s": 0.092,
        "score": 65280 / 65536,
        "latency_ms": 1.5,
    }
    (miss,) = rig.news("near_misses")
    assert (miss["column"], miss["label"], miss["reason"]) == (4, 1, "threshold")
    assert miss["words"] == "below the threshold: 42.2 % of 50.0 %"
    assert rig.of("news")[-1]["damaged_lines"] == 1 and rig.of("news")[-1]["state"] == "listening"
    assert (rig.of("news")[0]["level"], rig.of("news")[0]["warning"]) == ("", "")
    assert rig.of("news")[-1]["level"] == "peak -41 dBFS"
    assert "24 dB more gain" in rig.of("news")[-1]["warning"]
    assert rig.of("statistics")[0]["awake_ppm"] == 125_000
    rig.board.join(rig.replies.append)
    (hello,) = rig.replies
    assert hello["labels"] == LABELS and len(hello["columns"]) == 6 and len(hello["hz"]) == 40
    assert hello["events"] == [event] and hello["near_misses"] == [miss]
    assert [settings["event"] for settings in hello["classes"]] == [True, True, False]


def test_pages_are_told_the_speed_and_whose_clock_it_is():
    rig = Rig([])
    board = LiveBoard(rig.stream, print, speed=["speed on x: real time", "  1 ms"], emulated=True)
    board.join(rig.replies.append)
    rig.board.join(rig.replies.append)
    emulated, real = rig.replies
    assert emulated["speed"] == "speed on x: real time 1 ms" and emulated["emulated"]
    assert real["speed"] == "" and not real["emulated"]


def test_a_threshold_is_set_on_the_board_and_said_to_all_pages():
    rig = Rig([])
    assert rig.ask(type="threshold", label=0, value=0.25) == ""
    assert rig.device.requests == ["threshold 0 16384 16384"]
    (message,) = rig.of("threshold")
    assert message["threshold"] == 0.25
    assert rig.view.thresholds[0] == 0.25
    assert rig.ask(type="threshold", label=0, value=0.75) == ""
    # The release comes back to its first value when the threshold rises again.
    assert rig.device.requests[-1] == f"threshold 0 49152 {CLASS.release_units}"
    assert rig.ask(type="reset") == ""
    after = [settings["threshold"] for settings in rig.of("threshold")[2:]]
    assert after == pytest.approx([0.5, 0.5, 0.6], abs=1e-5)


def test_lines_before_the_answer_meet_the_old_threshold():
    rig = Rig([])
    rig.device.before_answer = [
        *map(column, range(4)),
        scores(3, -1, -128, -128),
        Message("event", ""),
    ]
    rig.ask(type="threshold", label=0, value=0.3)
    rig.device.before_answer = [column(4), scores(4, -40, -128, -128), column(5)]
    rig.ask(type="threshold", label=0, value=0.9)
    rig.board.flush()
    assert rig.view.damaged_lines == 1  # the event without numbers
    # Below 0.5 by a step at first; above 0.3 in the middle.
    assert rig.news("near_misses") == []
    assert [run["at"] for run in rig.news("runs")] == [3, 4]


def first_message(rig: Rig) -> dict[str, Any]:
    rig.board.join(rig.replies.append)
    return rig.replies.pop()


def test_thresholds_are_kept_and_forgotten():
    rig = Rig([], saved=False)
    assert first_message(rig)["saved"] is False
    rig.ask(type="threshold", label=1, value=0.25)
    assert rig.ask(type="save") == "The board keeps these thresholds."
    assert rig.device.requests[-1] == "save" and first_message(rig)["saved"] is True
    # A detection at 0.25, which would be a near miss at 0.5.
    rig.device.before_answer = [*map(column, range(4)), scores(3, -128, -51, -128), column(4)]
    assert "has the exported ones again" in rig.ask(type="forget")
    assert rig.device.requests[-2:] == ["save clear", "threshold"]
    assert [message["saved"] for message in rig.of("saved")] == [True, False]
    assert first_message(rig)["saved"] is False
    assert [message["threshold"] for message in rig.of("threshold")[-3:]] == [0.5, 0.5, 0.5]
    assert rig.view.thresholds[1] == 0.5
    rig.board.flush()
    assert len(rig.news("columns")) == 5 and rig.news("near_misses") == []


def test_a_board_without_flash_says_so_from_the_start():
    rig = Rig([])
    assert first_message(rig)["saved"] is None
    assert "no_flash" in rig.ask(type="forget") and rig.published == []


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        ("threshold", "request"),
        ({"type": "erase"}, "erase"),
        ({"type": "wav", "clip": 1}, "--capture"),
        ({"type": "threshold", "label": 3, "value": 0.5}, "class 3: give a number from 0 to 2"),
        ({"type": "threshold", "label": -1, "value": 0.5}, "$.label"),
        ({"type": "threshold", "label": True, "value": 0.5}, "$.label"),
        ({"type": "threshold", "label": "yes", "value": 0.5}, "$.label"),
        ({"type": "threshold", "label": 0, "value": "1"}, "$.value"),
        ({"type": "threshold", "label": 0, "value": float("nan")}, "request"),
        ({"type": "threshold", "label": 0, "value": 1.01}, "$.value"),
        ({"type": "threshold", "label": 0}, "value"),
        ({"type": "save"}, "the board reports no_flash: there is no flash"),
    ],
)
def test_a_refused_request_changes_nothing(request_: Any, words: str):
    rig = Rig([])
    rig.board.handle(json.dumps(request_), rig.replies.append)
    (notice,) = rig.replies
    assert notice["type"] == "notice" and notice["error"] and words in notice["text"]
    assert rig.published == [] and set(rig.device.requests) <= {"save"}


def test_a_board_that_keeps_silent_is_damage_not_the_end():
    rig = Rig([column(0), None])
    rig.device.silent = True
    rig.board.run()
    assert rig.view.damaged_lines == 1 and rig.of("statistics") == []
    assert "no answer" in rig.ask(type="save")


def test_it_stops_between_two_lines():
    rig = Rig([column(0), column(1)])
    rig.board.submit(rig.board.stop)
    rig.board.run()
    assert len(rig.news("columns")) == 2
    rig = Rig([column(0), column(1)])
    rig.board.stop()
    rig.board.run()
    assert rig.news("columns") == [(0, "00" * 40)]


def test_it_stops_between_two_requests_and_reads_lines_between_them():
    rig = Rig(map(column, range(1000)))
    called: list[int] = []

    def ask_again() -> None:  # as a tab that always has a next request
        called.append(len(rig.view.columns))
        if len(called) == 50:
            rig.board.stop()
        rig.board.submit(ask_again)
        rig.board.submit(ask_again)

    rig.board.submit(ask_again)
    rig.board.run()
    assert len(called) == 50 and called[-1] == 6
