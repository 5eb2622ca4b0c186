# SPDX-License-Identifier: Apache-2.0
"""The resources that an export needs on each board: arena, flash, RAM, stack, processor share.

Instructions, arena and stack are measured on an emulated board with the same core, sizes on the
board's own linked firmware. For a Cortex-M4 the cycles are modelled, too. Without the firmware
tools, only the arena is given.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
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


Row = dict[str, Any]
"""An export on one board, in JSON; without the figures that were not measured.

- ``arena_estimate_bytes``: arena without a board: exact with the compiled engine; with TFLite Micro
  the export's, which a core may exceed;
- ``missing``: why nothing can be built or emulated; then all keys below are None;
- ``measured_on``: emulated board with the same core; ``cost``: the :class:`.cost.BoardCost` there,
  with the sizes of the board's own firmware;
- the :class:`.real_time.Pace`;
- ``fits``: whether the firmware fits into the board's memories; ``room``: the arguments of
  :func:`largest_preset`; ``preset``: the largest that it has room for, None if it has for none;
- ``modelled``: cycles of one run on a whole window with the board's ``flash``, reads of data from
  flash, and milliseconds at the board's clock; None on other cores than a Cortex-M4, and where
  cycles cannot be modelled, for the reason in ``not_modelled``.
"""
Footprint = dict[str, Any]
"""Content of ``footprint.json``: the export and its ``arena``, frames of the front end and runs of
the network for a second of ``sound`` with the gate open, and a :data:`Row` for each of ``boards``.
"""
_FIGURES = ("measured_on", "cost", "fits", "room", "preset", "modelled", "not_modelled")


@writes_into("folder")
def measure_footprint(
    folder: Path, boards: Sequence[str] = (), log: Log = silent, engine: Engine | None = None
) -> Footprint:
    """Measure what a run's export needs on boards, by default all, and write ``footprint.json``.

    The firmware of each board is built as by ``m3net firmware`` and ``m3net device``, in the same
    folder below ``firmware`` of the run.

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
    engine, arena = engine or bundle.manifest.engine, bundle.manifest.arena
    if not engine == TFLM == bundle.manifest.engine:  # else a board may have proven the arena
        arena, _ = engine_arena(bundle.c_model, bundle.network, engine)
    subject = _Subject(bundle, folder, engine, arena)
    cores: dict[str, _CoreCost | str] = {}
    reasons: dict[tuple[str, bool], str] = {}
    rows = []
    for count, board in enumerate(chosen, start=1):

        def report(line: str, owner: str = f"[{count}/{len(chosen)}] {board.name}") -> None:
            log(f"{owner}: {line}")

        report("building its firmware")
        emulated = emulated_board(board.name)
        if emulated not in cores:
            cores[emulated] = _measure_core(subject, emulated, board.core, reasons, report)
        measured = cores[emulated]
        missing = measured if isinstance(measured, str) else why_unreachable(board, subject.engine)
        row = _facts(subject, board)
        if missing or isinstance(measured, str):
            row["missing"] = missing
        else:
            row |= _figures(subject, board, measured, report)
        rows.append(row)
    frames_per_s = bundle.frontend.sample_rate_hz / bundle.frontend.hop_samples
    runs_per_s = frames_per_s / bundle.detector.run_columns
    result: Footprint = {
        "run": folder.name,
        "network": bundle.manifest.model.name,
        "model_sha256": bundle.manifest.model.sha256,
        "engine": subject.engine,
        "arena": dataclasses.asdict(subject.arena),
        "sound": {"frames_per_s": frames_per_s, "runs_per_s": runs_per_s},
        "boards": rows,
        **provenance(),
    }
    write_json(folder / "footprint.json", result)
    return result


def _facts(subject: _Subject, board: Board) -> Row:
    """A row without figures."""
    dma = board.memory.get("dma")
    pace = (field.name for field in dataclasses.fields(Pace))
    return {
        "board": board.name,
        "core": board.core,
        "clock_hz": board.clock_hz,
        "flash_bytes": board.flash_bytes,
        "ram_bytes": board.ram_bytes,
        "dma_bytes": dma.bytes if dma else 0,
        "stack_bytes": board.stack_bytes,
        "network_bytes": subject.bundle.network.size_bytes,
        "arena_estimate_bytes": subject.arena.bytes,
        **dict.fromkeys([*_FIGURES, *pace]),
    }


