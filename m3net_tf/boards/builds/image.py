# SPDX-License-Identifier: Apache-2.0
"""A linked firmware, and its use of the board's memory."""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

from m3net_tf.boards.builds.toolchain import TOOLS, check_toolchain
from m3net_tf.system.errors import FirmwareError


@dataclass(frozen=True)
class FirmwareImage:
    """A linked firmware.

    Attributes:
        elf: path of the ELF file; the same image is beside it as ``.hex`` and ``.bin``, and as
            ``.uf2`` if it starts after a UF2 boot loader.
        board: name of its board.
        sections: bytes of each section that uses memory on the board, by name.
        flash_bytes: bytes of code, constants and the initial values of variables.
        ram_bytes: bytes in RAM, including the stack.
        dsp_missing: why the front end computes in whole numbers on a core with FPU; else ''.
    """

    elf: Path
    board: str
    sections: dict[str, int]
    flash_bytes: int
    ram_bytes: int
    dsp_missing: str = ""


def inspect_elf(elf: Path, board: str) -> FirmwareImage:
    """Read the section sizes of a linked firmware.

    Raises:
        FirmwareError: ``arm-none-eabi-size`` is missing or cannot read the file.
    """
    check_toolchain({"arm-none-eabi-size": TOOLS["arm-none-eabi-size"]})
    done = subprocess.run(
        ["arm-none-eabi-size", "-A", str(elf)], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise FirmwareError(f"{elf}: not a firmware ELF ({done.stderr.strip()}); build it again")
    rows = re.findall(r"^(\.[\w.]+)\s+(\d+)\s+(\d+)\s*$", done.stdout, flags=re.MULTILINE)
    loaded = (".text", ".data", ".stack", ".bss", ".noinit", ".dma")
    sections = {name: int(size) for name, size, _ in rows if name in loaded}
    return FirmwareImage(
        elf=elf,
        board=board,
        sections=sections,
        flash_bytes=sections.get(".text", 0) + sections.get(".data", 0),
        ram_bytes=sum(size for name, size in sections.items() if name != ".text"),
    )
