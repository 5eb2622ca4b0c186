# SPDX-License-Identifier: Apache-2.0
"""Ports that are none, and what is said of them."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from m3net_tf.device import open_port
from m3net_tf.emulation import job
from m3net_tf.errors import FirmwareError


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("/dev/ttyNONE7", "no such port .*or say tcp:HOST:PORT, qemu:BOARD"),
        ("tcp:localhost", "not an address; say tcp:HOST:PORT"),
        ("tcp:localhost:http", "not an address"),
        ("tcp::3456", "not an address"),
        ("tcp:localhost:70000", "not an address"),
        ("qemu:mps2_an386", "say which run's firmware is to be emulated: --run RUN"),
    ],
)
def test_names_that_are_no_port(name: str, words: str):
    with pytest.raises(FirmwareError, match=words) as caught:
        open_port(name)
    assert str(caught.value).startswith(f"{name}: ") and "\n" not in str(caught.value)


def test_a_file_is_no_serial_port(tmp_path: Path):
    path = tmp_path / "file"
    path.touch()
    with pytest.raises(FirmwareError, match="cannot be opened as a serial port"):
        open_port(str(path))


def test_nobody_listens():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with pytest.raises(FirmwareError, match="nobody listens there .*start the emulator"):
        open_port(f"tcp:127.0.0.1:{port}")


def test_unknown_emulated_board(tmp_path: Path):
    with pytest.raises(FirmwareError, match="no emulator for board 'toaster'"):
        open_port("qemu:toaster", firmware=lambda board: tmp_path / board)


def test_missing_firmware(tmp_path: Path):
    with pytest.raises(FirmwareError, match="no such firmware; build it first"):
        open_port("qemu:mps2_an386", firmware=lambda board: tmp_path / board)


def test_only_emulated_boards_are_given_a_sound():
    with pytest.raises(FirmwareError, match="only an emulated board"):
        open_port("tcp:localhost:1", sound=bytes(2))


def test_image_of_a_sound():
    image = job.stream_image(b"\x01\x00\xff\x7f", 64)
    assert image[:4] == job.MAGIC and image[32:] == b"\x01\x00\xff\x7f"
    assert job.HEADER.unpack(image[:32])[1:5] == (1, job.KIND_STREAM, 1, 4)
    for samples in (b"", b"\x01", bytes(40)):
        with pytest.raises(FirmwareError, match="16-bit samples|exceeds the board's job memory"):
            job.stream_image(samples, 64)
