# SPDX-License-Identifier: Apache-2.0
"""The resources that an export needs on each board: arena, flash, RAM, stack, processor share.

Instructions, arena and stack are measured on an emulated board with the same core, sizes on the
board's own linked firmware. Without the firmware tools, only an estimate of the arena is given.
"""

from __future__ import annotations

import dataclasses
import functools
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from m3net_tf.boards.builds.boards import board_sources, list_boards, load_board
from m3net_tf.boards.builds.build import build_firmware
from m3net_tf.boards.builds.compiled import needs_dsp, why_not_compiled
from m3net_tf.boards.builds.cores import load_core
from m3net_tf.boards.builds.image import FirmwareImage
from m3net_tf.boards.builds.sources import why_sources_unavailable
from m3net_tf.boards.deployment.arena_estimate import estimate_arena
from m3net_tf.boards.deployment.cost import BoardCost, Clips, measure
from m3net_tf.boards.deployment.fit_result import Figures, FitResult, FitRow, Room
from m3net_tf.boards.deployment.real_time import pace_on
from m3net_tf.boards.deployment.size_limits import SIZE_LIMITS, largest_preset
from m3net_tf.boards.emulation import emulated_board, find_machine
from m3net_tf.boards.emulation.starting import (
    compiled_firmware,
    firmware_folder,
    starting_firmware,
    why_no_emulation,
)
from m3net_tf.compiler.engines import COMPILED, TFLM
from m3net_tf.export import Bundle
from m3net_tf.export.arena import engine_arena
from m3net_tf.export.certificate import read_vectors
from m3net_tf.export.manifest import Arena
from m3net_tf.runtime.interpreter import tflm_unavailable_reason
from m3net_tf.system.artifacts import provenance, write_json
from m3net_tf.system.errors import FirmwareError, ModelError
from m3net_tf.system.locks import writes_into
from m3net_tf.system.progress import Log, silent

CLIPS = 2

FLASH_OF_A_BYTE: Mapping[str, int] = {COMPILED: 2, TFLM: 1}
"""Bytes of flash for a weight, by engine: the compiled engine's kernels read weights of 16 bits."""


@dataclasses.dataclass(frozen=True)
class BoardFacts:
    """Facts of a board that decide what fits it.

    Attributes:
        board: its name.
        core: a file of ``firmware/cmake/cores``.
        clock_hz: clock of the core.
        flash_bytes: flash for the image, including that of a boot loader.
        ram_bytes: RAM, in all memories of the linker script.
        dma_bytes: part of the RAM that is only used for DMA buffers.
        stack_bytes: size of the stack.
    """

    board: str
    core: str
    clock_hz: int
    flash_bytes: int
    ram_bytes: int
    dma_bytes: int
    stack_bytes: int


def read_board(name: str) -> BoardFacts:
    """Those facts of a board from its ``board.toml``.

    Raises:
        FirmwareError: there is no such board.
        ConfigError: a key of the file is unknown, missing or of a wrong type.
    """
    board = load_board(name)
    return BoardFacts(
        board=name,
        core=board.core,
        clock_hz=board.clock_hz,
        flash_bytes=board.flash_bytes,
        ram_bytes=board.ram_bytes,
        dma_bytes=board.memory["dma"].bytes if "dma" in board.memory else 0,
        stack_bytes=board.stack_bytes,
    )


