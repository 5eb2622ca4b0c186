# SPDX-License-Identifier: Apache-2.0
"""Write a firmware to a board, with the first tool of those that its folder names."""

from __future__ import annotations

import shlex
import shutil
import subprocess

from m3net_tf.errors import FirmwareError
from m3net_tf.firmware.build import FirmwareImage, board_file, board_setting


def flash_command(image: FirmwareImage) -> list[str]:
    """Command line that writes an image.

    ``M3NET_BOARD_FLASH`` of ``board.cmake`` lists the ways, the best first; ``{elf}``, ``{hex}``
    and ``{bin}`` stand for the image's files. The first one whose program is installed is taken.

    Raises:
        FirmwareError: the board cannot be flashed, or none of its tools is installed.
    """
    ways = [shlex.split(way) for way in board_setting(image.board, "FLASH")]
    if not ways:
        raise FirmwareError(
            f"board {image.board} is not flashed ({board_file(image.board)} names no tool): run it "
            f"by make emulate BOARD={image.board}"
        )
    files = {
        f"{{{form}}}": str(image.elf.with_suffix(f".{form}")) for form in ("elf", "hex", "bin")
    }
    for way in ways:
        if shutil.which(way[0]) is None:
            continue
        for placeholder, file in files.items():
            way = [part.replace(placeholder, file) for part in way]
        return way
    tools = ", ".join(dict.fromkeys(way[0] for way in ways))
    raise FirmwareError(
        f"no tool that writes {image.board} is installed; install one of: {tools} "
        f"(for instance: apt-get install openocd)"
    )


def flash_image(image: FirmwareImage) -> None:
    """Write an image to its board.

    Raises:
        FirmwareError: as :func:`flash_command`, or the tool reports a failure.
    """
    command = flash_command(image)
    status = subprocess.run(command, check=False).returncode
    if status:
        raise FirmwareError(
            f"{command[0]} failed with status {status} on {image.elf}: check cable and power"
        )
