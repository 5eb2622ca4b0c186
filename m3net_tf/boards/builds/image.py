# SPDX-License-Identifier: Apache-2.0
"""A linked firmware: its files, its use of the board's memory, and its form for UF2 boot loaders.

A UF2 file, which boot loaders that appear as a USB drive accept, is a sequence of 512-byte blocks.
Each holds 256 bytes of the image and their address, so a boot loader accepts them in any order.
"""

import re
import struct
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

from m3net_tf.boards.builds.boards import Board, load_board
from m3net_tf.boards.builds.toolchain import check_toolchain, program
from m3net_tf.compiler.engines import COMPILED
from m3net_tf.system.artifacts import sha256_of, write_bytes
from m3net_tf.system.errors import FirmwareError

FORMS = ("elf", "hex", "bin", "uf2")
PAGE_BYTES = 256
_MAGIC_START = (0x0A324655, 0x9E5D5157)
_MAGIC_END = struct.pack("<I", 0x0AB16F30)
_FLAG_FAMILY = 0x2000
_HEADER = struct.Struct("<8I")
_DATA_BYTES = 476


@dataclass(frozen=True)
class FirmwareImage:
    """A linked firmware.

    Attributes:
        elf: path of the ELF file; the same image is beside it as ``.hex`` and ``.bin``, and as
            ``.uf2`` if it starts after a UF2 boot loader.
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

    @property
    def sha256(self) -> str:
        """Hash of the bytes in the board's flash."""
        return sha256_of(self.elf.with_suffix(".bin").read_bytes())


def inspect_elf(elf: Path, board: str) -> FirmwareImage:
    """Read the section sizes of a linked firmware for a board.

    Raises:
        FirmwareError: the toolchain of the board is missing, or cannot read the file.
    """
    architecture = load_board(board).architecture
    check_toolchain(architecture, COMPILED, tools={})
    command = [program(architecture, "size"), "-A", str(elf)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
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
    """A firmware image in JSON."""

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
            "it, build with --define M3NET_FLASH_START=0x26000 (see docs/design/porting.md)",
        ]
    return lines


def _share(memory: str, used_bytes: int, total_bytes: int) -> str:
    share = 100 * used_bytes / total_bytes
    return f"{memory}: {used_bytes:,} of {total_bytes:,} bytes ({share:.1f} %)"


def _shown(path: Path) -> Path:
    """A path relative to the current folder, if it is inside it."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def write_uf2(elf: Path, board: Board) -> None:
    """Write the image as ``.uf2`` if it starts after the board's UF2 boot loader."""
    path = elf.with_suffix(".uf2")
    path.unlink(missing_ok=True)
    if board.uf2:
        image = read_hex(elf.with_suffix(".hex"))
        # The boot loader occupies the flash below that address and would skip that part.
        if min(image) >= board.uf2.first_address:
            write_bytes(path, uf2_blocks(image, board.uf2.family))


def read_hex(path: Path) -> dict[int, int]:
    """Bytes of an Intel HEX file by address.

    Raises:
        FirmwareError: a line is damaged or of an unknown kind, or the last record is missing.
    """
    image: dict[int, int] = {}
    base = 0
    for number, line in enumerate(path.read_text(encoding="ascii").splitlines(), 1):
        try:
            record = bytes.fromhex(line.strip().removeprefix(":"))
            count = record[0]
            address = int.from_bytes(record[1:3], "big")
            kind = record[3]
            data = record[4:-1]
            if not line.startswith(":") or len(data) != count or sum(record) % 256:
                raise ValueError(line)
            if kind == 0:
                image.update({base + address + offset: byte for offset, byte in enumerate(data)})
            elif kind == 1:
                return image
            elif kind in (2, 4):
                base = int.from_bytes(data, "big") << (4 if kind == 2 else 16)
            elif kind not in (3, 5):  # start addresses are not needed
                raise ValueError(line)
        except (ValueError, IndexError):
            raise FirmwareError(
                f"{path}:{number}: damaged HEX line; build the firmware again"
            ) from None
    raise FirmwareError(f"{path}: the last record is missing; build the firmware again")


def uf2_blocks(image: dict[int, int], family: int) -> bytes:
    """The UF2 file of an image; gaps within a page are filled with 0xFF, as in erased flash.

    Args:
        image: bytes by address, as :func:`read_hex` returns them.
        family: number of the chip family, which the boot loader checks.
    """
    pages = sorted({address // PAGE_BYTES for address in image})
    blocks = []
    for number, page in enumerate(pages):
        start = page * PAGE_BYTES
        data = bytes(image.get(start + offset, 0xFF) for offset in range(PAGE_BYTES))
        header = _HEADER.pack(
            *_MAGIC_START, _FLAG_FAMILY, start, PAGE_BYTES, number, len(pages), family
        )
        blocks.append(header + data.ljust(_DATA_BYTES, b"\0") + _MAGIC_END)
    return b"".join(blocks)
