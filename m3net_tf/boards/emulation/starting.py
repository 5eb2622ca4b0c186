# SPDX-License-Identifier: Apache-2.0
"""Firmware that starts on an emulated board, with the arena that it needs there."""

import dataclasses
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypedDict

import numpy as np

from m3net_tf.boards.builds.boards import find_machine, load_board
from m3net_tf.boards.builds.build import (
    ARENA_SLACK_BYTES,
    build_compiled,
    build_firmware,
    why_unreachable,
)
from m3net_tf.boards.builds.image import FirmwareImage
from m3net_tf.boards.builds.library import library_path
from m3net_tf.boards.builds.toolchain import check_tools
from m3net_tf.boards.emulation.qemu import EmulationResult, run_job
from m3net_tf.compiler.engines import COMPILED, DEFAULT_ENGINE, TFLM, Engine
from m3net_tf.export import Bundle
from m3net_tf.export.c_files import tflm_arena
from m3net_tf.system.artifacts import read_json, write_json
from m3net_tf.system.errors import FirmwareError
from m3net_tf.system.progress import Log, silent

ARENA_STEP_BYTES = 256


def why_no_emulation(board: str, engine: Engine = DEFAULT_ENGINE) -> str:
    """The reason why firmware for a board cannot be built and emulated here; '' if it can.

    Raises:
        FirmwareError: there is no such emulated board.
    """
    find_machine(board)
    facts = load_board(board)
    try:
        check_tools(facts, engine, emulated=True)
    except FirmwareError as error:
        return str(error)
    return why_unreachable(facts, engine)


def prove_arena(
    bundle: Bundle, board: str, folder: Path, log: Log, engine: Engine | None = None
) -> FirmwareImage:
    """Build the firmware with the smallest arena.

    The compiled engine's arena is known. With TensorFlow Lite Micro, the first build has a larger
    arena and reports how much it used; the second has that much, or the smallest larger size with
    which the network starts. The size goes into the export's manifest and ``model.h``.

    Args:
        engine: default: the export's. With another one the export stays as it is, and the arena is
            one that the network starts with.

    Raises:
        MissingError: a tool is not installed, or a source is unreachable.
        FirmwareError: no emulator runs the board, or the firmware does not build or does not run.
    """
    if engine not in (None, bundle.manifest.engine):
        return starting_firmware(bundle, board, folder, log, engine=engine)
    if bundle.manifest.engine == COMPILED:
        return compiled_firmware(bundle, board, folder, log, emulated=True)
    source = f"TFLite Micro on {board}"
    if bundle.manifest.arena.source != source:
        size, _ = least_arena(bundle, board, folder, log)
        bundle.set_arena(size, source)
    return build_firmware(bundle.c_folder(log), board, folder, emulated=True, report=log)


