# SPDX-License-Identifier: Apache-2.0
"""The boards of ``firmware/boards``: one folder each, with all facts in its ``board.toml``.

Boards of a family share a file: ``family = "mps2"`` takes what ``firmware/boards/mps2.toml`` has
and the board's own file does not. The facts of a board's core are in
``firmware/cmake/cores/<core>.toml``, beside the compiler flags of the core.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from m3net_tf.boards.builds.sources import FIRMWARE_DIR, Source, library_sources, read_lock
from m3net_tf.system.checkout import require_sources
from m3net_tf.system.errors import ConfigError, FirmwareError, require_known_keys

KERNELS = ("plain", "dsp", "helium")
"""Forms of CMSIS-NN's kernels: for cores with neither, with the DSP extension, with Helium."""

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
_STORAGE = dict.fromkeys(("start", "sector_bytes", "sectors", "word_bytes"), int)
_UF2 = {"family": int, "first_address": int}
_QEMU_OPTIONAL: Mapping[str, type] = {"uart": int, "partial": bool}
_TYPE_NAMES: Mapping[type, str] = {
    bool: "true or false",
    dict: "a table",
    int: "a whole number",
    list: "a list of strings",
    str: "a string",
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
class Machine:
    """An emulated board.

    Attributes:
        board: name of the board whose ELF it runs.
        machine: the emulator's name for it.
        job_address: where the job image goes in the board's memory.
        job_bytes: room there.
        uart: index of the serial port that is the console.
        partial: it lacks a part of the board that the firmware needs to start.
        emulator: program that emulates it.
        package: Debian package that brings the emulator.
        arguments: further arguments for the emulator.
        stall_timeout_s: longest wait for the next console line, in seconds of the host's clock.
    """

    board: str
    machine: str
    job_address: int
    job_bytes: int
    uart: int = 0
    partial: bool = False
    emulator: str = "qemu-system-arm"
    package: str = "qemu-system-arm"
    # One nanosecond an instruction: timers of the board advance with the instructions.
    arguments: tuple[str, ...] = ("-icount", "shift=0")
    stall_timeout_s: float = 120.0


@dataclass(frozen=True)
class Board:
    """The facts of a board.

    Attributes:
        name: name of its folder.
        file: its ``board.toml``.
        title: the maker's name for it.
        core: a file of ``firmware/cmake/cores``.
        kernels: form of CMSIS-NN's kernels on the core, one of :data:`KERNELS`.
        fixed_frontend: whether the front end computes in whole numbers on the core.
        needs_dsp: whether front end or microphone compute with CMSIS-DSP.
        arch: a folder of ``firmware/arch``.
        clock_hz: clock of the core.
        stack_bytes: size of the stack.
        memory: memories of the linker script by name: ``flash``, ``ram``, and any for which the
            code has a section of the same name.
        flash_bytes: flash for the image and a boot loader, without the sectors for thresholds.
        job: memory for a job image, outside of ``memory``.
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
        machine: QEMU's model of it; None without.
        constants: numbers, strings and truth values for the C code.
    """

    name: str
    file: Path
    title: str
    core: str
    kernels: str
    fixed_frontend: bool
    needs_dsp: bool
    arch: str
    clock_hz: int
    stack_bytes: int
    memory: Mapping[str, Memory]
    flash_bytes: int
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
    machine: Machine | None = None
    constants: Mapping[str, int | float | str] = field(default_factory=dict)

    @property
    def weights_flash_bytes(self) -> int:
        """Flash that weights of convolutions may take in their faster form: a quarter."""
        return self.flash_bytes // 4

    @property
    def ram_bytes(self) -> int:
        """Size of all memories but flash."""
        return sum(memory.bytes for region, memory in self.memory.items() if region != "flash")


def list_boards() -> list[str]:
    """Names of all boards: the folders of ``firmware/boards``.

    Raises:
        ConfigError: there is no source checkout.
    """
    require_sources("firmware")
    return sorted(path.parent.name for path in (FIRMWARE_DIR / "boards").glob(f"*/{_FILE_NAME}"))


def load_board(name: str) -> Board:
    """Read a board's facts from its ``board.toml``, its family's file and its core's file.

    Raises:
        FirmwareError: there is no such board; the message lists those that exist.
        ConfigError: a file is not TOML, or a key is unknown, missing or of a wrong type.
    """
    if name not in list_boards():
        raise FirmwareError(
            f"unknown board {name!r}; boards that exist: {', '.join(list_boards())}"
        )
    file = FIRMWARE_DIR / "boards" / name / _FILE_NAME
    facts, place = _with_family(_read_toml(file), file)
    _check_table(facts, _REQUIRED, _OPTIONAL, f"in {place}")
    _require_keys(facts["memory"], ("flash", "ram"), f"in table 'memory' of {place}")
    kernels, fixed_frontend = _core_facts(facts["core"])
    pdm = facts.get("pdm", False)
    memory = {
        region: _memory(table, f"memory.{region}", place)
        for region, table in facts["memory"].items()
    }
    flash = memory["flash"]
    storage = _storage(facts["storage"], flash, place) if "storage" in facts else None
    job = _memory(facts["job"], "job", place)
    machine = None
    if "qemu" in facts:
        qemu = _record(facts["qemu"], "qemu", place, {"machine": str}, _QEMU_OPTIONAL)
        machine = Machine(name, job_address=job.start, job_bytes=job.bytes, **qemu)
    uf2 = _record(facts["uf2"], "uf2", place, _UF2) if "uf2" in facts else None
    return Board(
        name=name,
        file=file,
        title=facts["title"],
        core=facts["core"],
        kernels=kernels,
        fixed_frontend=fixed_frontend,
        needs_dsp=pdm or not fixed_frontend,
        arch=facts["arch"],
        clock_hz=facts["clock_hz"],
        stack_bytes=facts["stack_bytes"],
        memory=memory,
        flash_bytes=storage.start - flash.start if storage else flash.bytes,
        job=job,
        sources=tuple(facts.get("sources", ())),
        drivers=tuple(facts.get("drivers", ())),
        pdm=pdm,
        definitions=tuple(facts.get("definitions", ())),
        flash_commands=tuple(facts.get("flash_commands", ())),
        third_party=_lists(facts.get("third_party", {}), "third_party", place),
        choices={
            setting: _lists(values, f"choices.{setting}", place)
            for setting, values in facts.get("choices", {}).items()
        },
        storage=storage,
        uf2=Uf2(**uf2) if uf2 else None,
        machine=machine,
        constants=_constants(facts.get("constants", {}), place),
    )


def machines() -> tuple[Machine, ...]:
    """The emulated boards whose firmware starts, ordered by name.

    Raises:
        ConfigError: there is no source checkout, or a ``board.toml`` has a wrong key.
    """
    boards = (load_board(name) for name in list_boards())
    return tuple(board.machine for board in boards if board.machine and not board.machine.partial)


def find_machine(board: str) -> Machine:
    """The emulated machine for a board.

    Raises:
        FirmwareError: there is no such board, or no machine emulates it; the message lists those
            that exist.
        ConfigError: as :func:`machines`.
    """
    machine = load_board(board).machine
    if machine is None or machine.partial:
        emulated = ", ".join(machine.board for machine in machines())
        raise FirmwareError(f"{board}: no emulator runs this board; emulated boards: {emulated}")
    return machine


def emulated_board(board: str) -> str:
    """The board itself if it is emulated, else one with the same core; '' if there is none.

    Raises:
        FirmwareError: there is no such board.
        ConfigError: as :func:`machines`.
    """
    core = load_board(board).core
    names = [machine.board for machine in machines() if load_board(machine.board).core == core]
    return board if board in names else next(iter(names), "")


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


def _core_facts(core: str) -> tuple[str, bool]:
    """``kernels`` and ``fixed_frontend`` of a core.

    Raises:
        ConfigError: there is no such core, or a key is unknown, missing or of a wrong type.
    """
    folder = FIRMWARE_DIR / "cmake" / "cores"
    file = folder / f"{core}.toml"
    if not file.is_file():
        cores = sorted(path.stem for path in folder.glob("*.toml"))
        raise ConfigError(f"unknown core {core!r}; cores that exist: {', '.join(cores)}")
    facts = _read_toml(file)
    _check_table(facts, {"kernels": str, "fixed_frontend": bool}, {}, f"in {file}")
    if facts["kernels"] not in KERNELS:
        raise ConfigError(
            f"key 'kernels' in {file} is {facts['kernels']!r}: choose {', '.join(KERNELS)}"
        )
    return facts["kernels"], facts["fixed_frontend"]


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
    shared = _read_toml(family_file)
    _check_table(shared, {}, {**_REQUIRED, **_OPTIONAL}, f"in {family_file}")
    merged = {**shared, **facts}
    for key, value in facts.items():
        if isinstance(value, dict) and isinstance(shared.get(key), dict):
            merged[key] = {**shared[key], **value}
    return merged, f"{file} with {family_file}"


def _memory(table: object, name: str, place: str) -> Memory:
    return Memory(**_record(table, name, place, {"start": int, "bytes": int}))


def _storage(table: object, flash: Memory, place: str) -> Storage:
    """The sectors for thresholds.

    Raises:
        ConfigError: the driver or the linker script cannot use them.
    """
    storage = Storage(**_record(table, "storage", place, _STORAGE))
    where = f"table 'storage' of {place}"
    word, sector = storage.word_bytes, storage.sector_bytes
    if word not in (4, 8, 16, 32) or sector < word or sector % word:
        raise ConfigError(
            f"{where}: give words of 4, 8, 16 or 32 bytes, and sectors of whole words"
        )
    first = storage.start - flash.start
    end = first + storage.sectors * sector
    if first <= 0 or first % sector or end > flash.bytes or storage.sectors < 2:
        raise ConfigError(f"{where}: give at least 2 whole sectors behind an image, in the flash")
    return storage


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


def _lists(table: object, name: str, place: str) -> dict[str, tuple[str, ...]]:
    """A table of lists of strings under any keys."""
    values = _table(table, name, place)
    _check_table(values, {}, dict.fromkeys(values, list), f"in table {name!r} of {place}")
    return {key: tuple(items) for key, items in values.items()}


def _record(
    table: object,
    name: str,
    place: str,
    required: Mapping[str, type],
    optional: Mapping[str, type] = MappingProxyType({}),
) -> dict[str, Any]:
    """A table of required and optional keys."""
    values = _table(table, name, place)
    _check_table(values, required, optional, f"in table {name!r} of {place}")
    return values


def _table(value: object, name: str, place: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ConfigError(f"key {name!r} in {place} is {value!r}: give a table")
    return value


def _read_toml(path: Path) -> dict[str, Any]:
    """The tables of a TOML file.

    Raises:
        ConfigError: the file cannot be read, or is not TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path} cannot be read ({error.strerror}): check the path") from None
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{path} is not valid TOML ({error}): correct it") from None


def _check_table(
    table: Mapping[str, Any],
    required: Mapping[str, type],
    optional: Mapping[str, type],
    where: str,
) -> None:
    """Refuse a table with an unknown key, without a required one, or with a value of a wrong type.

    Args:
        table: the table.
        required: type of the value of each key that must be there, one of ``_TYPE_NAMES``.
        optional: the same for the keys that may be there.
        where: the place of the table, as ``in board.toml`` or ``in table 'uf2' of board.toml``.

    Raises:
        ConfigError: naming the first such key and its place.
    """
    kinds = {**required, **optional}
    require_known_keys(table, kinds, where)
    _require_keys(table, required, where)
    for key, value in table.items():
        is_right = type(value) is kinds[key]
        if isinstance(value, list):
            is_right = is_right and all(isinstance(item, str) for item in value)
        if not is_right:
            raise ConfigError(f"key {key!r} {where} is {value!r}: give {_TYPE_NAMES[kinds[key]]}")


def _require_keys(table: Mapping[str, Any], required: Collection[str], where: str) -> None:
    for key in required:
        if key not in table:
            raise ConfigError(f"key {key!r} is missing {where}: add it")
