# SPDX-License-Identifier: Apache-2.0
"""Recordings of a board whose microphone loses sound."""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np
from refusals import refuses

from m3net_tf.audio.datasets.captured import CapturedClips
from m3net_tf.boards.device.capture import capture
from m3net_tf.boards.device.client import Device
from m3net_tf.boards.device.ports import Port
from m3net_tf.system.errors import FirmwareError

SOUND = np.arange(1600, dtype="<i2").tobytes()
LINES = {
    "version": ["ok version protocol=1 board=small audio=1"],
    "info": [
        "frontend rate_hz=16000 hop_samples=320",
        "model name=small sha256=0123",
        "ok info block_bytes=4096 buffer_bytes=32000",
    ],
    "record": ["ok record bytes=3200"],
    "stream": ["ok stream"],
}


class ListeningBoard(Port):
    """A board that records ``SOUND``, and loses sound in the recordings of these numbers."""

    def __init__(self, *losing: int) -> None:
        super().__init__("/dev/board")
        self._losing = losing
        self._recordings = self._lost = 0
        self._answers = b""

    def read(self, timeout_s: float) -> bytes:
        del timeout_s
        answers = self._answers
        self._answers = b""
        return answers

    def write(self, data: bytes) -> None:
        for command in filter(None, data.decode().split("\n")):
            word = command.split()[0]
            if word == "record":
                self._recordings += 1
                self._lost += 3 * (self._recordings in self._losing)
            lines = LINES.get(word, [f"ok {word} audio_overruns={self._lost}"])
            if word == "read":
                header = f"m3net data offset=0 bytes={len(SOUND)} crc={zlib.crc32(SOUND)}\n"
                self._answers += header.encode() + SOUND + b"\r\n"
            self._answers += "".join(f"m3net {line}\r\n" for line in lines).encode()

    def close(self) -> None:
        pass


def test_a_recording_that_lost_sound_is_not_stored(tmp_path: Path):
    with Device(ListeningBoard(3)) as device:
        stored = capture(device, tmp_path, "clap", 2, 0.1)
        with refuses(FirmwareError, "/dev/board", "lost sound 3 times", "record again"):
            capture(device, tmp_path, "clap", 2, 0.1)
        stored += capture(device, tmp_path, "clap", 1, 0.1)
    assert [clip.path for clip in CapturedClips(tmp_path)] == stored
    assert len(stored) == 3
