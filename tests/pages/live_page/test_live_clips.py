# SPDX-License-Identifier: Apache-2.0
"""Sounds of a stream that get labels, without a browser."""

from __future__ import annotations

import base64
import dataclasses
import errno
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from live_rig import Rig, column, scores

from m3net_tf.audio.datasets import captured
from m3net_tf.audio.datasets.captured import CapturedClips
from m3net_tf.boards.device.messages import Message
from m3net_tf.pages.live_page.clips import Captures, RecentSound

HOP = 320
SAMPLES = 1600  # the window of 1472 samples, and up to a whole tenth of a second


def audio(index: int) -> Message:
    samples = np.full(HOP, index, "<i2")
    return Message("audio", f"offset={index * HOP} bytes={2 * HOP}", samples.tobytes())


class CapturingRig(Rig):
    """A live board whose sounds get labels."""

    def __init__(self, folder: Path, lines: list[Message | None], **stream: Any) -> None:
        super().__init__([])
        opened = dataclasses.replace(self.stream, messages=lines, **stream)
        self.captures = Captures(folder, opened)
        self.board = self.board.__class__(opened, self.published.append, captures=self.captures)


@pytest.fixture()
def rig(tmp_path: Path) -> CapturingRig:
    """After a detection of the first class and a near miss of the second."""
    lines: list[Message | None] = [audio(0)]
    for index in range(10):
        lines += [audio(index + 1), column(index)]  # a column ends in the hop after its own
        if index == 7:
            lines += [scores(7, 127, -128, -128)]
            lines += [Message("event", "column=7 label=0 score=65280 latency_us=1500")]
        elif index == 8:
            lines += [scores(8, -128, -20, -128)]
        elif index == 9:
            lines += [scores(9, -128, -128, -128)]
    rig = CapturingRig(tmp_path / "captured", [*lines, None], audio=True)
    rig.board.run()
    return rig


def saved(rig: CapturingRig) -> list[tuple[str | None, str]]:
    return [(clip.label, clip.provenance["reason"]) for clip in CapturedClips(rig.captures.folder)]


def test_recent_sound_has_no_gaps():
    recent = RecentSound(6)
    recent.add(0, np.ones(4, np.int16))
    recent.add(4, np.full(3, 2, np.int16))
    assert recent.cut(0, 4) is None  # the oldest gave way
    np.testing.assert_array_equal(recent.cut(1, 7), [1, 1, 1, 2, 2, 2])
    assert recent.cut(4, 8) is None and recent.cut(5, 5) is None
    recent.add(8, np.ones(2, np.int16))  # after a sample that got lost
    np.testing.assert_array_equal(recent.cut(8, 10), [1, 1])
    assert recent.cut(6, 10) is None and recent.cut(5, 7) is None
    recent.add(0, np.ones(2, np.int16))  # another stream
    np.testing.assert_array_equal(recent.cut(0, 2), [1, 1])


def test_the_sound_of_each_window_is_kept(rig: CapturingRig):
    event, miss = rig.of("sound")
    assert (event["kind"], event["detected"], event["label"]) == ("event", "yes", None)
    assert event["words"] == "detection, 99.6 %"
    assert (miss["kind"], miss["detected"]) == ("near_miss", "<b>no")
    assert miss["words"].startswith("below the threshold: 42.2 %")
    rig.board.handle(json.dumps({"type": "wav", "clip": miss["clip"]}), rig.replies.append)
    samples, rate_hz = soundfile.read(
        io.BytesIO(base64.b64decode(rig.replies[0]["wav"])), dtype="int16"
    )
    end = 8 * HOP + 512
    expected = np.repeat(np.arange(10), HOP)[end - SAMPLES : end]
    assert rate_hz == 16_000
    np.testing.assert_array_equal(samples, expected)
    rig.board.join(rig.replies.append)
    facts = rig.replies[1]["captures"]
    assert facts["samples"] == SAMPLES and facts["board_sound"] and len(facts["sounds"]) == 2


