# SPDX-License-Identifier: Apache-2.0
"""Writing a firmware to a board with tools that only print their arguments; HEX and UF2 files."""

from __future__ import annotations

import stat
import struct
from pathlib import Path

import pytest
from refusals import refuses

from m3net_tf.boards.builds import boards
from m3net_tf.boards.builds.flash import flash_command, flash_image, flash_way
from m3net_tf.boards.builds.image import FirmwareImage, read_hex, uf2_blocks
from m3net_tf.system.errors import FirmwareError

HARDWARE = [board for board in boards.list_boards() if boards.load_board(board).flash_commands]


@pytest.fixture()
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is the whole PATH, for stand-ins of tools."""
    folder = tmp_path / "tools"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    return folder


def add_tool(folder: Path, name: str, status: int = 0) -> Path:
    """A program that writes its arguments, a line each, into a file and ends with ``status``."""
    said = folder / f"{name}.said"
    program = folder / name
    program.write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" > {said}\nexit {status}\n')
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    return said


def image_for(board: str, folder: Path) -> FirmwareImage:
    return FirmwareImage(folder / "an image" / "m3net_firmware.elf", board, {}, 0, 0)


def test_boards_of_hardware_can_be_written():
    assert HARDWARE == ["nrf52840dk", "nucleo_h753zi", "stm32f4_discovery"]


@pytest.mark.parametrize("board", HARDWARE)
def test_the_first_installed_tool_is_used(board: str, tools: Path, tmp_path: Path):
    image = image_for(board, tmp_path)
    programs = [way.split()[0] for way in boards.load_board(board).flash_commands]
    assert len(set(programs)) == len(programs) >= 3
    for program in reversed(programs):  # each is better than those before
        said = add_tool(tools, program)
        command, file = flash_command(image)
        assert command[0] == program and file.with_suffix(".elf") == image.elf
        lines: list[str] = []
        flash_image(image, lines.append)
        arguments = said.read_text()
        assert str(file) in arguments and "{" not in arguments
        assert lines == [f"writing {file} to {board} with {program}", f"{board} has the firmware"]


def test_openocd_gets_its_script_in_one_piece(tools: Path, tmp_path: Path):
    add_tool(tools, "openocd")
    image = image_for("stm32f4_discovery", tmp_path)
    script = f"program {image.elf} verify reset exit"
    expected = ["openocd", "-f", "board/stm32f4discovery.cfg", "-c", script]
    assert flash_command(image) == (expected, image.elf)


def test_emulated_boards_say_how_to_run_them(tools: Path):
    with refuses(FirmwareError, "mps2_an386"):
        flash_way("mps2_an386")


@pytest.mark.parametrize(
    ("board", "tool", "form"),
    [
        ("nrf52840dk", "nrfjprog", "hex"),
        ("nucleo_h753zi", "st-flash", "hex"),
        ("stm32f4_discovery", "openocd", "elf"),
    ],
)
def test_a_tool_that_fails_is_named_with_the_file_that_it_got(
    board: str, tool: str, form: str, tools: Path, tmp_path: Path
):
    said = add_tool(tools, tool, status=3)
    with pytest.raises(
        FirmwareError, match=rf"{tool} failed with status 3 on (\S.*): .*cable"
    ) as e:
        flash_image(image_for(board, tmp_path), lambda _: None)
    file = tmp_path / "an image" / f"m3net_firmware.{form}"
    assert f" on {file}: " in str(e.value) and str(file) in said.read_text()


def record(address: int, kind: int, data: bytes) -> str:
    body = bytes([len(data)]) + address.to_bytes(2, "big") + bytes([kind]) + data
    return f":{(body + bytes([-sum(body) % 256])).hex().upper()}\n"


END = record(0, 1, b"")


def test_hex_with_addresses_beyond_16_bits(tmp_path: Path):
    path = tmp_path / "image.hex"
    path.write_text(
        record(0x10, 0, b"\x01\x02")
        + record(0, 4, b"\x08\x00") + record(0xFFFF, 0, b"\x03")
        + record(0, 2, b"\x10\x00") + record(2, 0, b"\x04")
        + record(0, 5, b"\x08\x00\x00\x00") + record(0, 3, b"\x00\x00\x00\x00")
        + END + "after the end\n"
    )  # fmt: skip
    assert read_hex(path) == {0x10: 1, 0x11: 2, 0x0800FFFF: 3, 0x10002: 4}


@pytest.mark.parametrize(
    ("text", "where"),
    [
        (":0100000001FD\n" + END, ":1: damaged"),  # checksum
        (record(0, 0, b"\x01")[1:] + END, ":1: damaged"),
        (record(0, 0, b"\x01") + ":02000000010203\n", ":2: damaged"),
        (record(0, 9, b"") + END, ":1: damaged"),
        (":xyz\n", ":1: damaged"),
        (":\n", ":1: damaged"),
        (record(0, 0, b"\x01"), "the last record is missing"),
    ],
)
def test_damaged_hex_names_its_line(tmp_path: Path, text: str, where: str):
    path = tmp_path / "image.hex"
    path.write_text(text)
    with pytest.raises(FirmwareError, match=where) as caught:
        read_hex(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_uf2_blocks(tmp_path: Path):
    """By the format's description: magic numbers, addresses, numbering, padding, family."""
    data = bytes(range(200)) * 3  # from the middle of a page over two more
    lines = [record(0x1080 + at, 0, data[at : at + 16]) for at in range(0, len(data), 16)]
    (tmp_path / "image.hex").write_text("".join(lines) + record(0x8000, 0, b"\x55") + END)
    file = uf2_blocks(read_hex(tmp_path / "image.hex"), 0xADA52840)
    assert len(file) == 4 * 512
    memory: dict[int, int] = {}
    for number in range(4):
        block = file[512 * number : 512 * (number + 1)]
        head = struct.unpack_from("<8I", block)
        assert head[:3] == (0x0A324655, 0x9E5D5157, 0x00002000)
        address, size = head[3:5]
        assert address % 256 == 0 and size == 256
        assert head[5:] == (number, 4, 0xADA52840)
        assert block[32 + 256 : 508] == bytes(220)
        assert struct.unpack_from("<I", block, 508) == (0x0AB16F30,)
        memory.update(enumerate(block[32 : 32 + 256], address))
    assert bytes(memory[0x1080 + at] for at in range(len(data))) == data
    assert memory[0x8000] == 0x55 and memory[0x8001] == memory[0x107F] == 0xFF
    assert set(memory) == set(range(0x1000, 0x1300)) | set(range(0x8000, 0x8100))
