# SPDX-License-Identifier: Apache-2.0
"""The resources that an export needs on each board: arena, flash, RAM, stack, processor share.

Instructions, arena and stack are measured on an emulated board with the same core, sizes on the
board's own linked firmware. For a Cortex-M4 the cycles are modelled, too. Without the firmware
tools, only the arena is given.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from m3net_tf.boards.builds.boards import (
    Board,
    emulated_board,
    find_machine,
    list_boards,
    load_board,
)
from m3net_tf.boards.builds.build import build_firmware, why_unreachable
from m3net_tf.boards.builds.image import FirmwareImage
from m3net_tf.boards.deployment.cost import BoardCost, Clips, measure
from m3net_tf.boards.deployment.real_time import BUSY_SHARE, Pace, pace_on
from m3net_tf.boards.emulation.cycles import (
    CORE,
    FLASHES,
    Cycles,
    require_cycles_packages,
    run_cycles,
)
from m3net_tf.boards.emulation.starting import (
    compiled_firmware,
    firmware_folder,
    starting_firmware,
    why_no_emulation,
)
from m3net_tf.compiler.engines import COMPILED, TFLM, Engine
from m3net_tf.export import Bundle
from m3net_tf.export.c_files import engine_arena
from m3net_tf.export.certificate import read_vectors
from m3net_tf.export.manifest import Arena
from m3net_tf.system.artifacts import Provenance, provenance, write_json
from m3net_tf.system.errors import ConfigError, FirmwareError, ModelError
from m3net_tf.system.locks import writes_into
from m3net_tf.system.progress import Log, silent

CLIPS = 2

_WIDE_CORES = ("cortex-m3", "rv32imac")  # on which weights have 16 bits, except for little flash
_WORDS = ("board", "real time", "flash timing")  # columns without figures
_MOST_MODELLED = 100_000_000  # instructions of a run; more take minutes and gigabytes


@dataclasses.dataclass(frozen=True)
class SizeLimit:
    """Largest sizes of a preset."""

    arena_bytes: int
    model_bytes: int

    def holds(self, arena_bytes: int, model_bytes: int) -> bool:
        """Whether a network of these sizes keeps to the limit."""
        return arena_bytes <= self.arena_bytes and model_bytes <= self.model_bytes


SIZE_LIMITS = {
    "s": SizeLimit(64 << 10, 200_000),
    "m": SizeLimit(192 << 10, 500_000),
    "l": SizeLimit(512 << 10, 1_500_000),
}


@dataclasses.dataclass(frozen=True)
class Room:
    """The largest sizes that a board has memory for.

    Attributes:
        arena_bytes: an arena, in place of the export's.
        network_bytes: a network, in place of the export's.
    """

    arena_bytes: int
    network_bytes: int


def largest_preset(room: Room, own: str = "") -> str | None:
    """Name of the largest preset of :data:`SIZE_LIMITS` that a board has room for.

    Args:
        room: the largest sizes that the board has memory for.
        own: a preset that fits whatever its limits are, because its firmware does.
    """
    fitting = [
        name
        for name, limit in SIZE_LIMITS.items()
        if name == own
        or (limit.arena_bytes <= room.arena_bytes and limit.model_bytes <= room.network_bytes)
    ]
    return fitting[-1] if fitting else None


@dataclasses.dataclass(frozen=True)
class Modelled:
    """Modelled cost of one run of the network, on a whole window.

    Attributes:
        flash: the board's ``flash_timing``.
        cycles: with this flash.
        flash_reads: reads of data from flash.
        window_ms: time of the cycles at the board's clock, in milliseconds.
    """

    flash: str
    cycles: int
    flash_reads: int
    window_ms: float


@dataclasses.dataclass(frozen=True)
class Figures:
    """Figures of a board on which the export was measured.

    Attributes:
        measured_on: emulated board with the same core.
        cost: sizes of the board's own firmware; the rest as on ``measured_on``.
        pace: time for a second of sound.
        fits: whether the firmware fits into the board's memories.
        room: the largest arena and network that would.
        preset: the largest preset that the board has room for; None if it has for none.
        modelled: None on other cores than a Cortex-M4, and where cycles cannot be modelled.
        not_modelled: why they cannot.
    """

    measured_on: str
    cost: BoardCost
    pace: Pace
    fits: bool
    room: Room
    preset: str | None
    modelled: Modelled | None
    not_modelled: str


@dataclasses.dataclass(frozen=True)
class BoardFootprint:
    """An export on one board.

    Attributes:
        board: the board.
        network_bytes: all ``.tflite`` files of the export.
        arena_estimate_bytes: arena without a board: exact with the compiled engine; with TFLite
            Micro the export's, which a core may exceed.
        figures: None if nothing can be built or emulated.
        missing: then, why.
    """

    board: Board
    network_bytes: int
    arena_estimate_bytes: int
    figures: Figures | None
    missing: str = ""

    def to_dict(self) -> dict[str, object]:
        """Plain values for JSON: all keys side by side, None for figures that are missing."""
        board = self.board
        dma = board.memory.get("dma")
        figures: dict[str, Any] = dict.fromkeys(
            field.name for kind in (Figures, Pace) for field in dataclasses.fields(kind)
        )
        if self.figures:
            figures |= dataclasses.asdict(self.figures)
            figures |= figures["pace"]
        del figures["pace"]
        return {
            "board": board.name,
            "core": board.core,
            "clock_hz": board.clock_hz,
            "flash_bytes": board.flash_bytes,
            "ram_bytes": board.ram_bytes,
            "dma_bytes": dma.bytes if dma else 0,
            "stack_bytes": board.stack_bytes,
            "network_bytes": self.network_bytes,
            "arena_estimate_bytes": self.arena_estimate_bytes,
            **figures,
            **({"missing": self.missing} if self.missing else {}),
        }


@dataclasses.dataclass(frozen=True)
class Footprint:
    """An export on boards.

    Attributes:
        run: name of the run's folder.
        network: network and preset.
        model_sha256: of the network that classifies.
        engine: one of :data:`m3net_tf.compiler.engines.ENGINES`.
        arena: the export's, or this engine's if the export has another engine.
        frames_per_s: frames of the front end for a second of sound.
        runs_per_s: runs of the network for a second of sound, with the gate open.
        boards: a row for each board.
        made_with: versions and commit.
    """

    run: str
    network: str
    model_sha256: str
    engine: Engine
    arena: Arena
    frames_per_s: float
    runs_per_s: float
    boards: tuple[BoardFootprint, ...]
    made_with: Provenance

    def to_dict(self) -> dict[str, object]:
        """Plain values for JSON."""
        return {
            "run": self.run,
            "network": self.network,
            "model_sha256": self.model_sha256,
            "engine": self.engine,
            "arena": dataclasses.asdict(self.arena),
            "sound": {"frames_per_s": self.frames_per_s, "runs_per_s": self.runs_per_s},
            "boards": [row.to_dict() for row in self.boards],
            **self.made_with,
        }


@writes_into("folder")
def measure_footprint(
    folder: Path, boards: Sequence[str] = (), log: Log = silent, engine: Engine | None = None
) -> Footprint:
    """Measure the resources that a run's export needs on boards, and write ``footprint.json``.

    The firmware of each board is built as by ``m3net firmware`` and ``m3net device``, in the same
    folder below ``firmware`` of the run.

    Args:
        folder: folder of a run with an export.
        boards: names of boards; all by default.
        log: receives lines of progress.
        engine: one of :data:`m3net_tf.compiler.engines.ENGINES`; None: the export's.

    Returns:
        A row for each board. If nothing can be built and emulated, ``missing`` of the rows gives
        the reason, and their figures are None.

    Raises:
        ModelError: there is no export, or the engine does not support its network.
        FirmwareError: an unknown board, or the firmware does not build or run.
    """
    if not (folder / "export" / "manifest.json").is_file():
        raise ModelError(f"{folder} has no export: run m3net export {folder}")
    chosen = [load_board(name) for name in boards or list_boards()]
    bundle = Bundle.load(folder / "export")
    subject = _subject(bundle, folder, engine or bundle.manifest.engine)
    cores: dict[str, _CoreCost | str] = {}
    why_not = _cached_reasons(subject.engine)
    network_bytes = bundle.network.size_bytes
    rows = []
    for count, board in enumerate(chosen, start=1):

        def report(line: str, owner: str = f"[{count}/{len(chosen)}] {board.name}") -> None:
            log(f"{owner}: {line}")

        report("building its firmware")
        estimate = subject.arena.bytes
        emulated = emulated_board(board.name)
        if emulated not in cores:
            cores[emulated] = _measure_core(subject, emulated, board.core, why_not, report)
        measured = cores[emulated]
        missing = measured if isinstance(measured, str) else why_unreachable(board, subject.engine)
        if missing or isinstance(measured, str):
            rows.append(BoardFootprint(board, network_bytes, estimate, None, missing))
        else:
            figures = _figures(subject, board, measured, report)
            rows.append(BoardFootprint(board, network_bytes, estimate, figures))
    result = _result(subject, rows)
    write_json(folder / "footprint.json", result.to_dict())
    return result


def _result(subject: _Subject, rows: Sequence[BoardFootprint]) -> Footprint:
    manifest = subject.bundle.manifest
    frames_per_s, runs_per_s = _rates(subject.bundle)
    return Footprint(
        run=subject.run.name,
        network=manifest.model.name,
        model_sha256=manifest.model.sha256,
        engine=subject.engine,
        arena=subject.arena,
        frames_per_s=frames_per_s,
        runs_per_s=runs_per_s,
        boards=tuple(rows),
        made_with=provenance(),
    )


@dataclasses.dataclass(frozen=True)
class _Subject:
    """An export with one engine.

    Attributes:
        bundle: the export.
        run: folder of the run, for builds.
        engine: one of :data:`m3net_tf.compiler.engines.ENGINES`.
        arena: of this engine.
    """

    bundle: Bundle
    run: Path
    engine: Engine
    arena: Arena

    def folder(self, board: str) -> Path:
        """Folder of the build for a board."""
        return firmware_folder(self.run, board, self.engine)


def _subject(bundle: Bundle, run: Path, engine: Engine) -> _Subject:
    if engine == TFLM == bundle.manifest.engine:  # the arena may be one that a board has proven
        return _Subject(bundle, run, engine, bundle.manifest.arena)
    arena, _ = engine_arena(bundle.c_model, bundle.network, engine)
    return _Subject(bundle, run, engine, arena)


def _cached_reasons(engine: Engine) -> Callable[[str], str]:
    """:func:`why_no_emulation`, called once per emulator: without a network it is slow."""
    reasons: dict[tuple[str, bool], str] = {}

    def why_not(board: str) -> str:
        key = (find_machine(board).emulator, load_board(board).needs_dsp)
        if key not in reasons:
            reasons[key] = why_no_emulation(board, engine)
        return reasons[key]

    return why_not


@dataclasses.dataclass(frozen=True)
class _CoreCost:
    """Cost on the emulated board with a core, and its modelled cycles or why there are none."""

    cost: BoardCost
    cycles: Cycles | None = None
    not_modelled: str = ""


def _measure_core(
    subject: _Subject, emulated: str, core: str, why_not: Callable[[str], str], log: Log
) -> _CoreCost | str:
    """Cost on the emulated board with a core; or why nothing can be measured."""
    reason = why_not(emulated) if emulated else f"nothing emulates a {core}"
    if reason:
        return reason
    bundle, engine = subject.bundle, subject.engine
    try:
        image = starting_firmware(bundle, emulated, subject.folder(emulated), log, engine=engine)
    except FirmwareError as error:
        if "overflowed" not in str(error):
            raise
        return f"the emulated {emulated} has no room to measure it ({error})"
    log(f"measuring on the emulated {emulated}")
    vectors = read_vectors(bundle)
    clips = Clips(vectors.pcm[:CLIPS], vectors.features[:CLIPS])
    measured = measure(bundle, image, clips, log)
    if core != CORE:
        return _CoreCost(measured.cost)
    if measured.from_features.model_instructions > _MOST_MODELLED:
        reason = f"a run has more than {_MOST_MODELLED:,} instructions"
        return _CoreCost(measured.cost, not_modelled=reason)
    try:
        require_cycles_packages()
    except ConfigError as error:
        return _CoreCost(measured.cost, not_modelled=str(error))
    log("modelling cycles")
    cycles, output = run_cycles(image.elf, emulated, clips.features[:1, ..., 0])
    if output != measured.from_features.outputs[0].tobytes():
        raise FirmwareError(f"{image.elf}: QEMU and Unicorn give different outputs")
    return _CoreCost(measured.cost, cycles)


def _build(subject: _Subject, board: str, measured: BoardCost, log: Log) -> FirmwareImage:
    """A board's own firmware."""
    bundle, folder = subject.bundle, subject.folder(board)
    if subject.engine == COMPILED:
        return compiled_firmware(bundle, board, folder, log)
    # The export's arena, as in m3net firmware, unless it is too small for the core.
    size = None if measured.arena_bytes == bundle.manifest.arena.bytes else measured.arena_bytes
    return build_firmware(bundle.folder, board, folder, size, report=log)


