# SPDX-License-Identifier: Apache-2.0
"""Summary of a build: its files, and how much of the board's memory the image uses."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TypedDict

from m3net_tf.boards.builds.boards import load_board
from m3net_tf.boards.builds.image import FirmwareImage
from m3net_tf.system.errors import FirmwareError

FORMS = ("elf", "hex", "bin", "uf2")


def image_files(image: FirmwareImage) -> dict[str, Path]:
    """Existing files of an image, by form (``elf``, ``hex``, ``bin``, ``uf2``)."""
    files = {form: image.elf.with_suffix(f".{form}") for form in FORMS}
    return {form: path for form, path in files.items() if path.is_file()}


def memory_bytes(image: FirmwareImage) -> dict[str, int]:
    """Size of each memory of the linker script, in bytes, by name.

    Raises:
        FirmwareError: the linker's map file is missing or has no table of memories.
    """
    path = image.elf.with_suffix(".map")
    text = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
    table = text.partition("\nMemory Configuration\n")[2].partition("\nLinker script")[0]
    rows = re.findall(r"^(\w+) +0x[0-9a-f]+ +(0x[0-9a-f]+)", table, flags=re.MULTILINE)
    if "FLASH" not in dict(rows):
        raise FirmwareError(f"{path}: no table of memories; build the firmware again")
    return {name: int(length, 0) for name, length in rows}


class ImageFacts(TypedDict):
    """A firmware image in JSON.

    Attributes:
        board: name of its board.
        files: its files, by form.
        flash_bytes: used bytes of flash.
        ram_bytes: used bytes of RAM, including the stack.
        memories: size of each memory of the linker script.
        sections: bytes of each section, by name.
    """

    board: str
    files: dict[str, str]
    flash_bytes: int
    ram_bytes: int
    memories: dict[str, int]
    sections: dict[str, int]


def image_facts(image: FirmwareImage) -> ImageFacts:
    """An image as JSON has it.

    Raises:
        FirmwareError: as :func:`memory_bytes`.
    """
    return {
        "board": image.board,
        "files": {form: str(path) for form, path in image_files(image).items()},
        "flash_bytes": image.flash_bytes,
        "ram_bytes": image.ram_bytes,
        "memories": memory_bytes(image),
        "sections": image.sections,
    }


def summary_lines(image: FirmwareImage) -> list[str]:
    """Lines with the size of each file, and with the used share of flash and RAM.

    The size of flash excludes addresses below the image's start. RAM is the sum of all memories
    that hold variables, arena and stack.

    Raises:
        FirmwareError: as :func:`memory_bytes`.
    """
    files = image_files(image)
    lines = [f"{_shown(path)}: {path.stat().st_size:,} bytes" for path in files.values()]
    memories = memory_bytes(image)
    flash_bytes = memories.pop("FLASH")
    lines.append(_share("flash", image.flash_bytes, flash_bytes))
    lines.append(_share("RAM", image.ram_bytes, sum(memories.values())))
    if load_board(image.board).uf2 and "uf2" not in files:
        lines += [
            "no .uf2: the image starts where a UF2 boot loader has its own code; to start after",
            "it, build with --define M3NET_FLASH_START=0x26000 (see docs/porting.md)",
        ]
    return lines


def _share(memory: str, used_bytes: int, total_bytes: int) -> str:
    share = 100 * used_bytes / total_bytes
    return f"{memory}: {used_bytes:,} of {total_bytes:,} bytes ({share:.1f} %)"


def _shown(path: Path) -> Path:
    """A path relative to the current folder, if it is inside it."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
