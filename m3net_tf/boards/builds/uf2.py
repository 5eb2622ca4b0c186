# SPDX-License-Identifier: Apache-2.0
"""Intel HEX to UF2, the format of boot loaders that appear as a USB drive.

A UF2 file is a sequence of 512-byte blocks. Each holds 256 bytes of the image and their address, so
that a boot loader accepts them in any order.
"""

from __future__ import annotations

import struct
from pathlib import Path

from m3net_tf.system.errors import FirmwareError

PAGE_BYTES = 256
_MAGIC_START = (0x0A324655, 0x9E5D5157)
_MAGIC_END = struct.pack("<I", 0x0AB16F30)
_FLAG_FAMILY = 0x2000
_HEADER = struct.Struct("<8I")
_DATA_BYTES = 476


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
            count, address, kind = record[0], int.from_bytes(record[1:3], "big"), record[3]
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
