# SPDX-License-Identifier: Apache-2.0
"""Job images and the parser of the firmware's console: no board needed."""

from __future__ import annotations

import struct
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from m3net_tf.boards.emulation import qemu
from m3net_tf.boards.emulation.qemu import UartLog
from m3net_tf.system.errors import FirmwareError

OUTPUTS = (b"\x01\x80", b"\x7f\xff")
CRC = zlib.crc32(b"".join(OUTPUTS))
GOOD = (
    "m3net boot board=mps2_an386 model=m sha256=00 frames=2 bins=3 classes=2 counter=cycles\r\n"
    "m3net clip 0 label=0 out=0180 frontend_instr=80 model_instr=40 frames=2\r\n"
    "m3net clip 1 feat=010203fffefd label=0 out=7fff frames=2\r\n"
    "m3net memory arena_used=10 arena_size=16 stack_used=8 stack_size=64 frontend_bytes=5\r\n"
    f"m3net done clips=2 crc={CRC:#010x}\r\n"
)


def test_image_layout():
    clips = np.array([[1, -2], [300, -400]], np.int16)
    image = qemu.job_image(clips, report_features=True, report_instructions=False)
    payload = image[32:]
    assert image[:4] == b"M3NJ"
    assert struct.unpack("<HHIIII2I", image[4:32]) == (
        1, 1, 2, 4, zlib.crc32(payload), qemu.FLAG_FEATURES, 0, 0,
    )  # fmt: skip
    assert payload == struct.pack("<4h", 1, -2, 300, -400)


def test_image_of_features_keeps_order():
    clips = np.arange(12, dtype=np.int8).reshape(2, 3, 2)
    image = qemu.job_image(clips)
    assert image[32:] == bytes(range(12))
    assert struct.unpack_from("<HHII", image, 4) == (1, qemu.KIND_FEATURES, 2, 6)


@pytest.mark.parametrize(
    "clips",
    [np.zeros((2, 4), np.float32), np.zeros((0, 4), np.int8), np.zeros(4, np.int8)],
)
def test_clips_that_are_none(clips):
    with pytest.raises(FirmwareError, match="clips"):
        qemu.job_image(clips)


def test_split_fits_the_memory():
    clips = np.zeros((10, 100), np.int8)
    parts = qemu.split_clips(clips, 32 + 399)
    assert [len(part) for part in parts] == [3, 3, 3, 1]
    with pytest.raises(FirmwareError, match="exceeds"):
        qemu.split_clips(clips, 100)


@pytest.mark.parametrize("chunk", [1, 7, 1000])
def test_good_log(chunk: int):
    log = UartLog()
    data = GOOD.encode()
    for start in range(0, len(data), chunk):
        log.feed(data[start : start + chunk])
    assert log.done is not None and log.error is None
    assert [clip.output for clip in log.clips] == list(OUTPUTS)
    assert log.clips[0].features is None and log.clips[0].frontend_instructions == 80
    assert log.clips[1].features == bytes([1, 2, 3, 255, 254, 253])
    assert log.memory["stack_used"] == 8 and log.boot["board"] == "mps2_an386"


@pytest.mark.parametrize(
    "line",
    [
        "m3net clip",
        "m3net clip x label=0 out=00 frames=1",
        "m3net clip 0 label= out=00 frames=1",
        "m3net clip 0 label=0 out=0 frames=1",
        "m3net clip 0 label=0 out=zz frames=1",
        "m3net clip 0 label=0 out= frames=1",
        "m3net clip 0 label=0 frames=1",
        "m3net clip 1 label=0 out=00 frames=1",
        "m3net clip 0 label=0 out=00 frames=1 junk",
        "m3net memory arena_used=many",
        "m3net done clips=1 crc=0x00000000",
        "m3net done clips=0 crc=0x12345678",
        "m3net done",
        "m3net boot board",
    ],
)
def test_damaged_lines_are_errors(line: str):
    with pytest.raises(FirmwareError, match="damaged console line") as caught:
        UartLog().feed(line.encode() + b"\r\n")
    assert "\n" not in str(caught.value)


def test_error_line():
    log = UartLog()
    log.feed(b"noise\r\nm3net error arena too small: build with more\r\nm3net error b c\r\n")
    assert log.error == ("arena", "too small: build with more")


def test_line_without_end_is_refused():
    log = UartLog()
    with pytest.raises(FirmwareError, match="without end"):
        for _ in range(40):
            log.feed(b"\xff" * 65536)


@given(st.integers(0, len(GOOD) - 1), st.integers(0, 255))
def test_one_wrong_byte_is_no_other_answer(position: int, value: int):
    """A byte changed in transit is detected, or changes no answer."""
    data = bytearray(GOOD.encode())
    data[position] = value
    log = UartLog()
    try:
        log.feed(bytes(data))
    except FirmwareError:
        return
    if log.done is not None:
        assert [clip.output for clip in log.clips] == list(OUTPUTS)
