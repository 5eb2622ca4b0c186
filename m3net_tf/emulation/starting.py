# SPDX-License-Identifier: Apache-2.0
"""Firmware that starts on an emulated board: whether it can be built, and the arena it needs."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from m3net_tf.artifacts import read_json, write_json
from m3net_tf.emulation.machines import find_machine
from m3net_tf.emulation.qemu import run_job
from m3net_tf.errors import FirmwareError
from m3net_tf.export import Bundle
from m3net_tf.firmware.boards import board_core
from m3net_tf.firmware.build import ARENA_SLACK_BYTES, build_firmware
from m3net_tf.firmware.image import FirmwareImage
from m3net_tf.firmware.library import library_path
from m3net_tf.firmware.sources import why_sources_unavailable
from m3net_tf.firmware.toolchain import TOOLS, check_toolchain
from m3net_tf.progress import Log, silent

ARENA_STEP_BYTES = 256


def why_no_emulation(board: str) -> str:
    """Why firmware for a board cannot be built and emulated here; '' if it can.

    Raises:
        FirmwareError: there is no such emulated board.
    """
    machine = find_machine(board)
    try:
        check_toolchain({**TOOLS, machine.emulator: machine.package})
    except FirmwareError as error:
        return str(error)
    return why_sources_unavailable() or ""


def prove_arena(bundle: Bundle, board: str, folder: Path, log: Log) -> FirmwareImage:
    """Build the firmware with the arena that the network is seen to need on the board.

    The first build has room to spare and tells what it used; the second has just that, or the
    least more that lets it start. The figure goes into the bundle's manifest and ``model.h``.

    Args:
        bundle: export to build.
        board: board to build for.
        folder: where the build files go.
        log: takes lines of progress.

    Returns:
        The firmware with the proven arena.

    Raises:
        FirmwareError: the firmware does not build or does not run.
    """
    source = f"TFLite Micro on {board}"
    arena = bundle.manifest["arena"]
    if arena["source"] == source:
        return build_firmware(bundle.folder, board, folder, report=log)
    size, _ = least_arena(bundle, board, folder, log)
    bundle.set_arena(size, source)
    return build_firmware(bundle.folder, board, folder, report=log)


def least_arena(
    bundle: Bundle, board: str, folder: Path, log: Log = silent
) -> tuple[int, FirmwareImage]:
    """Find the least arena with which the network starts on an emulated board.

    Returns:
        Its bytes, and the firmware that has it; the bundle stays as it is.

    Raises:
        FirmwareError: the firmware does not build or does not run.
    """
    machine = find_machine(board)
    shape = bundle.manifest["model"]["input_shape"]
    silence = np.zeros((1, int(np.prod(shape))), np.int8)
    spare = bundle.manifest["arena"]["bytes"] + ARENA_SLACK_BYTES
    image = build_firmware(bundle.folder, board, folder, spare, report=log)
    used = run_job(image.elf, machine, silence).arena_used_bytes
    # What is used in the end may be less than what planning needs for a moment.
    for size in range(-(-used // 16) * 16, used + ARENA_SLACK_BYTES, ARENA_STEP_BYTES):
        image = build_firmware(bundle.folder, board, folder, size, report=log)
        if _starts(bundle, image):
            return size, image
    raise FirmwareError(
        f"{bundle.folder}: the network does not start on {board} with an arena of up to "
        f"{used + ARENA_SLACK_BYTES} bytes: export it again"
    )


def starting_firmware(bundle: Bundle, board: str, folder: Path, log: Log = silent) -> FirmwareImage:
    """Build the firmware for an emulated board, with an arena that the network starts with.

    That is the export's, and the firmware is the one of ``m3net firmware``, unless the kernels of
    this board's core want more: then it is the least that they start with. What was found is noted
    in the folder for the next time.

    Raises:
        FirmwareError: the firmware does not build or does not run.
    """
    arena = bundle.manifest["arena"]
    if arena["source"] == f"TFLite Micro on {board}":
        return build_firmware(bundle.folder, board, folder, report=log)
    path = folder / "arena.json"
    tried = {
        "model_sha256": bundle.manifest["model"]["sha256"],
        "arena": arena,
        "library": library_path(board_core(board)).parent.name,
    }
    noted = read_json(path) if path.exists() else {}
    if noted.get("tried") == tried:
        return build_firmware(bundle.folder, board, folder, noted["arena_bytes"], report=log)
    image, size = build_firmware(bundle.folder, board, folder, report=log), None
    if not _starts(bundle, image):
        size, image = least_arena(bundle, board, folder, log)
    write_json(path, {"tried": tried, "arena_bytes": size})
    return image


def _starts(bundle: Bundle, image: FirmwareImage) -> bool:
    """Whether the network starts on the emulated board with the arena that the firmware has."""
    silence = np.zeros((1, int(np.prod(bundle.manifest["model"]["input_shape"]))), np.int8)
    try:
        run_job(image.elf, find_machine(image.board), silence)
    except FirmwareError as error:
        if "arena" not in str(error):
            raise
        return False
    return True
