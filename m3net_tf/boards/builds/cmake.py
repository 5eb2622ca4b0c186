# SPDX-License-Identifier: Apache-2.0
"""Configuring, compiling and linking with CMake and Ninja, and the first error of a failed step."""

import re
from collections.abc import Sequence
from pathlib import Path

from m3net_tf.boards.builds.boards import Architecture, Board
from m3net_tf.boards.builds.image import FirmwareImage, inspect_elf, write_uf2
from m3net_tf.boards.builds.sources import FIRMWARE_DIR, cmake_variable
from m3net_tf.system.artifacts import write_text
from m3net_tf.system.errors import FirmwareError
from m3net_tf.system.processes import run_group


def make_firmware(
    board: Board,
    bundle_dir: Path,
    build_dir: Path,
    app_dir: Path | None,
    engine: Sequence[str],
    folders: dict[str, Path],
    settings: Sequence[str],
) -> FirmwareImage:
    """Configure, compile and link a board's firmware.

    Args:
        app_dir: folder of the application; default: ``firmware/app``.
        engine: CMake's arguments for the engine.
        folders: third-party sources by name.
        settings: ``NAME=VALUE`` of the board.

    Raises:
        FirmwareError: a step fails, or the board does not have a setting.
    """
    build_dir = build_dir.resolve()
    # CMake keeps earlier settings, and rejects a cache of another checkout or of a moved folder.
    saved = build_dir / "settings.txt"
    current = "\n".join([str(FIRMWARE_DIR), str(build_dir), *settings])
    if not saved.is_file() or saved.read_text(encoding="utf-8") != current:
        (build_dir / "CMakeCache.txt").unlink(missing_ok=True)
        write_text(saved, current)
    arguments = [
        f"-DM3NET_BUNDLE_DIR={bundle_dir.resolve()}",
        f"-DM3NET_GENERATED_DIR={build_dir / 'generated'}",
        f"-DM3NET_APP_DIR={(app_dir or FIRMWARE_DIR / 'app').resolve()}",
        *engine,
        *(f"-D{setting}" for setting in settings),
    ]
    configure = cmake_command(board.architecture, FIRMWARE_DIR, build_dir, arguments, folders)
    log = build_dir / "configure.log"
    run_step(configure, log, f"configuring the firmware for {board.name}")
    # CMake only warns about settings that the board does not have.
    text = log.read_text(encoding="utf-8", errors="replace")
    unused = text.partition("Manually-specified variables were not used by the project:")[2].split()
    for setting in settings:
        if (name := setting.partition("=")[0]) in unused:
            raise FirmwareError(
                f"{board.name} has no setting {name}: {board.file} lists the existing ones"
            )
    log = build_dir / "build.log"
    run_step(["ninja", "-C", build_dir], log, f"building the firmware for {board.name}")
    elf = build_dir / "m3net_firmware.elf"
    write_uf2(elf, board)
    return inspect_elf(elf, board.name)


def cmake_command(
    architecture: Architecture,
    source: Path,
    build: Path,
    settings: Sequence[str],
    folders: dict[str, Path],
) -> list[str | Path]:
    """Command that configures a CMake project with Ninja and the cross compiler."""
    command: list[str | Path] = ["cmake", "-G", "Ninja", "-S", source, "-B", build]
    checkouts = [f"-D{cmake_variable(name)}={folder}" for name, folder in folders.items()]
    return [*command, "--toolchain", architecture.toolchain_file, *settings, *checkouts]


def run_step(command: Sequence[str | Path], log: Path, what: str) -> None:
    """Run a build step with its output in ``log``.

    Raises:
        FirmwareError: it fails; the message quotes the first error in the log.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as stream:
        code = run_group([str(part) for part in command], stream)
    if code != 0:
        raise FirmwareError(f"{what} failed: {_first_error(log)} (full log: {log})")


def _first_error(log: Path) -> str:
    """The first error in the log of a failed CMake or Ninja step, without colours."""
    text = re.sub(r"\x1b\[[0-9;]*[mK]", "", log.read_text(encoding="utf-8", errors="replace"))
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    for index, line in enumerate(lines):
        if line.startswith("CMake Error"):
            following = []
            for next_line in lines[index + 1 :]:
                if next_line.startswith(("--", "CMake", "Call Stack")):
                    break
                following.append(next_line)
            return " ".join(following) or line
    for line in lines:
        if re.search(r"\b(error|undefined reference|overflowed)\b", line):
            return line
    return lines[-1] if lines else "no output"
