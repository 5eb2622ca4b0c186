# SPDX-License-Identifier: Apache-2.0
"""``board.toml``: refused values, and the values passed to C, CMake and the linker."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from refusals import refuses

from m3net_tf.boards.builds import boards
from m3net_tf.boards.builds.generated import (
    header_text,
    linker_text,
    settings_text,
    write_generated,
)
from m3net_tf.boards.builds.sources import FIRMWARE_DIR
from m3net_tf.compiler.checksum import LAYOUTS
from m3net_tf.system.errors import ConfigError, FirmwareError

ODD = """\
title = "an odd board"
core = "cortex-m4f"
arch = "cortex_m"
clock_hz = 1_000_000
stack_bytes = 2048
flash_commands = ["a {elf}", "b (c) {hex}"]
memory.flash = { start = 0x800_0000, bytes = 0x1_0000 }
memory.ram = { start = 0x2000_0000, bytes = 0x8000 }
job = { start = 0x3000_0000, bytes = 0x1000 }
"""


@pytest.fixture
def odd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The ``board.toml`` of a board ``odd``, the only one there is."""
    file = tmp_path / "boards" / "odd" / "board.toml"
    file.parent.mkdir(parents=True)
    file.write_text(ODD)
    for folder in ("arch", "cmake"):
        shutil.copytree(FIRMWARE_DIR / folder, tmp_path / folder)
    monkeypatch.setattr(boards, "FIRMWARE_DIR", tmp_path)
    return file


def test_facts_have_types_and_defaults(odd: Path):
    board = boards.load_board("odd")
    assert (board.name, board.file, board.core) == ("odd", odd, "cortex-m4f")
    assert board.memory["ram"] == boards.Memory(0x2000_0000, 32 << 10)
    assert board.flash_commands == ("a {elf}", "b (c) {hex}")
    assert (board.drivers, board.pdm, board.uf2, board.machine) == ((), False, None, None)


@pytest.mark.parametrize(
    ("text", "replacement", "key", "remedy"),
    [
        ("clock_hz", "clock", "'clock'", "did you mean 'clock_hz'"),
        ('core = "cortex-m4f"\n', "", "'core'", "add it"),
        ("job = {", "# ", "'job'", "add it"),
        (", bytes = 0x1000 }", " }", "'bytes' is missing in section 'board.job'", "add it"),
        ("0x8000 }", '"32K" }', "board.memory.ram.bytes is '32K'", "give a whole number"),
        ("memory.ram", "memory.RAM", "'ram'", "add it"),
        ("memory.ram = {", "memory.ram = 1 #", "'board.memory.ram' is 1", "give keys and values"),
        ("2048", "2048.0", "board.stack_bytes is 2048.0", "give a whole number"),
        ('["a {elf}", ', "[1, ", "board.flash_commands[0] is 1", "give text"),
        ("job", "uf2.family = 1\njob", "'first_address'", "add it"),
        ("job", "qemu.name = 1\njob", "'name'", "known keys are"),
        ("job", "constants.a = []\njob", "board.constants.a is []", "give"),
        ("job", "constants.a = -1\njob", "board.constants.a is -1", "at least 0"),
        ("job", "constants.A = 1\njob", "board.constants.A", "lower-case"),
        ("job", "choices.A = 1\njob", "board.choices.A is 1", "give keys and values"),
        ("job", "third_party.a = 1\njob", "board.third_party.a is 1", "give a list"),
        ("job", 'family = "none"\njob', "'family'", "there is no"),
        ("title = ", "title ", "TOML", "correct it"),
    ],
)
def test_a_wrong_key_is_named_with_its_file(
    odd: Path, text: str, replacement: str, key: str, remedy: str
):
    assert text in ODD
    odd.write_text(ODD.replace(text, replacement, 1))
    with pytest.raises(ConfigError) as caught:
        boards.load_board("odd")
    message = str(caught.value)
    assert "\n" not in message
    for part in (str(odd), key, remedy):
        assert part in message


STORAGE = "{ start = 0x800_E000, sector_bytes = 0x1000, sectors = 2, word_bytes = 4 }"