@dataclasses.dataclass(frozen=True)
class _Subject:
    """An export with one engine."""

    bundle: Bundle
    run: Path
    engine: Engine
    arena: Arena

    def folder(self, board: str) -> Path:
        """Folder of the build for a board."""
        return firmware_folder(self.run, board, self.engine)


@dataclasses.dataclass(frozen=True)
class _CoreCost:
    """Cost on the emulated board with a core, and its modelled cycles or why there are none."""

    cost: BoardCost
    cycles: Cycles | None = None
    not_modelled: str = ""


def _measure_core(
    subject: _Subject, emulated: str, core: str, reasons: dict[tuple[str, bool], str], log: Log
) -> _CoreCost | str:
    """Cost on the emulated board with a core; or why nothing can be measured.

    Args:
        reasons: those found, by emulator: finding one without a network is slow.
    """
    if not emulated:
        return f"nothing emulates a {core}"
    key = (find_machine(emulated).emulator, load_board(emulated).needs_dsp)
    if key not in reasons:
        reasons[key] = why_no_emulation(emulated, subject.engine)
    if reasons[key]:
        return reasons[key]
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
    measured_bytes = measured["arena_bytes"]
    size = None if measured_bytes == bundle.manifest.arena.bytes else measured_bytes
    return build_firmware(bundle.c_folder(log), board, folder, size, report=log)


def _figures(subject: _Subject, board: Board, core: _CoreCost, log: Log) -> Row:
    """Figures of a board, from its own firmware and the cost on the emulated board of its core."""
    measured = core.cost
    cost: BoardCost = {**measured, "board": board.name}
    overflow: dict[str, int] = {}
    bundle = subject.bundle
    if measured["board"] != board.name:
        try:
            image = _build(subject, board.name, measured, log)
            cost["flash_bytes"] = image.flash_bytes
            cost["ram_bytes"] = image.ram_bytes
            cost["sections"] = image.sections
        except FirmwareError as error:
            if "overflowed" not in str(error):
                raise
            built = subject.folder(board.name) / "build.log"
            text = built.read_text(encoding="utf-8", errors="replace")
            found = re.findall(r"region `(\w+)' overflowed by (\d+) byte", text)
            overflow = {region: int(size) for region, size in found}
    dma_free = 0  # of the memory that is only used for DMA buffers
    if dma := board.memory.get("dma"):
        dma_free = dma.bytes - cost["sections"].get(".dma", 0)
    if overflow:  # it was not linked
        cost["sections"] = {}
    if "FLASH" in overflow:
        cost["flash_bytes"] = board.flash_bytes + overflow["FLASH"]
    if "RAM" in overflow:
        cost["ram_bytes"] = board.ram_bytes + overflow["RAM"]
    is_wide = subject.engine == COMPILED and board.core in _WIDE_CORES
    weight_bytes = 2 if is_wide and bundle.c_model.optimise != "flash" else 1
    arena_room = board.ram_bytes - dma_free - cost["ram_bytes"] + cost["arena_bytes"]
    free_flash_bytes = board.flash_bytes - cost["flash_bytes"]
    network_room = cost["model_bytes"] + free_flash_bytes // weight_bytes
    own = bundle.manifest.model.name.rpartition("-")[2]
    return {
        "measured_on": measured["board"],
        "cost": cost,
        **dataclasses.asdict(pace_on(bundle, board.clock_hz, cost)),
        "fits": not overflow,
        "room": {"arena_bytes": arena_room, "network_bytes": network_room},
        "preset": largest_preset(arena_room, network_room, "" if overflow else own),
        "modelled": _modelled(board, core.cycles) if core.cycles else None,
        "not_modelled": core.not_modelled,
    }


def _modelled(board: Board, cycles: Cycles) -> dict[str, Any]:
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
    runs_per_s = result["sound"]["runs_per_s"]
    title = (
        f"{result['run']}: {result['network']}, engine {result['engine']}, {runs_per_s:.3g} runs "
        "per second"
    )
    measured = [row for row in result["boards"] if row["cost"]]
    modelled = [row for row in measured if row["modelled"]]
    parts: list[RenderableType] = [title, "", _memory_table(result)]
    if measured:
        parts += ["", _time_table(measured)]
    if modelled:
        parts += ["", _cycles_table(modelled)]
    for remark in _remarks(result, measured):
        parts += ["", remark]
    return Group(*(Text(part) if isinstance(part, str) else part for part in parts))


