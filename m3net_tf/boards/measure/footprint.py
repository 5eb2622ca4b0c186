# SPDX-License-Identifier: Apache-2.0
"""The resources that an export needs on each board: arena, flash, RAM, stack, processor share.

Instructions, arena and stack are measured on an emulated board with the same core, sizes on the
board's own linked firmware. For a Cortex-M4 the cycles are modelled, too. Without the firmware
tools, only the arena is given.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypedDict

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
from m3net_tf.boards.measure.cost import BoardCost, measure
from m3net_tf.boards.measure.real_time import BUSY_SHARE, Pace, pace_on
from m3net_tf.compiler.engines import COMPILED, TFLM, Engine
from m3net_tf.export import Bundle
from m3net_tf.export.c_files import engine_arena
from m3net_tf.export.manifest import Arena
from m3net_tf.export.reference import read_vectors
from m3net_tf.system.artifacts import provenance, write_json
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


def largest_preset(arena_bytes: int, network_bytes: int, own: str = "") -> str | None:
    """Name of the largest preset of :data:`SIZE_LIMITS` that a board has room for; None without.

    Args:
        arena_bytes: largest arena that it has memory for, in place of the export's.
        network_bytes: largest network, in place of the export's.
        own: a preset that fits whatever its limits are, because its firmware does.
    """
    fitting = [
        name
        for name, limit in SIZE_LIMITS.items()
        if name == own or (limit.arena_bytes <= arena_bytes and limit.model_bytes <= network_bytes)
    ]
    return fitting[-1] if fitting else None


class Modelled(TypedDict):
    """Modelled cycles of one run on a whole window.

    Attributes:
        flash: the board's flash, a name of :data:`.cycles.FLASHES`.
        flash_reads: reads of data from flash.
        window_ms: milliseconds at the board's clock.
    """

    flash: str
    cycles: int
    flash_reads: int
    window_ms: float


@dataclasses.dataclass(frozen=True)
class Needs:
    """What an export needs of a board.

    Attributes:
        measured_on: emulated board with the same core.
        cost: cost there, with the sizes of the board's own firmware.
        fits: whether the firmware fits into the board's memories.
        room: the arguments of :func:`largest_preset`.
        preset: the largest that the board has room for; None if it has room for none.
        modelled: None on other cores than a Cortex-M4, and for the reason in ``not_modelled``.
    """

    measured_on: str
    cost: BoardCost
    pace: Pace
    fits: bool
    room: dict[str, int]
    preset: str | None
    modelled: Modelled | None
    not_modelled: str

    def to_dict(self) -> dict[str, object]:
        """Plain values for JSON: the keys of the pace beside the others."""
        values = dataclasses.asdict(self)
        pace = values.pop("pace")
        return {**values, **pace}


_FIGURES = tuple(field.name for kind in (Needs, Pace) for field in dataclasses.fields(kind))


@dataclasses.dataclass(frozen=True)
class Row:
    """An export on one board.

    Attributes:
        network_bytes: all ``.tflite`` files of the network.
        arena_estimate_bytes: arena without a board: exact with the compiled engine; with TFLite
            Micro the export's, which a core may exceed.
        needs: what was measured; None for the reason in ``missing``.
    """

    board: Board
    network_bytes: int
    arena_estimate_bytes: int
    needs: Needs | None = None
    missing: str = ""

    def to_dict(self) -> dict[str, object]:
        """Plain values for JSON; figures that were not measured are None."""
        board = self.board
        dma = board.memory.get("dma")
        values = {
            "board": board.name,
            "core": board.core,
            "clock_hz": board.clock_hz,
            "flash_bytes": board.flash_bytes,
            "ram_bytes": board.ram_bytes,
            "dma_bytes": dma.bytes if dma else 0,
            "stack_bytes": board.stack_bytes,
            "network_bytes": self.network_bytes,
            "arena_estimate_bytes": self.arena_estimate_bytes,
        }
        if self.needs:
            return {**values, **self.needs.to_dict()}
        unknown = {name: None for name in _FIGURES if name != "pace"}
        return {**values, **unknown, "missing": self.missing}


@dataclasses.dataclass(frozen=True)
class Footprint:
    """An export on boards.

    Attributes:
        run: name of the run's folder.
        sound: for a second of sound with the gate open, ``frames_per_s`` of the front end and
            ``runs_per_s`` of the network.
    """

    run: str
    network: str
    model_sha256: str
    engine: Engine
    arena: Arena
    sound: dict[str, float]
    boards: list[Row]

    def to_dict(self) -> dict[str, object]:
        """Content of ``footprint.json``, with its provenance."""
        arena = dataclasses.asdict(self.arena)
        boards = [row.to_dict() for row in self.boards]
        return {**vars(self), "arena": arena, "boards": boards, **provenance()}


@writes_into("folder")
def measure_footprint(
    folder: Path, boards: Sequence[str] = (), log: Log = silent, engine: Engine | None = None
) -> Footprint:
    """Measure what a run's export needs on boards, by default all, and write ``footprint.json``.

    The firmware of each board is built as by ``m3net firmware`` and ``m3net device``, in the same
    folder below ``firmware`` of the run.

    Returns:
        A row for each board. If nothing can be built and emulated, ``missing`` of the rows gives
        the reason.

    Raises:
        ModelError: there is no export, or the engine does not support its network.
        FirmwareError: an unknown board, or the firmware does not build or run.
    """
    if not (folder / "export" / "manifest.json").is_file():
        raise ModelError(f"{folder} has no export: run m3net export {folder}")
    chosen = [load_board(name) for name in boards or list_boards()]
    bundle = Bundle.load(folder / "export")
    engine = engine or bundle.manifest.engine
    arena = bundle.manifest.arena
    if not engine == TFLM == bundle.manifest.engine:  # else a board may have proven the arena
        arena, _ = engine_arena(bundle.c_model, bundle.network, engine)
    subject = _Subject(bundle, folder, engine, arena)
    rows = []
    for count, board in enumerate(chosen, start=1):

        def report(line: str, owner: str = f"[{count}/{len(chosen)}] {board.name}") -> None:
            log(f"{owner}: {line}")

        report("building its firmware")
        rows.append(_row(subject, board, report))
    frames_per_s = bundle.frontend.sample_rate_hz / bundle.frontend.hop_samples
    runs_per_s = frames_per_s / bundle.detector.run_columns
    model = bundle.manifest.model
    sound = {"frames_per_s": frames_per_s, "runs_per_s": runs_per_s}
    result = Footprint(folder.name, model.name, model.sha256, engine, arena, sound, rows)
    write_json(folder / "footprint.json", result.to_dict())
    return result


@dataclasses.dataclass(frozen=True)
class _CoreCost:
    """Cost on the emulated board with a core, and its modelled cycles or why there are none."""

    cost: BoardCost
    cycles: Cycles | None = None
    not_modelled: str = ""


@dataclasses.dataclass(frozen=True)
class _Subject:
    """An export with one engine, and what was found out about it so far.

    Attributes:
        cores: cost by emulated board, or why there is none.
        reasons: why nothing is emulated, by emulator and whether it needs CMSIS-DSP: to find one
            without a network is slow.
    """

    bundle: Bundle
    run: Path
    engine: Engine
    arena: Arena
    cores: dict[str, _CoreCost | str] = dataclasses.field(default_factory=dict)
    reasons: dict[tuple[str, bool], str] = dataclasses.field(default_factory=dict)

    def folder(self, board: str) -> Path:
        """Folder of the build for a board."""
        return firmware_folder(self.run, board, self.engine)


def _row(subject: _Subject, board: Board, log: Log) -> Row:
    """A board with its figures, or with the reason why there are none."""
    emulated = emulated_board(board.name)
    if emulated not in subject.cores:
        subject.cores[emulated] = _measure_core(subject, emulated, board.core, log)
    measured = subject.cores[emulated]
    row = Row(board, subject.bundle.network.size_bytes, subject.arena.bytes)
    if isinstance(measured, str):
        return dataclasses.replace(row, missing=measured)
    if missing := why_unreachable(board, subject.engine):
        return dataclasses.replace(row, missing=missing)
    return dataclasses.replace(row, needs=_needs(subject, board, measured, log))


def _measure_core(subject: _Subject, emulated: str, core: str, log: Log) -> _CoreCost | str:
    """Cost on the emulated board with a core; or why nothing can be measured."""
    if not emulated:
        return f"nothing emulates a {core}"
    key = (find_machine(emulated).emulator, load_board(emulated).needs_dsp)
    if key not in subject.reasons:
        subject.reasons[key] = why_no_emulation(emulated, subject.engine)
    if reason := subject.reasons[key]:
        return reason
    bundle = subject.bundle
    folder = subject.folder(emulated)
    try:
        image = starting_firmware(bundle, emulated, folder, log, engine=subject.engine)
    except FirmwareError as error:
        if "overflowed" not in str(error):
            raise
        return f"the emulated {emulated} has no room to measure it ({error})"
    log(f"measuring on the emulated {emulated}")
    vectors = read_vectors(bundle)
    clips = dataclasses.replace(vectors, pcm=vectors.pcm[:CLIPS], features=vectors.features[:CLIPS])
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
    bundle = subject.bundle
    folder = subject.folder(board)
    if subject.engine == COMPILED:
        return compiled_firmware(bundle, board, folder, log)
    # The export's arena, as in m3net firmware, unless it is too small for the core.
    measured_bytes = measured["arena_bytes"]
    size = None if measured_bytes == bundle.manifest.arena.bytes else measured_bytes
    return build_firmware(bundle.c_folder(log), board, folder, size, report=log)


def _own_cost(
    subject: _Subject, board: Board, measured: BoardCost, log: Log
) -> tuple[BoardCost, bool]:
    """The cost with the sizes of the board's own firmware, and whether that fits."""
    cost: BoardCost = {**measured, "board": board.name}
    if measured["board"] == board.name:
        return cost, True
    try:
        image = _build(subject, board.name, measured, log)
    except FirmwareError as error:
        if "overflowed" not in str(error):
            raise
        built = subject.folder(board.name) / "build.log"
        text = built.read_text(encoding="utf-8", errors="replace")
        found = re.findall(r"region `(\w+)' overflowed by (\d+) byte", text)
        beyond = {region: int(size) for region, size in found}
        cost["sections"] = {}  # it was not linked
        if "FLASH" in beyond:
            cost["flash_bytes"] = board.flash_bytes + beyond["FLASH"]
        if "RAM" in beyond:
            cost["ram_bytes"] = board.ram_bytes + beyond["RAM"]
        return cost, False
    cost["flash_bytes"] = image.flash_bytes
    cost["ram_bytes"] = image.ram_bytes
    cost["sections"] = image.sections
    return cost, True


