# SPDX-License-Identifier: Apache-2.0
"""The boards of ``firmware/boards``: one folder each, with all facts in its ``board.toml``.

Boards of a family share a file: ``family = "mps2"`` takes what ``firmware/boards/mps2.toml`` has
and the board's own file does not.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from m3net_tf.boards.builds.facts import check_table, read_toml, require_keys
from m3net_tf.boards.builds.sources import FIRMWARE_DIR, Source, library_sources, read_lock
from m3net_tf.system.checkout import require_sources
from m3net_tf.system.errors import ConfigError, FirmwareError

_REQUIRED: Mapping[str, type] = {
    "title": str,
    "core": str,
    "arch": str,
    "clock_hz": int,
    "stack_bytes": int,
    "memory": dict,
    "job": dict,
}
_OPTIONAL: Mapping[str, type] = {
    "family": str,
    "sources": list,
    "drivers": list,
    "pdm": bool,
    "definitions": list,
    "flash_commands": list,
    "third_party": dict,
    "choices": dict,
    "storage": dict,
    "uf2": dict,
    "qemu": dict,
    "constants": dict,
}
_FILE_NAME = "board.toml"

KEYS = (*_REQUIRED, *_OPTIONAL)
"""Keys of a ``board.toml``."""


@dataclass(frozen=True)
class Memory:
    """A region of a board's memory: address of its first byte, and its size in bytes."""

    start: int
    bytes: int


@dataclass(frozen=True)
class Storage:
    """Sectors of a board's flash that no image occupies, where it keeps thresholds.

    Attributes:
        start: address of the first byte; the image ends before it.
        sector_bytes: what one erase clears.
        sectors: number of them, at least 2.
        word_bytes: what one programming writes.
    """

    start: int
    sector_bytes: int
    sectors: int
    word_bytes: int


@dataclass(frozen=True)
class Uf2:
    """What UF2 boot loaders of a board take.

    Attributes:
        family: number of the chip family.
        first_address: lowest address that they write.
    """

    family: int
    first_address: int


@dataclass(frozen=True)
class Qemu:
    """QEMU's model of a board.

    Attributes:
        machine: QEMU's name for it.
        uart: index of the serial port that is the console.
        partial: it lacks parts of the board that the firmware needs to start.
    """

    machine: str
    uart: int = 0
    partial: bool = False


@dataclass(frozen=True)
class Board:
    """The facts of a board.

    Attributes:
        name: name of its folder.
        file: its ``board.toml``.
        title: the maker's name for it.
        core: a file of ``firmware/cmake/cores``.
        arch: a folder of ``firmware/arch``.
        clock_hz: clock of the core.
        stack_bytes: size of the stack.
        memory: memories of the linker script by name: ``flash``, ``ram``, and any for which the
            code has a section of the same name.
        job: memory for a job image, outside of those.
        sources: files of its folder.
        drivers: files of ``firmware/drivers``, without ``.c``.
        pdm: whether it decimates the bits of a PDM microphone.
        definitions: macros for the compiler.
        flash_commands: command lines that write it, the best first; ``{elf}``, ``{hex}`` and
            ``{bin}`` stand for the image.
        third_party: folders with headers of each third-party source that it needs.
        choices: for each setting of a build, its values with the further ``sources`` of each; the
            first value is the default.
        storage: the sectors of its flash that keep thresholds.
        uf2: its UF2 boot loaders; with one, the setting ``M3NET_FLASH_START`` moves the image.
        qemu: QEMU's model of it.
        constants: numbers, strings and truth values for the C code.
    """

    name: str
    file: Path
    title: str
    core: str
    arch: str
    clock_hz: int
    stack_bytes: int
    memory: Mapping[str, Memory]
    job: Memory
    sources: tuple[str, ...] = ()
    drivers: tuple[str, ...] = ()
    pdm: bool = False
    definitions: tuple[str, ...] = ()
    flash_commands: tuple[str, ...] = ()
    third_party: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    choices: Mapping[str, Mapping[str, tuple[str, ...]]] = field(default_factory=dict)
    storage: Storage | None = None
    uf2: Uf2 | None = None
    qemu: Qemu | None = None
    constants: Mapping[str, int | float | str] = field(default_factory=dict)

    @property
    def flash_bytes(self) -> int:
        """Size of the flash for the image, that of a boot loader included."""
        flash = self.memory["flash"]
        return self.storage.start - flash.start if self.storage else flash.bytes

    @property
    def weights_flash_bytes(self) -> int:
        """Flash that weights of convolutions may take in their faster form: a quarter."""
        return self.flash_bytes // 4

    @property
    def ram_bytes(self) -> int:
        """Size of all memories but flash."""
        return sum(memory.bytes for region, memory in self.memory.items() if region != "flash")


_RECORDS: Mapping[type, tuple[Mapping[str, type], Mapping[str, type]]] = {
    Memory: ({"start": int, "bytes": int}, {}),
    Storage: (dict.fromkeys(("start", "sector_bytes", "sectors", "word_bytes"), int), {}),
    Uf2: ({"family": int, "first_address": int}, {}),
    Qemu: ({"machine": str}, {"uart": int, "partial": bool}),
}