def _figures(subject: _Subject, board: Board, core: _CoreCost, log: Log) -> Figures:
    """Figures of a board, from its own firmware and the cost on the emulated board of its core."""
    measured = core.cost
    cost = dataclasses.replace(measured, board=board.name)
    overflow: dict[str, int] = {}
    bundle = subject.bundle
    if measured.board != board.name:
        try:
            image = _build(subject, board.name, measured, log)
            cost = dataclasses.replace(
                cost,
                flash_bytes=image.flash_bytes,
                ram_bytes=image.ram_bytes,
                sections=image.sections,
            )
        except FirmwareError as error:
            if "overflowed" not in str(error):
                raise
            overflow = _overflow(subject.folder(board.name) / "build.log")
    dma_free = 0  # of the memory that is only used for DMA buffers
    if dma := board.memory.get("dma"):
        dma_free = dma.bytes - cost.sections.get(".dma", 0)
    if overflow:
        cost = _overflowing(cost, board, overflow)
    is_wide = subject.engine == COMPILED and board.core in _WIDE_CORES
    weight_bytes = 2 if is_wide and bundle.c_model.optimise != "flash" else 1
    room = Room(
        arena_bytes=board.ram_bytes - dma_free - cost.ram_bytes + cost.arena_bytes,
        network_bytes=cost.model_bytes + (board.flash_bytes - cost.flash_bytes) // weight_bytes,
    )
    own = bundle.manifest.model.name.rpartition("-")[2]
    return Figures(
        measured_on=measured.board,
        cost=cost,
        pace=pace_on(bundle, board.clock_hz, cost),
        fits=not overflow,
        room=room,
        preset=largest_preset(room, "" if overflow else own),
        modelled=_modelled(board, core.cycles) if core.cycles else None,
        not_modelled=core.not_modelled,
    )