def _table(*columns: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, padding=0)
    for column in columns:
        table.add_column(column, justify="left" if column in _WORDS else "right", no_wrap=True)
    return table


def _memory_table(result: Footprint) -> Table:
    table = _table("board", "arena", "RAM", "flash", "stack", "front end", "preset")
    for row in result["boards"]:
        cost = row["cost"]
        if cost is None:
            mark = "~" if result["engine"] == TFLM else ""
            table.add_row(row["board"], f"{mark}{row['arena_estimate_bytes']:,}")
            continue
        table.add_row(
            row["board"],
            f"{cost['arena_bytes']:,}",
            _share(cost["ram_bytes"], row["ram_bytes"]),
            _share(cost["flash_bytes"], row["flash_bytes"]),
            f"{cost['stack_bytes']:,}",
            f"{cost['frontend_bytes']:,}",
            row["preset"] or f"< {next(iter(SIZE_LIMITS))}",
            style=None if row["fits"] else "red",
        )
    return table


def _time_table(rows: Sequence[Row]) -> Table:
    table = _table("board", "inference", "a second", "of the clock", "real time")
    for row in rows:
        table.add_row(
            row["board"],
            f"{row['run_ms']:.1f} ms",
            f"{row['runs_per_second']:.3g}",
            f"{100 * row['cpu_share']:.1f} % of {row['clock_hz'] / 1e6:g} MHz",
            _verdict(row),
            style=None if row["fits"] and row["real_time"] else "red",
        )
    return table


def _cycles_table(rows: Sequence[Row]) -> Table:
    table = _table("board", "modelled cycles", "flash reads", "a window", "flash timing")
    for row in rows:
        modelled = row["modelled"]
        table.add_row(
            row["board"],
            f"{modelled['cycles']:,}",
            f"{modelled['flash_reads']:,}",
            f"{modelled['window_ms']:.1f} ms",
            modelled["flash"],
        )
    return table


def _verdict(row: Row) -> str:
    if not row["fits"]:
        return "does not fit"
    if row["real_time"]:
        return "yes"
    columns = row["least_run_columns"]
    return f"no; with run_columns {columns}" if columns else "no"


def _share(used: int, size: int) -> str:
    return f"{used:,} {100 * used / size:3.0f} %"


def _remarks(result: Footprint, measured: Sequence[Row]) -> list[str]:
    exported, remarks = result["arena"]["bytes"], []
    same_core = [row for row in measured if row["measured_on"] != row["board"]]
    for emulated, names in _names_by(same_core, "measured_on").items():
        remarks.append(
            f"{names}: instructions, arena and stack were measured on {emulated} in emulation, "
            "which has the same core."
        )
    larger = [row for row in measured if row["cost"]["arena_bytes"] > exported]
    for emulated in _names_by(larger, "measured_on") if result["engine"] == TFLM else ():
        remarks.append(
            f"{emulated}: the export's arena of {exported:,} bytes is too small for this core; "
            f"m3net export RUN --board {emulated} proves one."
        )
    missing = [row for row in result["boards"] if "missing" in row]
    for reason, names in _names_by(missing, "missing").items():
        all_boards = names.count(", ") + 1 == len(result["boards"]) > 1
        remarks.append(f"{'no board is measured' if all_boards else names}: {reason}")
    if result["engine"] == TFLM and missing:
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
    if any(row["modelled"] for row in measured):
        remarks.append(
            "Modelled cycles are of a run on a whole window, by the Cortex-M4's manual and the "
            "board's flash: a model, no measurement (docs/design/engine.md)."
        )
    unmodelled = [row for row in measured if row["not_modelled"]]
    for reason, names in _names_by(unmodelled, "not_modelled").items():
        remarks.append(f"{names}: no modelled cycles: {reason}")
    return remarks


def _names_by(rows: Sequence[Row], key: str) -> dict[str, str]:
    """Names of the boards that share a value of ``key``, in order."""
    groups: dict[str, list[str]] = {}
    for row in rows:
        groups.setdefault(row[key], []).append(row["board"])
    return {value: ", ".join(names) for value, names in groups.items()}
