# SPDX-License-Identifier: Apache-2.0
"""Write a firmware to a board with the first installed tool that its board.toml names."""

import shlex
import shutil
import subprocess
from pathlib import Path

from m3net_tf.boards.builds.boards import load_board
from m3net_tf.boards.builds.image import FirmwareImage
from m3net_tf.system.errors import FirmwareError
from m3net_tf.system.progress import Log


def flash_way(board: str) -> list[str]:
    """Command line that writes a board, with ``{elf}``, ``{hex}`` or ``{bin}`` for the image.

    ``flash_commands`` of ``board.toml`` lists them, the best first; the first one whose program is
    installed is taken.

    Raises:
        FirmwareError: the board cannot be flashed, or none of its tools is installed.
    """
    facts = load_board(board)
    ways = [shlex.split(command) for command in facts.flash_commands]
    if not ways:
        raise FirmwareError(
            f"board {board} is not flashed ({facts.file} names no tool): run it "
            f"by make emulate BOARD={board}"
        )
    for way in ways:
        if shutil.which(way[0]):
            return way
    tools = ", ".join(dict.fromkeys(way[0] for way in ways))
    raise FirmwareError(
        f"no tool that writes {board} is installed; install one of: {tools} "
        f"(for instance: apt-get install openocd)"
    )


def flash_command(image: FirmwareImage) -> tuple[list[str], Path]:
    """Command line that writes an image, and the file of it that the command sends.

    Raises:
        FirmwareError: as :func:`flash_way`, or the command names no file.
    """
    way = flash_way(image.board)
    for form in ("elf", "hex", "bin"):
        placeholder = f"{{{form}}}"
        file = image.elf.with_suffix(f".{form}")
        if any(placeholder in part for part in way):
            return [part.replace(placeholder, str(file)) for part in way], file
    raise FirmwareError(
        f"{load_board(image.board).file}: {shlex.join(way)} names no file; add {{elf}} or {{hex}}"
    )


def flash_image(image: FirmwareImage, report: Log) -> None:
    """Write an image to its board.

    Raises:
        FirmwareError: as :func:`flash_command`, or the tool reports a failure.
    """
    command, file = flash_command(image)
    report(f"writing {file} to {image.board} with {command[0]}")
    status = subprocess.run(command, check=False).returncode
    if status:
        raise FirmwareError(
            f"{command[0]} failed with status {status} on {file}: see its output above, and "
            "check cable and power"
        )
    report(f"{image.board} has the firmware")
