# SPDX-License-Identifier: Apache-2.0
"""Build a firmware image from an export with CMake, Ninja and the GNU Arm toolchain."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TypedDict, Unpack

from m3net_tf.boards.builds.board_files import write_board_files
from m3net_tf.boards.builds.boards import Board, board_sources, load_board
from m3net_tf.boards.builds.image import FirmwareImage, inspect_elf
from m3net_tf.boards.builds.library import build_library
from m3net_tf.boards.builds.pdm import write_pdm_filter
from m3net_tf.boards.builds.schema import schema_flags
from m3net_tf.boards.builds.sources import FIRMWARE_DIR, UnreachableError, fetch_sources
from m3net_tf.boards.builds.toolchain import check_toolchain, cmake_command, run_step
from m3net_tf.boards.builds.uf2 import read_hex, uf2_blocks
from m3net_tf.compiler.engines import TFLM
from m3net_tf.system.artifacts import write_bytes, write_text
from m3net_tf.system.errors import FirmwareError
from m3net_tf.system.locks import writes_into
from m3net_tf.system.progress import Log

#: Added to the arena for a measurement: the host does not count the kernels' scratch memory.
ARENA_SLACK_BYTES = 64 * 1024


class BuildOptions(TypedDict, total=False):
    """Options of a build.

    Attributes:
        app_dir: folder of the application; default: ``firmware/app``.
        settings: ``NAME=VALUE``, as ``board.toml`` and ``cmake/eembc.cmake`` define them.
        cache: cache folder; :func:`m3net_tf.system.artifacts.cache_folder` by default.
        report: called with a line for each slow step.
    """

    app_dir: Path | None
    settings: Sequence[str]
    cache: Path | None
    report: Log | None


@writes_into("build_dir", makes=True)
def build_firmware(
    bundle_dir: Path,
    board: str,
    build_dir: Path,
    arena_bytes: int | None = None,
    **options: Unpack[BuildOptions],
) -> FirmwareImage:
    """Build the firmware of one exported model for one board with TensorFlow Lite Micro.

    Args:
        bundle_dir: folder that the export wrote (``model.h``, ``model.cc``, ...).
        board: a name of :func:`list_boards`.
        build_dir: folder for CMake's files; reused if it has the same settings.
        arena_bytes: size of the tensor arena; by default the export's.
        options: see :class:`BuildOptions`.

    Raises:
        InUseError: another process builds in ``build_dir``.
        ConfigError: a key of the board's ``board.toml`` is unknown, missing or of a wrong type.
        FirmwareError: unknown board or setting, missing tool, unreachable sources, or code that
            fails to compile or to fit.
    """
    facts = load_board(board)
    check_settings(options)
    check_toolchain()
    cache, report = options.get("cache"), options.get("report")
    try:
        library = build_library(facts.core, cache, report)
        folders = fetch_sources(board_sources(facts), cache=cache, report=report)
    except UnreachableError as error:
        raise FirmwareError(f"{error}{other_engine_hint(facts)}") from None
    generated = write_generated(facts, build_dir)
    engine = [
        f"-DM3NET_ENGINE={TFLM}",
        f"-DM3NET_LIBRARY={library}",
        f"-DM3NET_ARENA_BYTES={'' if arena_bytes is None else arena_bytes}",
        f"-DCMAKE_CXX_FLAGS={schema_flags(folders['tflite-micro'], generated)}",
    ]
    return run_build(facts, bundle_dir, build_dir, engine, folders, options)


def other_engine_hint(board: Board) -> str:
    """What to do without the sources of TensorFlow Lite Micro, as the end of an error.

    It is empty for boards whose vendor's headers are such sources, too.
    """
    if any(source.boards for source in board_sources(board)):
        return ""
    return "; or use --engine compiled, which needs none of these sources"


def check_settings(options: BuildOptions) -> None:
    """Reject settings that are not ``NAME=VALUE``.

    Raises:
        FirmwareError: a setting has another form.
    """
    for setting in options.get("settings", ()):
        if not re.fullmatch(r"\w+=.*", setting):
            raise FirmwareError(f"{setting!r} is not a setting: give NAME=VALUE")


def write_generated(board: Board, build_dir: Path) -> Path:
    """Write the files of a board for a build; returns their folder."""
    generated = build_dir.resolve() / "generated"
    generated.mkdir(parents=True, exist_ok=True)
    write_board_files(board, generated)
    write_pdm_filter(generated)
    return generated


def run_build(
    board: Board,
    bundle_dir: Path,
    build_dir: Path,
    engine: Sequence[str],
    folders: dict[str, Path],
    options: BuildOptions,
) -> FirmwareImage:
    """Configure, compile and link.

    Args:
        board: has its files in ``build_dir`` (:func:`write_generated`).
        bundle_dir: folder of the export.
        build_dir: folder for CMake's files.
        engine: CMake's arguments for what runs the network.
        folders: checkouts of third-party sources, by name.
        options: see :class:`BuildOptions`.

    Raises:
        FirmwareError: a setting is unknown, or the code fails to compile or to fit.
    """
    build_dir = build_dir.resolve()
    app_dir, settings = options.get("app_dir") or FIRMWARE_DIR / "app", options.get("settings", ())
    _drop_stale_cache(build_dir, settings)
    arguments = [
        f"-DM3NET_BUNDLE_DIR={bundle_dir.resolve()}",
        f"-DM3NET_GENERATED_DIR={build_dir / 'generated'}",
        f"-DM3NET_APP_DIR={app_dir.resolve()}",
        *engine,
        *(f"-D{setting}" for setting in settings),
    ]
    configure = cmake_command(FIRMWARE_DIR, build_dir, arguments, folders)
    log = build_dir / "configure.log"
    run_step(configure, log, f"configuring the firmware for {board.name}")
    _refuse_unused(settings, log, board)
    log = build_dir / "build.log"
    run_step(["ninja", "-C", build_dir], log, f"building the firmware for {board.name}")
    elf = build_dir / "m3net_firmware.elf"
    _write_uf2(elf, board)
    return inspect_elf(elf, board.name)


def _drop_stale_cache(build_dir: Path, settings: Sequence[str]) -> None:
    """Delete CMake's cache if it has different settings.

    CMake keeps earlier settings, and rejects a cache of another checkout or of a moved folder.
    """
    path = build_dir / "settings.txt"
    current = "\n".join([str(FIRMWARE_DIR), str(build_dir), *settings])
    if not path.is_file() or path.read_text(encoding="utf-8") != current:
        (build_dir / "CMakeCache.txt").unlink(missing_ok=True)
        write_text(path, current)


def _write_uf2(elf: Path, board: Board) -> None:
    """Write the image as ``.uf2`` if it starts after the board's UF2 boot loader."""
    uf2 = elf.with_suffix(".uf2")
    uf2.unlink(missing_ok=True)
    if board.uf2:
        image = read_hex(elf.with_suffix(".hex"))
        # The boot loader occupies the flash below that address and would skip that part.
        if min(image) >= board.uf2.first_address:
            write_bytes(uf2, uf2_blocks(image, board.uf2.family))


def _refuse_unused(settings: Sequence[str], log: Path, board: Board) -> None:
    """Reject settings that the board does not have; CMake only warns about them."""
    text = log.read_text(encoding="utf-8", errors="replace")
    unused = text.partition("Manually-specified variables were not used by the project:")[2].split()
    for setting in settings:
        if (name := setting.partition("=")[0]) in unused:
            raise FirmwareError(
                f"{board.name} has no setting {name}: {board.file} lists the existing ones"
            )