def least_arena(
    bundle: Bundle, board: str, folder: Path, log: Log = silent, *, settings: Sequence[str] = ()
) -> tuple[int, FirmwareImage]:
    """Find the smallest arena with which TensorFlow Lite Micro starts on an emulated board.

    Returns:
        Its bytes, and the firmware that has it; the bundle is not changed.

    Raises:
        FirmwareError: the firmware does not build or does not run.
    """
    build = _builder(bundle, board, folder, log, settings)
    spare = (_override_arena_bytes(bundle) or bundle.manifest.arena.bytes) + ARENA_SLACK_BYTES
    image = build(spare)
    used = _run_silence(bundle, image).arena_used_bytes
    # Memory planning may temporarily need more than the network uses afterwards.
    for size in range(-(-used // 16) * 16, used + ARENA_SLACK_BYTES, ARENA_STEP_BYTES):
        image = build(size)
        if _starts(bundle, image):
            return size, image
    raise FirmwareError(
        f"{bundle.folder}: the network does not start on {board} with an arena of up to "
        f"{used + ARENA_SLACK_BYTES} bytes: export it again"
    )


def starting_firmware(
    bundle: Bundle,
    board: str,
    folder: Path,
    log: Log = silent,
    *,
    settings: Sequence[str] = (),
    engine: Engine | None = None,
) -> FirmwareImage:
    """Build the firmware for an emulated board, with an arena that the network starts with.

    With TensorFlow Lite Micro that is the export's arena, unless the kernels of this board's core
    need more. Then it is the smallest one that they start with, which is saved in the folder for
    the next build.

    Raises:
        ModelError: the compiler does not support an operator of the network.
        FirmwareError: the firmware does not build or does not run.
    """
    if (engine or bundle.manifest.engine) == COMPILED:
        return compiled_firmware(bundle, board, folder, log, settings=settings, emulated=True)
    facts = load_board(board)
    check_tools(facts, TFLM, emulated=True)
    build = _builder(bundle, board, folder, log, settings)
    arena = bundle.manifest.arena
    if arena.source == f"TFLite Micro on {board}":
        return build(None)
    path = folder / "arena.json"
    conditions = {
        "model_sha256": bundle.manifest.model.sha256,
        "arena": dataclasses.asdict(arena),
        "library": library_path(facts.core).parent.name,
    }
    saved = read_json(path, _Tried) if path.exists() else _Tried()
    if saved.get("tried") == conditions:
        return build(saved["arena_bytes"])
    size = _override_arena_bytes(bundle)
    image = build(size)
    if not _starts(bundle, image):
        size, image = least_arena(bundle, board, folder, log, settings=settings)
    write_json(path, {"tried": conditions, "arena_bytes": size})
    return image


class _Tried(TypedDict, total=False):
    """Content of ``arena.json``: the arena that was found, and for what."""

    tried: dict[str, Any]
    arena_bytes: int | None


def build_run(
    run: Path, board: str, settings: Sequence[str], report: Log, engine: Engine | None = None
) -> FirmwareImage:
    """Build the firmware of an exported run, below ``RUN/firmware``.

    For an emulated board the arena is one that the network starts with. A build with settings goes
    into ``<board>-custom``, because other commands rebuild the firmware in ``<board>`` without
    settings.

    Raises:
        ModelError, DataError: the run has no complete export, or its network cannot be compiled.
        FirmwareError: the firmware does not build, or does not run in the emulator.
    """
    bundle = Bundle.load(run / "export")
    engine = engine or bundle.manifest.engine
    folder = firmware_folder(run, board, engine, custom=bool(settings))
    machine = load_board(board).machine
    if machine and not machine.partial and shutil.which(machine.emulator):
        return starting_firmware(bundle, board, folder, report, settings=settings, engine=engine)
    return export_firmware(bundle, board, folder, engine, report, settings)


def export_firmware(
    bundle: Bundle, board: str, folder: Path, engine: Engine, log: Log, settings: Sequence[str] = ()
) -> FirmwareImage:
    """Build the firmware of an export without running it; arguments as :func:`starting_firmware`.

    Raises:
        ModelError: the compiler does not support an operator of the network.
        FirmwareError: the firmware does not build.
    """
    if engine == COMPILED:
        return compiled_firmware(bundle, board, folder, log, settings=settings)
    arena_bytes = _override_arena_bytes(bundle)
    exported = bundle.c_folder(log)
    return build_firmware(exported, board, folder, arena_bytes, settings=settings, report=log)


def compiled_firmware(
    bundle: Bundle,
    board: str,
    folder: Path,
    log: Log = silent,
    *,
    settings: Sequence[str] = (),
    emulated: bool = False,
) -> FirmwareImage:
    """As :func:`export_firmware` with the compiled engine, whose arena is exact.

    An export for this engine is built from its own C, any other from C for this board. With
    ``emulated`` the emulator must be installed, too.
    """
    exported = bundle.c_folder(log)
    code = bundle.code(log) if bundle.manifest.engine == COMPILED else None
    return build_compiled(
        exported,
        bundle.c_model,
        board,
        folder,
        code,
        settings=settings,
        emulated=emulated,
        report=log,
    )


def firmware_folder(run: Path, board: str, engine: Engine, *, custom: bool = False) -> Path:
    """Folder of a run's build for a board; the default engine's has the plain name."""
    name = board if engine == DEFAULT_ENGINE else f"{board}-{engine}"
    return run / "firmware" / (f"{name}-custom" if custom else name)


def _builder(
    bundle: Bundle, board: str, folder: Path, log: Log, settings: Sequence[str]
) -> Callable[[int | None], FirmwareImage]:
    """Builds firmware for the emulator with an arena of some bytes; None: the export's."""
    exported = bundle.c_folder(log)
    return lambda arena_bytes: build_firmware(
        exported, board, folder, arena_bytes, settings=settings, emulated=True, report=log
    )


def _override_arena_bytes(bundle: Bundle) -> int | None:
    """TensorFlow Lite Micro's arena for an export of another engine; None: the export's."""
    return None if bundle.manifest.engine == TFLM else tflm_arena(bundle.network).bytes


def _run_silence(bundle: Bundle, image: FirmwareImage) -> EmulationResult:
    """Run the network once on the emulated board, with all features 0."""
    silence = np.zeros((1, int(np.prod(bundle.manifest.model.input_shape))), np.int8)
    return run_job(image.elf, find_machine(image.board), silence)


def _starts(bundle: Bundle, image: FirmwareImage) -> bool:
    """Whether the network starts on the emulated board with the firmware's arena."""
    try:
        _run_silence(bundle, image)
    except FirmwareError as error:
        if "arena" not in str(error):
            raise
        return False
    return True