def _modelled(board: Board, cycles: Cycles) -> Modelled:
    """What the modelled cycles of a core are on a board.

    Raises:
        ConfigError: there is no flash of the name that the board gives.
    """
    if board.flash_timing not in FLASHES:
        raise ConfigError(
            f"key 'flash_timing' in {board.file} is {board.flash_timing!r}: choose one of "
            f"{', '.join(FLASHES)}"
        )
    count = cycles["cycles"][board.flash_timing]
    window_ms = 1000 * count / board.clock_hz
    return Modelled(board.flash_timing, count, cycles["flash_reads"], window_ms)


def _overflowing(cost: BoardCost, board: Board, overflow: Mapping[str, int]) -> BoardCost:
    """The cost of a firmware that was not linked, because it exceeds memories of the board."""
    flash_bytes, ram_bytes = cost.flash_bytes, cost.ram_bytes
    if "FLASH" in overflow:
        flash_bytes = board.flash_bytes + overflow["FLASH"]
    if "RAM" in overflow:
        ram_bytes = board.ram_bytes + overflow["RAM"]
    return dataclasses.replace(cost, flash_bytes=flash_bytes, ram_bytes=ram_bytes, sections={})


def _overflow(log: Path) -> dict[str, int]:
    """Region of memory -> bytes by which a firmware is too large for it."""
    text = log.read_text(encoding="utf-8", errors="replace")
    overflows = re.findall(r"region `(\w+)' overflowed by (\d+) byte", text)
    return {region: int(size) for region, size in overflows}


