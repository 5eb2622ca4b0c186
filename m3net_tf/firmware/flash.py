# SPDX-License-Identifier: Apache-2.0
"""Write a firmware to a board, with the tool that the board's folder names."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess

from m3net_tf.errors import FirmwareError
from m3net_tf.firmware.build import FirmwareImage, board_file


def flash_command(image: FirmwareImage) -> list[str]:
    """Command line that writes an image: ``M3NET_BOARD_FLASH`` of ``board.cmake``, ``{elf}`` set.

    Raises:
        FirmwareError: the board cannot be flashed, or its tool is not installed.
    """
    path = board_file(image.board)
    found = re.search(r'set\(M3NET_BOARD_FLASH\s+"([^"]+)"\)', path.read_text(encoding="utf-8"))
    if not found:
        raise FirmwareError(
            f"board {image.board} is not flashed ({path} names no tool): run it by "
            f"make emulate BOARD={image.board}"
        )
    command = [part.replace("{elf}", str(image.elf)) for part in shlex.split(found.group(1))]
    if shutil.which(command[0]) is None:
        raise FirmwareError(
            f"{command[0]} is not installed but writes {image.board}: apt-get install {command[0]}"
        )
    return command


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