def list_boards() -> list[str]:
    """Names of all boards: the folders of ``firmware/boards``.

    Raises:
        ConfigError: there is no source checkout.
    """
    require_sources("firmware")
    return sorted(path.parent.name for path in (FIRMWARE_DIR / "boards").glob(f"*/{_FILE_NAME}"))


def load_board(name: str) -> Board:
    """Read a board's facts from its ``board.toml`` and its family's file.

    Raises:
        FirmwareError: there is no such board; the message lists those that exist.
        ConfigError: a file is not TOML, or a key is unknown, missing or of a wrong type.
    """
    if name not in list_boards():
        raise FirmwareError(
            f"unknown board {name!r}; boards that exist: {', '.join(list_boards())}"
        )
    file = FIRMWARE_DIR / "boards" / name / _FILE_NAME
    facts, place = _with_family(read_toml(file), file)
    check_table(facts, _REQUIRED, _OPTIONAL, f"in {place}")
    facts.pop("family", None)
    lists = {key: tuple(value) for key, value in facts.items() if isinstance(value, list)}
    require_keys(facts["memory"], ("flash", "ram"), f"in table 'memory' of {place}")
    tables = {
        "memory": {
            region: _record(Memory, table, f"memory.{region}", place)
            for region, table in facts["memory"].items()
        },
        "job": _record(Memory, facts["job"], "job", place),
        "third_party": _lists(facts.get("third_party", {}), "third_party", place),
        "choices": {
            setting: _lists(values, f"choices.{setting}", place)
            for setting, values in facts.get("choices", {}).items()
        },
        **{
            name: _record(kind, facts[name], name, place) if name in facts else None
            for name, kind in (("storage", Storage), ("uf2", Uf2), ("qemu", Qemu))
        },
        "constants": _constants(facts.get("constants", {}), place),
    }
    if storage := tables["storage"]:
        _check_storage(storage, tables["memory"]["flash"], place)
    return Board(name=name, file=file, **{**facts, **lists, **tables})


def board_sources(board: Board) -> tuple[Source, ...]:
    """The third-party sources of a firmware for a board: the library's and the chip's.

    Raises:
        FirmwareError: the board names a source that the lock file lacks.
    """
    pinned = {source.name: source for source in read_lock()}
    for name in board.third_party:
        if name not in pinned:
            raise FirmwareError(f"{board.file}: third_party.lock has no {name}; pin it there")
    return (*library_sources(), *(pinned[name] for name in board.third_party))


def _with_family(facts: dict[str, Any], file: Path) -> tuple[dict[str, Any], str]:
    """Complete a board's facts with its family's; where both have a table, merge its keys.

    Returns:
        The facts, and the names of their files, for messages.
    """
    if not isinstance(family := facts.get("family"), str):
        return facts, str(file)
    family_file = file.parent.parent / f"{family}.toml"
    if not family_file.is_file():
        raise ConfigError(f"key 'family' in {file} is {family!r}: there is no {family_file}")
    shared = read_toml(family_file)
    check_table(shared, {}, {**_REQUIRED, **_OPTIONAL}, f"in {family_file}")
    merged = {**shared, **facts}
    for key, value in facts.items():
        if isinstance(value, dict) and isinstance(shared.get(key), dict):
            merged[key] = {**shared[key], **value}
    return merged, f"{file} with {family_file}"


def _record(kind: type, table: object, name: str, place: str) -> Any:
    """A table of required and optional keys as the type that has them."""
    required, optional = _RECORDS[kind]
    values = _table(table, name, place)
    check_table(values, required, optional, f"in table {name!r} of {place}")
    return kind(**values)


def _check_storage(storage: Storage, flash: Memory, place: str) -> None:
    """Refuse sectors that the driver or the linker script cannot use."""
    where = f"table 'storage' of {place}"
    word, sector = storage.word_bytes, storage.sector_bytes
    if word not in (4, 8, 16, 32) or sector < word or sector % word:
        raise ConfigError(
            f"{where}: give words of 4, 8, 16 or 32 bytes, and sectors of whole words"
        )
    first, end = storage.start - flash.start, storage.start - flash.start + storage.sectors * sector
    if first <= 0 or first % sector or end > flash.bytes or storage.sectors < 2:
        raise ConfigError(f"{where}: give at least 2 whole sectors behind an image, in the flash")


def _lists(table: object, name: str, place: str) -> dict[str, tuple[str, ...]]:
    """A table of lists of strings under any keys."""
    values = _table(table, name, place)
    check_table(values, {}, dict.fromkeys(values, list), f"in table {name!r} of {place}")
    return {key: tuple(items) for key, items in values.items()}


def _constants(table: dict[str, Any], place: str) -> dict[str, int | float | str]:
    """The constants, after checking that each key can end a macro's name."""
    where = f"in table 'constants' of {place}"
    for key, value in table.items():
        if not re.fullmatch(r"[a-z][a-z0-9_]*", key):
            raise ConfigError(f"key {key!r} {where}: use lower-case letters, digits, underscores")
        is_number = type(value) in (int, float) and value >= 0
        if not is_number and not isinstance(value, (str, bool)):
            raise ConfigError(
                f"key {key!r} {where} is {value!r}: give a number from 0, a string, true or false"
            )
    return table


def _table(value: object, name: str, place: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ConfigError(f"key {name!r} in {place} is {value!r}: give a table")
    return value