@pytest.mark.parametrize(
    ("text", "replacement"),
    [
        ("word_bytes = 4", "word_bytes = 0"),
        ("word_bytes = 4", "word_bytes = 12"),
        ("word_bytes = 4", "word_bytes = 64"),
        ("= 0x1000", "= 0"),
        ("= 0x1000", "= 0x1002"),
        ("= 0x1000", "= -4"),
        ("sectors = 2", "sectors = 1"),
        ("sectors = 2", "sectors = 3"),
        ("800_E000", "800_E800"),
        ("800_E000", "800_0000"),
        ("800_E000", "2000_0000"),
        ("800_E000", "7FF_F000"),
    ],
)
def test_a_storage_is_whole_sectors_of_the_flash_behind_an_image(
    odd: Path, text: str, replacement: str
):
    odd.write_text(f"{ODD}storage = {STORAGE}\n")
    board = boards.load_board("odd")
    assert board.flash_bytes == 0xE000 and board.memory["flash"].bytes == 0x1_0000
    assert "FLASH (rx) : ORIGIN = 0x08000000, LENGTH = 0xe000\n" in linker_text(board)
    assert 'set(M3NET_BOARD_DEFINITIONS "M3NET_HAS_STORAGE")\n' in settings_text(board)
    for macro in ("BASE 0x0800e000u", "SECTOR_BYTES 4096u", "SECTORS 2u", "WORD_BYTES 4u"):
        assert f"#define BOARD_STORAGE_{macro}\n" in header_text(board)
    assert text in STORAGE
    odd.write_text(f"{ODD}storage = {STORAGE.replace(text, replacement)}\n")
    with refuses(ConfigError, str(odd), "board.storage"):
        boards.load_board("odd")