def _rates(bundle: Bundle) -> tuple[float, float]:
    """Frames of the front end and runs of the network per second, with the gate open."""
    frontend = bundle.frontend
    frames = frontend.sample_rate_hz / frontend.hop_samples
    return frames, frames / bundle.detector.run_columns


def footprint_table(result: Footprint) -> Group:
    """The figures for the terminal, within 80 columns: memory, time, and their origin."""
    title = (
        f"{result.run}: {result.network}, engine {result.engine}, {result.runs_per_s:.3g} runs per "
        "second"
    )
    parts: list[RenderableType] = [title, "", _memory_table(result)]
    if any(row.figures for row in result.boards):
        parts += ["", _time_table(result.boards)]
    if any(row.figures and row.figures.modelled for row in result.boards):
        parts += ["", _cycles_table(result.boards)]
    for remark in _remarks(result):
        parts += ["", remark]
    return Group(*(Text(part) if isinstance(part, str) else part for part in parts))


def _table(*columns: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, padding=0)
    for column in columns:
        table.add_column(column, justify="left" if column in _WORDS else "right", no_wrap=True)
    return table


def _memory_table(result: Footprint) -> Table:
    table = _table("board", "arena", "RAM", "flash", "stack", "front end", "preset")
    for row in result.boards:
        board, figures = row.board, row.figures
        if figures is None:
            mark = "~" if result.engine == TFLM else ""
            table.add_row(board.name, _bytes(row.arena_estimate_bytes, mark))
            continue
        cost = figures.cost
        table.add_row(
            board.name,
            _bytes(cost.arena_bytes),
            _share(cost.ram_bytes, board.ram_bytes),
            _share(cost.flash_bytes, board.flash_bytes),
            _bytes(cost.stack_bytes),
            _bytes(cost.frontend_bytes),
            figures.preset or f"< {next(iter(SIZE_LIMITS))}",
            style=None if figures.fits else "red",
        )
    return table