@writes_into("folder")
def run_fit(
    folder: Path, boards: Sequence[str] = (), log: Log = silent, engine: str | None = None
) -> FitResult:
    """Measure the resources that a run's export needs on boards, and write ``fit.json``.

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
    facts = [read_board(board) for board in boards or list_boards()]
    bundle = Bundle.load(folder / "export")
    subject = _subject(bundle, folder, engine or bundle.manifest.engine)
    cores: dict[str, BoardCost | str] = {}
    why_not = _cached_reasons(subject.engine)
    network_bytes = bundle.network.size_bytes
    rows = []
    for count, board in enumerate(facts, start=1):
        report = functools.partial(_log_for, log, f"[{count}/{len(facts)}] {board.board}")
        report("building its firmware")
        estimate = _estimate(subject, board.core)
        emulated = emulated_board(board.board)
        if emulated not in cores:
            cores[emulated] = _measure_core(subject, emulated, board.core, why_not, report)
        measured = cores[emulated]
        missing = measured if isinstance(measured, str) else _why_no_link(subject, board.board)
        if missing or isinstance(measured, str):
            unmeasured = tflm_unavailable_reason() if subject.engine == TFLM else ""
            reason = "; ".join(filter(None, (missing, unmeasured)))
            rows.append(FitRow(board, network_bytes, estimate, None, reason))
        else:
            figures = _figures(subject, board, measured, report)
            rows.append(FitRow(board, network_bytes, estimate, figures))
    result = _result(subject, rows)
    write_json(folder / "fit.json", result.to_dict())
    return result


def _result(subject: _Subject, rows: Sequence[FitRow]) -> FitResult:
    manifest = subject.bundle.manifest
    frames_per_s, runs_per_s = _rates(subject.bundle)
    return FitResult(
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
    engine: str
    arena: Arena

    def folder(self, board: str) -> Path:
        """Folder of the build for a board."""
        return firmware_folder(self.run, board, self.engine)


def _subject(bundle: Bundle, run: Path, engine: str) -> _Subject:
    if engine == TFLM == bundle.manifest.engine:  # the arena may be one that a board has proven
        return _Subject(bundle, run, engine, bundle.manifest.arena)
    arena, _ = engine_arena(bundle.c_model, bundle.network, engine)
    return _Subject(bundle, run, engine, arena)


def _cached_reasons(engine: str) -> Callable[[str], str]:
    """:func:`why_no_emulation`, called once per emulator: without a network it is slow."""
    reasons: dict[tuple[str, bool], str] = {}

    def why_not(board: str) -> str:
        key = (find_machine(board).emulator, needs_dsp(load_board(board)))
        if key not in reasons:
            reasons[key] = why_no_emulation(board, engine)
        return reasons[key]

    return why_not


def _log_for(log: Log, owner: str, line: str) -> None:
    log(f"{owner}: {line}")


def _estimate(subject: _Subject, core: str) -> int | None:
    """Arena without a board: exact for a compiled network."""
    if subject.engine == COMPILED:
        return subject.arena.bytes
    if tflm_unavailable_reason():
        return None
    return estimate_arena(subject.bundle.network.parts, load_core(core).kernels).needed_bytes


def _measure_core(
    subject: _Subject, emulated: str, core: str, why_not: Callable[[str], str], log: Log
) -> BoardCost | str:
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
    return measure(bundle, image, clips, log).cost


def _why_no_link(subject: _Subject, board: str) -> str:
    """Why the sources of the board's chip are unavailable; '' if they are available."""
    if subject.engine == COMPILED:
        return why_not_compiled(board)
    return why_sources_unavailable(board_sources(load_board(board))) or ""


def _build(subject: _Subject, board: str, measured: BoardCost, log: Log) -> FirmwareImage:
    """A board's own firmware."""
    bundle, folder = subject.bundle, subject.folder(board)
    if subject.engine == COMPILED:
        return compiled_firmware(bundle, board, folder, log)
    # The export's arena, as in m3net firmware, unless it is too small for the core.
    size = None if measured.arena_bytes == bundle.manifest.arena.bytes else measured.arena_bytes
    return build_firmware(bundle.folder, board, folder, size, report=log)


def _figures(subject: _Subject, facts: BoardFacts, measured: BoardCost, log: Log) -> Figures:
    """Figures of a board, from its own firmware and the cost on the emulated board of its core."""
    cost, overflow = dataclasses.replace(measured, board=facts.board), dict[str, int]()
    bundle = subject.bundle
    if measured.board != facts.board:
        try:
            image = _build(subject, facts.board, measured, log)
            cost = dataclasses.replace(
                cost,
                flash_bytes=image.flash_bytes,
                ram_bytes=image.ram_bytes,
                sections=image.sections,
            )
        except FirmwareError as error:
            if "overflowed" not in str(error):
                raise
            overflow = _overflow(subject.folder(facts.board) / "build.log")
    dma_used = cost.sections.get(".dma", 0) if facts.dma_bytes else 0
    if overflow:
        cost = _overflowing(cost, facts, overflow)
    ram_left = facts.ram_bytes - facts.dma_bytes - (cost.ram_bytes - dma_used)
    room = Room(
        arena_bytes=ram_left + cost.arena_bytes,
        network_bytes=cost.model_bytes
        + (facts.flash_bytes - cost.flash_bytes) // FLASH_OF_A_BYTE[subject.engine],
    )
    return Figures(
        measured_on=measured.board,
        cost=cost,
        pace=pace_on(bundle, facts.clock_hz, cost.to_dict()),
        fits=not overflow,
        room=room,
        preset=_preset(bundle, room, fits=not overflow),
    )


def _overflowing(cost: BoardCost, facts: BoardFacts, overflow: Mapping[str, int]) -> BoardCost:
    """The cost of a firmware that was not linked, because it exceeds memories of the board."""
    flash_bytes, ram_bytes = cost.flash_bytes, cost.ram_bytes
    if "FLASH" in overflow:
        flash_bytes = facts.flash_bytes + overflow["FLASH"]
    if "RAM" in overflow:
        ram_bytes = facts.ram_bytes + overflow["RAM"]
    return dataclasses.replace(cost, flash_bytes=flash_bytes, ram_bytes=ram_bytes, sections={})


def _preset(bundle: Bundle, room: Room, *, fits: bool) -> str | None:
    """The largest preset that a board has room for; the export's own fits if its firmware does."""
    largest = largest_preset(room.arena_bytes, room.network_bytes)
    own = bundle.manifest.model.name.rpartition("-")[2]
    fitting = [name for name in SIZE_LIMITS if name == largest or (fits and name == own)]
    return fitting[-1] if fitting else None


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