def test_slots_for_models_take_the_flash_before_the_storage(odd: Path):
    without = boards.load_board("odd")
    assert without.with_slots(1000) is without
    odd.write_text(f"{ODD}storage = {STORAGE}\n")
    usual = boards.load_board("odd")
    board = usual.with_slots(2 * usual.storage.sector_bytes + 1)
    assert board.slot_sectors == 3
    slots = 2 * 3 * usual.storage.sector_bytes
    assert board.storage.start == usual.storage.start - slots
    assert board.flash_bytes == usual.flash_bytes - slots
    assert "#define BOARD_STORAGE_SLOT_SECTORS 3u" in header_text(board)
    assert '"M3NET_HAS_SLOTS"' in settings_text(board)
    assert "SLOT" not in header_text(usual) + settings_text(usual)
    with refuses(FirmwareError, "odd", "--updatable"):
        usual.with_slots(usual.flash_bytes // 2)


def test_each_core_has_an_order_of_weights():
    orders = {name: boards.load_board(name).weights for name in boards.list_boards()}
    assert {*orders.values()} == {*LAYOUTS}


def test_a_family_gives_what_its_boards_leave_out(odd: Path):
    odd.write_text(f'family = "kin"\n{ODD}constants.here = 1\nconstants.both = 2\n')
    kin = odd.parents[1] / "kin.toml"
    kin.write_text('drivers = ["some"]\nstack_bytes = 1\nconstants.both = 3\nconstants.there = 4\n')
    board = boards.load_board("odd")
    assert (board.drivers, board.stack_bytes) == (("some",), 2048)
    assert board.constants == {"both": 2, "there": 4, "here": 1}
    kin.write_text("constants.bad = -1\n")
    with refuses(ConfigError, "board.toml", "kin.toml", "board.constants.bad", "-1"):
        boards.load_board("odd")
    kin.write_text("driver = []\n")
    with refuses(ConfigError, "kin.toml", "'driver'"):
        boards.load_board("odd")


def test_a_source_that_is_not_pinned_is_named(odd: Path):
    odd.write_text(f"{ODD}third_party.nowhere = []\nthird_party.other = []\n")
    with refuses(FirmwareError, "odd", "board.toml"):
        boards.board_sources(boards.load_board("odd"))


@pytest.mark.parametrize("name", boards.list_boards())
def test_what_a_board_names_exists(name: str):
    board = boards.load_board(name)
    assert (FIRMWARE_DIR / "arch" / board.arch).is_dir()
    further = (source for values in board.choices.values() for source in values.values())
    own = {*board.sources, *(file for files in further for file in files)}
    assert own == {path.name for path in board.file.parent.glob("*.c")}
    for driver in board.drivers:
        assert (FIRMWARE_DIR / "drivers" / f"{driver}.c").is_file()
    header = header_text(board)
    assert f'#define BOARD_NAME "{name}"\n#define BOARD_CPU_CORE "{board.core}"\n' in header
    assert f"#define BOARD_CLOCK_HZ {board.clock_hz}u\n" in header


def test_facts_of_a_core_are_those_of_its_compiler_flags():
    folder = FIRMWARE_DIR / "cmake" / "cores"
    cores = {path.stem for path in folder.glob("*.cmake")}
    assert {path.stem for path in folder.glob("*.toml")} == cores
    for board in map(boards.load_board, boards.list_boards()):
        flags = (folder / f"{board.core}.cmake").read_text()
        assert board.fixed_frontend == ("M3NET_FRONTEND_FIXED=1" in flags)


def test_an_unknown_core_lists_the_known_ones(odd: Path):
    odd.write_text(ODD.replace("cortex-m4f", "z80"))
    with refuses(ConfigError, "'z80'", "cortex-m3", "cortex-m33"):
        boards.load_board("odd")
    odd.write_text(ODD.replace("cortex_m", "mips"))
    with refuses(ConfigError, "'mips'", "cortex_m"):
        boards.load_board("odd")


def test_constants_are_macros():
    header = header_text(boards.load_board("nucleo_h753zi"))
    for macro in ("ANALOG_CHANNEL 15u", "ANALOG_GAIN 4.0e+00f", "DMA_BASE 0x30000000u"):
        assert f"#define BOARD_{macro}\n" in header
    assert '#define BOARD_COUNTER_UNIT "instructions"\n' in header_text(
        boards.load_board("mps3_an547")
    )


def test_a_constant_with_the_name_of_another_fact_is_refused(odd: Path):
    odd.write_text(f"{ODD}constants.clock_hz = 1\n")
    with refuses(ConfigError, "'clock_hz'"):
        header_text(boards.load_board("odd"))


def test_each_further_memory_has_a_section():
    script = linker_text(boards.load_board("nucleo_h753zi"))
    assert "  DMA (rw) : ORIGIN = 0x30000000, LENGTH = 0x8000\n" in script
    assert "  .dma (NOLOAD) :\n  {\n    *(.dma .dma.*)\n  } > DMA\n" in script
    assert "SECTIONS" not in linker_text(boards.load_board("mps2_an500"))


def test_an_image_moves_only_behind_a_boot_loader():
    moved = boards.load_board("nrf52840dk")
    assert 'set(M3NET_BOARD_FLASH_START "0x0")' in settings_text(moved)
    line = "FLASH (rx) : ORIGIN = m3net_flash_start, LENGTH = 0xf2000 - m3net_flash_start\n"
    assert line in linker_text(moved)
    fixed = boards.load_board("mps2_an500")
    assert "FLASH_START" not in settings_text(fixed)
    assert "FLASH (rx) : ORIGIN = 0x00000000, LENGTH = 0x400000\n" in linker_text(fixed)


def test_equal_files_stay_untouched(odd: Path, tmp_path: Path):
    """Otherwise each build would compile everything again."""
    board = boards.load_board("odd")
    folder = write_generated(board, tmp_path)
    before = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert set(before) == {"board_config.h", "board.cmake", "board.ld"}
    write_generated(board, tmp_path)
    assert {path.name: path.stat().st_mtime_ns for path in folder.iterdir()} == before
    odd.write_text(ODD.replace("2048", "4096"))
    write_generated(boards.load_board("odd"), tmp_path)
    assert "m3net_stack_bytes = 4096;\n" in (folder / "board.ld").read_text()
    assert (folder / "board_config.h").stat().st_mtime_ns == before["board_config.h"]
