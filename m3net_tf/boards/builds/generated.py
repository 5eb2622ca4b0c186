# SPDX-License-Identifier: Apache-2.0
"""The files that a build gets from a board's facts: C header, CMake settings, linker script.

They go into the folder ``generated`` of the build, which CMake gets as ``M3NET_GENERATED_DIR``.
"""

from collections.abc import Iterable
from pathlib import Path

from m3net_tf.boards.builds.boards import Board, Memory
from m3net_tf.boards.builds.pdm import write_pdm_filter
from m3net_tf.boards.builds.sources import cmake_variable
from m3net_tf.system.artifacts import update_text
from m3net_tf.system.csource import defines, float_literal, guarded, notice, string_literal
from m3net_tf.system.errors import ConfigError

_PERMISSIONS = {"flash": "rx", "ram": "rwx"}
"""Of a memory in the linker script; ``rw`` for the others."""


def write_generated(board: Board, build_dir: Path) -> Path:
    """Write the files of a board for a build, with a PDM microphone its filter, too.

    A file that has its text already stays untouched, so that nothing is compiled again.

    Raises:
        ConfigError: a constant has the name of another fact.
    """
    folder = build_dir.resolve() / "generated"
    folder.mkdir(parents=True, exist_ok=True)
    update_text(folder / "board_config.h", header_text(board))
    update_text(folder / "board.cmake", settings_text(board))
    update_text(folder / "board.ld", linker_text(board))
    if board.pdm:
        write_pdm_filter(folder)
    return folder


def header_text(board: Board) -> str:
    """``board_config.h``: the facts that C code reads, as macros ``BOARD_...``.

    Raises:
        ConfigError: a constant has the name of another of these facts.
    """
    values: dict[str, int | float | str] = {
        "name": board.name,
        "cpu_core": board.core,
        "clock_hz": board.clock_hz,
        "job_address": board.job.start,
        "job_capacity_bytes": board.job.bytes,
    }
    if storage := board.storage:
        values |= {
            "storage_base": storage.start,
            "storage_sector_bytes": storage.sector_bytes,
            "storage_sectors": storage.sectors,
            "storage_word_bytes": storage.word_bytes,
        }
        if board.slot_sectors:
            values["storage_slot_sectors"] = board.slot_sectors
    for name, memory in _further_memories(board):
        values |= {f"{name}_base": memory.start, f"{name}_bytes": memory.bytes}
    if repeated := sorted(values.keys() & board.constants):
        raise ConfigError(
            f"key {repeated[0]!r} in table 'constants' of {board.file} has the name of another "
            "fact: rename it"
        )
    values |= board.constants
    macros = {name.upper(): _literal(name, value) for name, value in values.items()}
    return notice(_origin(board), line_comments=True) + guarded(
        "M3NET_BOARD_CONFIG_H_", defines("BOARD_", macros), name_guard_at_end=True
    )


def settings_text(board: Board) -> str:
    """``board.cmake``: what the firmware's ``CMakeLists.txt`` reads, as variables."""
    includes = [
        f"${{{cmake_variable(name)}}}/{folder}"
        for name, folders in board.third_party.items()
        for folder in folders
    ]
    definitions = [*board.definitions, *(["M3NET_HAS_STORAGE"] if board.storage else [])]
    if board.slot_sectors:
        definitions.append("M3NET_HAS_SLOTS")
    lines = [
        _set("M3NET_BOARD", [board.name]),
        _set("M3NET_BOARD_CORE", [board.core]),
        _set("M3NET_BOARD_ARCH", [board.arch]),
        _set("M3NET_BOARD_SOURCES", board.sources),
        _set("M3NET_BOARD_DRIVERS", board.drivers),
        _set("M3NET_BOARD_PDM", ["ON" if board.pdm else "OFF"]),
        _set("M3NET_BOARD_DEFINITIONS", definitions),
        _set("M3NET_BOARD_THIRD_PARTY", board.third_party),
        _set("M3NET_BOARD_SYSTEM_INCLUDES", includes),
        _set("M3NET_BOARD_CHOICES", board.choices),
    ]
    for setting, values in board.choices.items():
        lines.append(_set(f"{setting}_VALUES", values))
        lines += [_set(f"{setting}_SOURCES_{value}", values[value]) for value in values]
    if board.uf2:
        lines.append(_set("M3NET_BOARD_FLASH_START", [f"{board.memory['flash'].start:#x}"]))
    comment = notice(_origin(board), line_comments=True).replace("// ", "# ")
    return comment + "\n".join(lines) + "\n"


def linker_text(board: Board) -> str:
    """``board.ld``: memories and stack; each memory beside flash and RAM has a section."""
    regions = [_region_line(board, name) for name in board.memory]
    sections = [
        f"  .{name} (NOLOAD) :\n  {{\n    *(.{name} .{name}.*)\n  }} > {name.upper()}"
        for name, _ in _further_memories(board)
    ]
    lines = [
        "MEMORY",
        "{",
        *regions,
        "}",
        f"m3net_stack_bytes = {board.stack_bytes};",
        "INCLUDE sections.ld",
        *(["SECTIONS", "{", *sections, "}"] if sections else []),
    ]
    return notice(_origin(board)) + "\n".join(lines) + "\n"


def _region_line(board: Board, name: str) -> str:
    memory = board.memory[name]
    count = board.flash_bytes if name == "flash" else memory.bytes  # without the storage
    start = f"{memory.start:#010x}"
    size = f"{count:#x}"
    if name == "flash" and board.uf2:  # CMakeLists.txt defines the symbol
        start = "m3net_flash_start"
        size = f"{memory.start + count:#x} - m3net_flash_start"
    permissions = _PERMISSIONS.get(name, "rw")
    return f"  {name.upper()} ({permissions}) : ORIGIN = {start}, LENGTH = {size}"


def _further_memories(board: Board) -> list[tuple[str, Memory]]:
    return [(name, memory) for name, memory in board.memory.items() if name not in _PERMISSIONS]


def _origin(board: Board) -> str:
    return f"for {board.title} from firmware/boards/{board.name}/{board.file.name}"


def _literal(name: str, value: int | float | str) -> str:
    """A constant in C, addresses in hexadecimal."""
    if isinstance(value, str):
        return string_literal(value)
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return float_literal(value)
    return f"{value:#010x}u" if name.endswith(("_base", "_address")) else f"{value}u"


def _set(variable: str, values: Iterable[str]) -> str:
    return " ".join([f"set({variable}", *(f'"{value}"' for value in values)]) + ")"