def _time_table(rows: Sequence[BoardFootprint]) -> Table:
    table = _table("board", "inference", "a second", "of the clock", "real time")
    for row in rows:
        if row.figures is None:
            continue
        pace = row.figures.pace
        table.add_row(
            row.board.name,
            f"{pace.run_ms:.1f} ms",
            f"{pace.runs_per_second:.3g}",
            f"{100 * pace.cpu_share:.1f} % of {row.board.clock_hz / 1e6:g} MHz",
            _verdict(row.figures),
            style=None if row.figures.fits and pace.real_time else "red",
        )
    return table


def _cycles_table(rows: Sequence[BoardFootprint]) -> Table:
    table = _table("board", "modelled cycles", "flash reads", "a window", "flash timing")
    for row in rows:
        if row.figures is None or row.figures.modelled is None:
            continue
        modelled = row.figures.modelled
        table.add_row(
            row.board.name,
            f"{modelled.cycles:,}",
            f"{modelled.flash_reads:,}",
            f"{modelled.window_ms:.1f} ms",
            modelled.flash,
        )
    return table


def _verdict(figures: Figures) -> str:
    if not figures.fits:
        return "does not fit"
    if figures.pace.real_time:
        return "yes"
    columns = figures.pace.least_run_columns
    return f"no; with run_columns {columns}" if columns else "no"


def _bytes(size: int, before: str = "") -> str:
    return f"{before}{size:,}"


def _share(used: int, size: int) -> str:
    return f"{used:,} {100 * used / size:3.0f} %"


def _remarks(result: Footprint) -> list[str]:
    exported, remarks = result.arena.bytes, []
    measured = [(row.board.name, row.figures) for row in result.boards if row.figures]
    for emulated, names in _grouped((done.measured_on, board) for board, done in measured).items():
        if same_core := [name for name in names if name != emulated]:
            remarks.append(
                f"{', '.join(same_core)}: instructions, arena and stack were measured on "
                f"{emulated} in emulation, which has the same core."
            )
    larger = [
        done.measured_on
        for _, done in measured
        if result.engine == TFLM and done.cost.arena_bytes > exported
    ]
    for emulated in dict.fromkeys(larger):
        remarks.append(
            f"{emulated}: the export's arena of {exported:,} bytes is too small for this core; "
            f"m3net export RUN --board {emulated} proves one."
        )
    missing = [row for row in result.boards if row.missing]
    for reason, names in _grouped((row.missing, row.board.name) for row in missing).items():
        owner = "no board is measured" if len(names) == len(result.boards) > 1 else ", ".join(names)
        remarks.append(f"{owner}: {reason}")
    if result.engine == TFLM and missing:
        remarks.append("~: the export's arena; a core's kernels may need more.")
    if measured:
        limits = ", ".join(
            f"{name} {limit.arena_bytes:,} + {limit.model_bytes:,}"
            for name, limit in SIZE_LIMITS.items()
        )
        remarks += [
            "Memory is in bytes, with the share of the board's. The preset is the largest whose "
            f"limits of arena and network ({limits}) the board has memory for, at any speed.",
            "Times are instructions that an emulator counted, one a clock cycle, and not a chip's: "
            f"a board counts as real-time up to {100 * BUSY_SHARE:g} % of its clock, with the gate "
            "open.",
        ]
    if any(done.modelled for _, done in measured):
        remarks.append(
            "Modelled cycles are of a run on a whole window, by the Cortex-M4's manual and the "
            "board's flash: a model, no measurement (docs/engine.md)."
        )
    reasons = ((done.not_modelled, board) for board, done in measured if done.not_modelled)
    for reason, names in _grouped(reasons).items():
        remarks.append(f"{', '.join(names)}: no modelled cycles: {reason}")
    return remarks


def _grouped(pairs: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    """Values of pairs of key and value by their key, in order."""
    groups: dict[str, list[str]] = {}
    for key, value in pairs:
        groups.setdefault(key, []).append(value)
    return groups