def test_labels_are_saved_with_provenance_and_may_change(rig: CapturingRig):
    event, miss = (sound["clip"] for sound in rig.of("sound"))
    rig.ask(type="label", clip=miss, label="<b>no")
    (clip,) = CapturedClips(rig.captures.folder)
    assert clip.label == "<b>no" and clip.provenance["reason"] == "near_miss"
    assert float(clip.provenance["score"]) == pytest.approx(0.4219, abs=1e-3)
    assert clip.provenance["source"] == "board" and clip.provenance["recording"].startswith(
        "board 2"
    )
    assert rig.published[-1]["label"] == "<b>no" and rig.published[-1]["clips"] == 1
    rig.ask(type="label", clip=event, label="yes")
    assert set(saved(rig)) == {("<b>no", "near_miss"), ("yes", "")}
    rig.ask(type="label", clip=event, label="false_alarm")
    assert set(saved(rig)) == {("<b>no", "near_miss"), ("false_alarm", "false_alarm")}
    rig.ask(type="discard", clip=event)
    assert saved(rig) == [("<b>no", "near_miss")] and rig.published[-1]["clips"] == 1
    rig.ask(type="discard", clip=miss)
    assert saved(rig) == []


def test_a_full_disk_is_a_notice_and_the_label_can_be_given_again(rig: CapturingRig, monkeypatch):
    event, _ = (sound["clip"] for sound in rig.of("sound"))
    rig.ask(type="label", clip=event, label="yes")
    with monkeypatch.context() as patch:
        patch.setattr(captured, "write_bytes", refuse)
        again = json.dumps({"type": "label", "clip": event, "label": "<b>no"})
        rig.board.handle(again, rig.replies.append)
    assert rig.replies[-1]["error"] and "No space left on device" in rig.replies[-1]["text"]
    assert saved(rig) == []
    rig.ask(type="label", clip=event, label="<b>no")
    assert [label for label, _ in saved(rig)] == ["<b>no"]


def refuse(path: Path, content: bytes) -> None:
    raise OSError(errno.ENOSPC, "No space left on device", str(path))


def test_a_recording_of_the_browser(rig: CapturingRig):
    samples = np.arange(SAMPLES, dtype="<i2")
    rig.ask(type="recording", samples=base64.b64encode(samples.tobytes()).decode())
    sound = rig.published[-1]
    assert sound["kind"] == "microphone" and sound["detected"] is None
    rig.ask(type="label", clip=sound["clip"], label="silence")
    (clip,) = CapturedClips(rig.captures.folder)
    assert clip.label == "silence" and clip.provenance["source"] == "browser"
    np.testing.assert_array_equal(soundfile.read(clip.path, dtype="int16")[0], samples)


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        ({"type": "wav"}, "clip"),
        ({"type": "wav", "clip": 99}, "sound 99 is no longer kept"),
        ({"type": "label", "clip": 1, "label": "../up"}, "label '../up': choose one of yes"),
        ({"type": "label", "clip": 1, "label": None}, "$.label"),
        ({"type": "label", "clip": 1, "label": ["yes"]}, "$.label"),
        ({"type": "discard", "clip": "1"}, "$.clip"),
        ({"type": "recording", "samples": "AAA="}, "a recording has 1600 samples"),
        ({"type": "recording", "samples": "?"}, "$.samples"),
        ({"type": "recording", "samples": 3}, "$.samples"),
    ],
)
def test_what_cannot_be_labelled(rig: CapturingRig, request_: dict, words: str):
    assert words in rig.ask(**request_)
    assert len(rig.of("sound")) == 2 and not rig.captures.folder.exists()


def test_only_the_newest_sounds_are_kept(rig: CapturingRig):
    text = base64.b64encode(bytes(2 * SAMPLES)).decode()
    for _ in range(120):
        rig.ask(type="recording", samples=text)
    assert len(rig.captures.facts()["sounds"]) == 100
    assert "no longer kept" in rig.ask(type="wav", clip=1)


def test_a_line_without_sound_keeps_none_and_a_played_one_has_all(tmp_path: Path):
    lines = [
        *map(column, range(5)),
        Message("event", "column=4 label=0 score=65280 latency_us=1500"),
    ]
    rig = CapturingRig(tmp_path, list(lines))
    rig.board.run()
    assert rig.of("sound") == [] and not rig.captures.facts()["board_sound"]
    rig = CapturingRig(tmp_path, list(lines), played=np.zeros(16_000, np.int16))
    rig.board.run()
    assert len(rig.of("sound")) == 1 and rig.captures.facts()["board_sound"]