def _needs(subject: _Subject, board: Board, core: _CoreCost, log: Log) -> Needs:
    """Figures of a board, from its own firmware and the cost on the emulated board of its core."""
    bundle = subject.bundle
    cost, fits = _own_cost(subject, board, core.cost, log)
    dma_free = 0  # of the memory that is only used for DMA buffers
    if dma := board.memory.get("dma"):
        dma_free = dma.bytes - cost["sections"].get(".dma", 0)
    is_wide = subject.engine == COMPILED and board.core in _WIDE_CORES
    weight_bytes = 2 if is_wide and bundle.c_model.optimise != "flash" else 1
    arena_room = board.ram_bytes - dma_free - cost["ram_bytes"] + cost["arena_bytes"]
    free_flash_bytes = board.flash_bytes - cost["flash_bytes"]
    network_room = cost["model_bytes"] + free_flash_bytes // weight_bytes
    own = bundle.manifest.model.name.rpartition("-")[2]
    return Needs(
        measured_on=core.cost["board"],
        cost=cost,
        pace=pace_on(bundle, board.clock_hz, cost),
        fits=fits,
        room={"arena_bytes": arena_room, "network_bytes": network_room},
        preset=largest_preset(arena_room, network_room, own if fits else ""),
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
    return {
        "flash": board.flash_timing,
        "cycles": count,
        "flash_reads": cycles["flash_reads"],
        "window_ms": 1000 * count / board.clock_hz,
    }


def footprint_table(result: Footprint) -> Group:
    """The figures for the terminal, within 80 columns: memory, time, and their origin."""
    runs_per_s = result.sound["runs_per_s"]
    title = (
        f"{result.run}: {result.network}, engine {result.engine}, {runs_per_s:.3g} runs per second"
    )
    measured = [(row.board, row.needs) for row in result.boards if row.needs]
    parts: list[RenderableType] = [title, "", _memory_table(result)]
    if measured:
        parts += ["", _time_table(measured)]
    if any(needs.modelled for _, needs in measured):
        parts += ["", _cycles_table(measured)]
    for remark in _remarks(result, measured):
        parts += ["", remark]
    return Group(*(Text(part) if isinstance(part, str) else part for part in parts))


_Measured = Sequence[tuple[Board, Needs]]


def _table(*columns: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, padding=0)
    for column in columns:
        table.add_column(column, justify="left" if column in _WORDS else "right", no_wrap=True)
    return table


def _memory_table(result: Footprint) -> Table:
    table = _table("board", "arena", "RAM", "flash", "stack", "front end", "preset")
    for row in result.boards:
        board = row.board
        if row.needs is None:
            mark = "~" if result.engine == TFLM else ""
            table.add_row(board.name, f"{mark}{row.arena_estimate_bytes:,}")
            continue
        cost = row.needs.cost
        table.add_row(
            board.name,
            f"{cost['arena_bytes']:,}",
            _share(cost["ram_bytes"], board.ram_bytes),
            _share(cost["flash_bytes"], board.flash_bytes),
            f"{cost['stack_bytes']:,}",
            f"{cost['frontend_bytes']:,}",
            row.needs.preset or f"< {next(iter(SIZE_LIMITS))}",
            style=None if row.needs.fits else "red",
        )
    return table


def _time_table(measured: _Measured) -> Table:
    table = _table("board", "inference", "a second", "of the clock", "real time")
    for board, needs in measured:
        pace = needs.pace
        table.add_row(
            board.name,
            f"{pace.run_ms:.1f} ms",
            f"{pace.runs_per_second:.3g}",
            f"{100 * pace.cpu_share:.1f} % of {board.clock_hz / 1e6:g} MHz",
            _verdict(needs),
            style=None if needs.fits and pace.real_time else "red",
        )
    return table


def _cycles_table(measured: _Measured) -> Table:
    table = _table("board", "modelled cycles", "flash reads", "a window", "flash timing")
    for board, needs in measured:
        if modelled := needs.modelled:
            table.add_row(
                board.name,
                f"{modelled['cycles']:,}",
                f"{modelled['flash_reads']:,}",
                f"{modelled['window_ms']:.1f} ms",
                modelled["flash"],
            )
    return table


def _verdict(needs: Needs) -> str:
    if not needs.fits:
        return "does not fit"
    if needs.pace.real_time:
        return "yes"
    columns = needs.pace.least_run_columns
    return f"no; with run_columns {columns}" if columns else "no"


def _share(used: int, size: int) -> str:
    return f"{used:,} {100 * used / size:3.0f} %"


def _remarks(result: Footprint, measured: _Measured) -> list[str]:
    return [
        *_origin_remarks(result, measured),
        *_missing_remarks(result),
        *(_reading_remarks() if measured else ()),
        *_cycles_remarks(measured),
    ]


def _origin_remarks(result: Footprint, measured: _Measured) -> list[str]:
    """On which boards the costs were measured, and whether the export's arena is enough there."""
    same_core = [pair for pair in measured if pair[1].measured_on != pair[0].name]
    remarks = [
        f"{names}: instructions, arena and stack were measured on {emulated} in emulation, which "
        "has the same core."
        for emulated, names in _names_by(same_core, lambda needs: needs.measured_on).items()
    ]
    if result.engine != TFLM:
        return remarks
    exported = result.arena.bytes
    larger = [pair for pair in measured if pair[1].cost["arena_bytes"] > exported]
    return remarks + [
        f"{emulated}: the export's arena of {exported:,} bytes is too small for this core; m3net "
        f"export RUN --board {emulated} proves one."
        for emulated in _names_by(larger, lambda needs: needs.measured_on)
    ]


def _missing_remarks(result: Footprint) -> list[str]:
    """Why boards were not measured."""
    missing: dict[str, list[str]] = {}
    for row in result.boards:
        if not row.needs:
            missing.setdefault(row.missing, []).append(row.board.name)
    remarks = []
    for reason, names in missing.items():
        all_boards = len(names) == len(result.boards) > 1
        remarks.append(f"{'no board is measured' if all_boards else ', '.join(names)}: {reason}")
    if result.engine == TFLM and missing:
        remarks.append("~: the export's arena; a core's kernels may need more.")
    return remarks


def _reading_remarks() -> list[str]:
    """How to read the figures of memory and time."""
    limits = ", ".join(
        f"{name} {limit.arena_bytes:,} + {limit.model_bytes:,}"
        for name, limit in SIZE_LIMITS.items()
    )
    return [
        "Memory is in bytes, with the share of the board's. The preset is the largest whose "
        f"limits of arena and network ({limits}) the board has memory for, at any speed.",
        "Times are instructions that an emulator counted, one a clock cycle, and not a chip's: "
        f"a board counts as real-time up to {100 * BUSY_SHARE:g} % of its clock, with the gate "
        "open.",
    ]


def _cycles_remarks(measured: _Measured) -> list[str]:
    """What modelled cycles are, and why boards have none."""
    remarks = []
    if any(needs.modelled for _, needs in measured):
        remarks.append(
            "Modelled cycles are of a run on a whole window, by the Cortex-M4's manual and the "
            "board's flash: a model, no measurement (docs/design/engine.md)."
        )
    unmodelled = [pair for pair in measured if pair[1].not_modelled]
    for reason, names in _names_by(unmodelled, lambda needs: needs.not_modelled).items():
        remarks.append(f"{names}: no modelled cycles: {reason}")
    return remarks


def _names_by(measured: _Measured, key: Callable[[Needs], str]) -> dict[str, str]:
    """Names of the boards that share a value, in order."""
    groups: dict[str, list[str]] = {}
    for board, needs in measured:
        groups.setdefault(key(needs), []).append(board.name)
    return {value: ", ".join(names) for value, names in groups.items()}
