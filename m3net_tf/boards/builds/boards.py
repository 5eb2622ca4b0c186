# SPDX-License-Identifier: Apache-2.0
"""The boards of ``firmware/boards``: one folder each, with all facts in its ``board.toml``.

Boards of a family share a file: ``family = "mps2"`` takes what ``firmware/boards/mps2.toml`` has
and the board's own file does not. The facts of a board's core are in
``firmware/cmake/cores/<core>.toml``, beside the compiler flags of the core. The facts of its
architecture are in ``firmware/arch/<arch>/arch.toml``, beside the code for start-up and traps.
"""

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self, TypeVar

from m3net_tf.boards.builds.sources import FIRMWARE_DIR, Source, library_sources, read_lock
from m3net_tf.compiler.engines import Engine
from m3net_tf.system.checkout import require_sources
from m3net_tf.system.conversion import Count, NotNegative, from_plain
from m3net_tf.system.errors import ConfigError, FirmwareError

_FILE_NAME = "board.toml"
_Facts = TypeVar("_Facts")


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
        first_address: lowest address that they write.
    """

    family: int
    first_address: int


@dataclass(frozen=True)
class Qemu:
    """QEMU's model of a board.

    Attributes:
        uart: index of the serial port that is the console.
        partial: it lacks a part of the board that the firmware needs to start.
    """

    machine: str
    options: tuple[str, ...] = ()
    uart: int = 0
    partial: bool = False


@dataclass(frozen=True, kw_only=True)
class Machine(Qemu):
    """An emulated board.

    Attributes:
        job_address: where the job image goes in the board's memory.
        stall_timeout_s: longest wait for the next console line, in seconds of the host's clock.
    """

    board: str
    job_address: int
    job_bytes: int
    emulator: str
    package: str
    # One nanosecond an instruction: timers of the board advance with the instructions.
    arguments: tuple[str, ...] = ("-icount", "shift=0")
    stall_timeout_s: float = 120.0


@dataclass(frozen=True, kw_only=True)
class CoreFacts:
    """The keys of a core's file.

    Attributes:
        fixed_frontend: whether the front end computes in whole numbers on the core.
        weights: order of a network's weights on it, one of
            :data:`m3net_tf.compiler.checksum.LAYOUTS`.
    """

    fixed_frontend: bool
    weights: str


@dataclass(frozen=True)
class Emulator:
    """The program that emulates an architecture, and the Debian package that brings it."""

    program: str
    package: str


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """The keys of an architecture's ``arch.toml``.

    Attributes:
        toolchain: prefix of the toolchain's programs, and the end of the toolchain file's name.
        programs: programs of the toolchain, without the prefix, with their Debian packages.
        libraries: libraries that the compiler must find, with their Debian packages.
    """

    toolchain: str
    engines: tuple[Engine, ...]
    emulator: Emulator
    programs: dict[str, str]
    libraries: dict[str, str]

    @property
    def toolchain_file(self) -> Path:
        """The toolchain file for CMake."""
        return FIRMWARE_DIR / "cmake" / f"toolchain-{self.toolchain}.cmake"


@dataclass(frozen=True, kw_only=True)
class BoardFacts:
    """The keys of a ``board.toml``.

    Attributes:
        title: the maker's name for the board.
        core: a file of ``firmware/cmake/cores``.
        arch: a folder of ``firmware/arch``.
        memory: memories of the linker script by name: ``flash``, ``ram``, and any for which the
            code has a section of the same name.
        job: memory for a job image, outside of ``memory``.
        family: a file of ``firmware/boards``, which has the keys that this one leaves out.
        sources: files of its folder.
        drivers: files of ``firmware/drivers``, without ``.c``.
        pdm: whether it decimates the bits of a PDM microphone.
        definitions: macros for the compiler.
        flash_commands: command lines that write it, the best first; ``{elf}``, ``{hex}`` and
            ``{bin}`` stand for the image.
        third_party: folders with headers of each third-party source that it needs.
        choices: for each setting of a build, its values with the further ``sources`` of each; the
            first value is the default.
        flash_timing: how its flash makes a Cortex-M4 wait, a name of
            :data:`m3net_tf.boards.emulation.cycles.FLASHES`.
        storage: the sectors of its flash that keep thresholds.
        uf2: its UF2 boot loaders; with one, the setting ``M3NET_FLASH_START`` moves the image.
        constants: numbers, strings and truth values for the C code.
    """

    title: str
    core: str
    arch: str
    clock_hz: int
    stack_bytes: int
    memory: dict[str, Memory]
    job: Memory
    family: str = ""
    sources: tuple[str, ...] = ()
    drivers: tuple[str, ...] = ()
    pdm: bool = False
    definitions: tuple[str, ...] = ()
    flash_commands: tuple[str, ...] = ()
    third_party: dict[str, tuple[str, ...]] = field(default_factory=dict)
    choices: dict[str, dict[str, tuple[str, ...]]] = field(default_factory=dict)
    flash_timing: str = "0 wait states"
    storage: Storage | None = None
    uf2: Uf2 | None = None
    qemu: Qemu | None = None
    constants: dict[str, Count | NotNegative | str | bool] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Board(BoardFacts, CoreFacts):
    """The facts of a board and its core.

    Attributes:
        slot_sectors: sectors of each of two slots for models, which follow the storage's; a build
            of an updatable export sets it.
    """

    name: str
    file: Path
    architecture: Architecture
    slot_sectors: int = 0

    def with_slots(self, slot_bytes: int) -> Self:
        """The board with slots of at least so many bytes at the end of its storage.

        The storage starts earlier by their size. A board without a storage stays as it is.

        Raises:
            FirmwareError: its flash is too small.
        """
        storage = self.storage
        if storage is None:
            return self
        sectors = -(-slot_bytes // storage.sector_bytes)
        start = storage.start - 2 * sectors * storage.sector_bytes
        if start <= self.memory["flash"].start:
            raise FirmwareError(
                f"{self.name}: its flash has no room for two models of {slot_bytes} bytes beside "
                "the firmware: export without --updatable"
            )
        return replace(self, storage=replace(storage, start=start), slot_sectors=sectors)

    @property
    def needs_dsp(self) -> bool:
        """Whether front end or microphone compute with CMSIS-DSP."""
        return self.pdm or not self.fixed_frontend

    @property
    def microphone_rate_hz(self) -> int | None:
        """The only rate of its microphone; None without one, or if it has others."""
        rate_hz = self.constants.get("microphone_rate_hz")
        return int(rate_hz) if rate_hz else None

    @property
    def flash_bytes(self) -> int:
        """Flash for the image and a boot loader, without the sectors for thresholds."""
        flash = self.memory["flash"]
        return self.storage.start - flash.start if self.storage else flash.bytes

    @property
    def ram_bytes(self) -> int:
        """Size of all memories but flash."""
        return sum(memory.bytes for region, memory in self.memory.items() if region != "flash")

    @property
    def machine(self) -> Machine | None:
        """The emulated machine; None without."""
        if self.qemu is None:
            return None
        return Machine(
            **vars(self.qemu),
            board=self.name,
            job_address=self.job.start,
            job_bytes=self.job.bytes,
            emulator=self.architecture.emulator.program,
            package=self.architecture.emulator.package,
        )


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
    cores = {path.stem: path for path in (FIRMWARE_DIR / "cmake" / "cores").glob("*.toml")}
    values, place = _with_family(_read_toml(file), file)
    try:
        facts = from_plain(BoardFacts, values, "board")
        _check_facts(facts)
    except ConfigError as error:
        raise ConfigError(f"{place}: {error}") from None
    return Board(
        **vars(facts),
        **vars(_facts_of(CoreFacts, "core", facts.core, cores)),
        name=name,
        file=file,
        architecture=load_architecture(facts.arch),
    )


def load_architecture(name: str) -> Architecture:
    """Read the facts of an architecture, a folder of ``firmware/arch``.

    Raises:
        ConfigError: there is no such architecture, or a key is unknown, missing or of a wrong type.
    """
    found = (FIRMWARE_DIR / "arch").glob("*/arch.toml")
    return _facts_of(Architecture, "architecture", name, {file.parent.name: file for file in found})


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


def _facts_of(kind: type[_Facts], what: str, name: str, files: Mapping[str, Path]) -> _Facts:
    """The facts in the file with a name; ``what`` the files describe is for messages."""
    if name not in files:
        raise ConfigError(
            f"unknown {what} {name!r}; {what}s that exist: {', '.join(sorted(files))}"
        )
    try:
        return from_plain(kind, _read_toml(files[name]), what)
    except ConfigError as error:
        raise ConfigError(f"{files[name]}: {error}") from None


def _with_family(values: dict[str, object], file: Path) -> tuple[dict[str, object], str]:
    """Complete a board's keys with its family's; where both have a table, merge its keys.

    Returns:
        The keys, and the names of their files, for messages.
    """
    if not isinstance(family := values.get("family"), str):
        return values, str(file)
    family_file = file.parent.parent / f"{family}.toml"
    if not family_file.is_file():
        raise ConfigError(f"key 'family' in {file} is {family!r}: there is no {family_file}")
    shared = _read_toml(family_file)
    merged = {**shared, **values}
    for key, value in values.items():
        if isinstance(value, dict) and isinstance(shared.get(key), dict):
            merged[key] = {**shared[key], **value}
    return merged, f"{file} with {family_file}"


def _check_facts(facts: BoardFacts) -> None:
    """Check what the types of a board's facts do not say."""
    for region in ("flash", "ram"):
        if region not in facts.memory:
            raise ConfigError(f"key {region!r} is missing in section 'board.memory': add it")
    for name in facts.constants:
        if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
            raise ConfigError(
                f"board.constants.{name}: use lower-case letters, digits, underscores"
            )
    storage = facts.storage
    flash = facts.memory["flash"]
    if storage is None:
        return
    word = storage.word_bytes
    sector = storage.sector_bytes
    if word not in (4, 8, 16, 32) or sector < word or sector % word:
        raise ConfigError("board.storage: give words of 4, 8, 16 or 32 bytes, whole ones a sector")
    first = storage.start - flash.start
    end = first + storage.sectors * sector
    if first <= 0 or first % sector or end > flash.bytes or storage.sectors < 2:
        raise ConfigError(
            "board.storage: give at least 2 whole sectors behind an image in the flash"
        )


def _read_toml(path: Path) -> dict[str, Any]:
    """The tables of a TOML file."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path} cannot be read ({error.strerror}): check the path") from None
    except (ValueError, RecursionError) as error:  # ValueError: also such as numbers too long
        raise ConfigError(f"{path} is not valid TOML ({error}): correct it") from None
