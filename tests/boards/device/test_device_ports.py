# SPDX-License-Identifier: Apache-2.0
"""Invalid ports, and the errors about them."""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path

import pytest
from refusals import refuses

from m3net_tf.boards.device import open_port
from m3net_tf.boards.device.session import emulated_sound, firmware_of
from m3net_tf.boards.emulation import qemu
from m3net_tf.boards.measure.chain import run_chain
from m3net_tf.system.errors import FirmwareError, ModelError
from m3net_tf.training import Run


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("/dev/ttyNONE7", "tcp:HOST:PORT or qemu:BOARD"),
        ("tcp:localhost", "give tcp:HOST:PORT"),
        ("tcp:localhost:http", "give tcp:HOST:PORT"),
        ("tcp::3456", "give tcp:HOST:PORT"),
        ("tcp:localhost:70000", "give tcp:HOST:PORT"),
        ("qemu:mps2_an386", "--run RUN"),
    ],
)
def test_names_that_are_no_port(name: str, words: str):
    with pytest.raises(FirmwareError, match=words) as caught:
        open_port(name)
    assert str(caught.value).startswith(f"{name}: ") and "\n" not in str(caught.value)


def test_nothing_is_behind_the_name(tmp_path: Path):
    path = tmp_path / "file"
    path.touch()
    with refuses(FirmwareError, path):
        open_port(str(path))
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with refuses(FirmwareError, port):
        open_port(f"tcp:127.0.0.1:{port}")


def test_nothing_is_built_for_a_board_that_nothing_emulates():
    """Not even for one that exists, which would fail in the linker instead."""

    def build(board: str) -> Path:
        raise AssertionError("built")

    words = "stm32f4_discovery.*mps2_an385"
    with pytest.raises(FirmwareError, match=words):
        open_port("qemu:stm32f4_discovery", firmware=build)
    with pytest.raises(FirmwareError, match=words):
        emulated_sound("qemu:stm32f4_discovery", Path("no_run"), None)


def test_the_chain_refuses_such_a_board_before_its_slow_stages(tmp_path: Path):
    with refuses(FirmwareError, "stm32f4_discovery", "mps2_an385"):
        run_chain(Run(tmp_path / "no_run"), "stm32f4_discovery")


def test_an_emulated_board_hears_a_file_and_a_real_one_the_world():
    with refuses(FirmwareError, "--play", "FILE"):
        emulated_sound("qemu:mps2_an386", Path("no_run"), None)
    assert emulated_sound("/dev/ttyACM0", Path("no_run"), Path("no.wav")) is None


def test_what_is_built_is_said_first(tmp_path: Path):
    lines: list[str] = []
    with pytest.raises(ModelError):
        firmware_of(tmp_path / "no_run", lines.append)("mps2_an386")
    assert lines == [f"building the firmware of {tmp_path / 'no_run'} for mps2_an386"]


def test_no_firmware_and_a_sound_for_a_real_board(tmp_path: Path):
    with refuses(FirmwareError, tmp_path / "mps2_an386"):
        open_port("qemu:mps2_an386", firmware=lambda board: tmp_path / board)
    with refuses(FirmwareError, "tcp:localhost:1"):
        open_port("tcp:localhost:1", sound=bytes(2))


EMULATOR = """#!{python}
import os, re, sys
words = " ".join(sys.argv)
if "broken" in words:
    sys.exit("no machine of this name")
assert not re.search("tcp:|telnet:|unix:|host=|path=|server", words), words
name, fd = re.search(r"-chardev socket,id=(\\w+),fd=(\\d+)", words).groups()
assert f"-serial chardev:{{name}} " in words
fd = int(fd)
os.write(fd, b"greeting")
while True:
    os.write(fd, os.read(fd, 100).upper())
"""


def test_no_other_process_can_take_the_console_of_an_emulator(tmp_path: Path, monkeypatch):
    """It is one end of a pair of sockets, which have no address."""
    program = tmp_path / "qemu-system-arm"
    program.write_text(EMULATOR.format(python=sys.executable))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    elf = tmp_path / "firmware.elf"
    elf.touch()
    with open_port("qemu:mps2_an386", firmware=lambda _: elf) as port:
        assert port.read(10) == b"greeting"
        port.write(b"version")
        assert port.read(10) == b"VERSION"
    elf = elf.rename(tmp_path / "broken.elf")
    with refuses(FirmwareError, "qemu:mps2_an386: ", "did not start (no machine of this name)"):
        open_port("qemu:mps2_an386", firmware=lambda _: elf)


def test_image_of_a_sound():
    image = qemu.stream_image(b"\x01\x00\xff\x7f", 64)
    assert image[:4] == qemu.MAGIC and image[32:] == b"\x01\x00\xff\x7f"
    assert qemu.HEADER.unpack(image[:32])[1:5] == (1, qemu.KIND_STREAM, 1, 4)
    for samples in (b"", b"\x01", bytes(40)):
        with pytest.raises(FirmwareError, match="16-bit samples|exceeds the board's job memory"):
            qemu.stream_image(samples, 64)
