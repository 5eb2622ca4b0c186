# SPDX-License-Identifier: Apache-2.0
"""Finds the samples in WAV files whose headers libsndfile refuses or misreads.

A recorder writes the length of the samples when it stops. After a power cut this length is still 0
or the largest number. Broadcast recorders write BW64, which is RF64 by another name, and some
programs leave out the pad byte behind a chunk of odd length.
"""

import dataclasses
import io
import struct
from pathlib import Path
from typing import BinaryIO

from m3net_tf.system.errors import DataError

_IN_DS64 = 0xFFFFFFFF
_MOST_CHUNKS = 10_000  # before the samples; a file with more is not a recording
_ENDLESS = 0x7FFFF000  # bits that are set in the length of a sound that is written to a pipe
_CHUNK_HEAD = struct.Struct("<4sI")
_KNOWN = (b"data", b"fmt ", b"LIST", b"fact", b"bext", b"iXML", b"axml", b"chna", b"cue ", b"PEAK")
LARGEST_RIFF = 0xFFFFF000


@dataclasses.dataclass(frozen=True)
class Samples:
    """Where the samples of a WAV file are.

    Attributes:
        format: content of the chunk ``fmt ``.
        start: first byte of the samples.
        size: their bytes.
        readable: whether libsndfile finds the same by itself.
    """

    format: bytes
    start: int
    size: int
    readable: bool


def find_samples(file: BinaryIO, size_bytes: int) -> Samples | None:
    """Where the samples of an open file are; None if it is no WAV file or has none.

    Raises:
        DataError: fewer bytes follow than the header promises; the message does not name the file.
    """
    file.seek(0)
    head = file.read(12)
    form = head[:4]
    if form not in (b"RIFF", b"RF64", b"BW64") or head[8:12] != b"WAVE":
        return None
    format_, large, readable = b"", 0, form != b"BW64"
    for _ in range(_MOST_CHUNKS):
        if len(chunk := file.read(8)) < 8:
            break
        kind, length = _CHUNK_HEAD.unpack(chunk)
        start = file.tell()
        if kind == b"data":
            available = size_bytes - start
            promised = large if length == _IN_DS64 and large else length
            if not promised or (promised & _ENDLESS == _ENDLESS and promised > available):
                size = 0 if not promised and _is_chunks(file, start, size_bytes) else available
                readable &= not size or (form == b"RIFF" and promised > 0)
            elif promised > available:
                raise DataError(f"its header promises {promised} bytes, {available} follow")
            else:
                size = promised
            return Samples(format_, start, size, readable) if format_ else None
        if kind == b"fmt ":
            format_ = file.read(min(length, 1 << 12))
        elif kind == b"ds64":
            large = int.from_bytes(file.read(16)[8:], "little")
        padded = _is_padded(file, start + length) if length % 2 else 0
        readable &= padded == length % 2
        file.seek(start + length + padded)
    return None


def _is_padded(file: BinaryIO, end: int) -> int:
    """Pad bytes behind a chunk of odd length: 0 only if the next chunk begins at once."""
    file.seek(end)
    following = file.read(5)
    return int(following[1:] in _KNOWN or following[:4] not in _KNOWN)


def _is_chunks(file: BinaryIO, start: int, end: int) -> bool:
    """Whether nothing but whole chunks fills a file from here to its end."""
    for _ in range(_MOST_CHUNKS):
        if start >= end:
            break
        file.seek(start)
        chunk = file.read(8)
        if len(chunk) < 8 or not chunk[:4].decode("latin-1").isprintable():
            return False
        length = _CHUNK_HEAD.unpack(chunk)[1]
        start += 8 + length + length % 2
    return start in (end, end + 1)  # the last pad byte is often missing


class RepairedWave(io.RawIOBase):
    """The samples of a WAV file behind a header that libsndfile reads."""

    def __init__(self, path: Path, samples: Samples) -> None:
        frame_bytes = max(1, int.from_bytes(samples.format[12:14], "little"))
        size = samples.size // frame_bytes * frame_bytes
        self._head = _header(samples.format, size)
        self._shift = samples.start - len(self._head)
        self._end = len(self._head) + size
        self._at = 0
        self._file = path.open("rb")

    def readinto(self, buffer) -> int:  # type: ignore[no-untyped-def]
        """Fill a buffer as far as possible; the number of bytes."""
        if self._at < len(self._head):
            part = self._head[self._at : self._at + len(buffer)]
        else:
            self._file.seek(self._at + self._shift)
            part = self._file.read(max(0, min(len(buffer), self._end - self._at)))
        buffer[: len(part)] = part
        self._at += len(part)
        return len(part)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a byte."""
        self._at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._end}[whence]
        return self._at

    def tell(self) -> int:
        """The next byte."""
        return self._at

    def readable(self) -> bool:
        """Yes."""
        return True

    def seekable(self) -> bool:
        """Yes."""
        return True

    def close(self) -> None:
        """Close the file."""
        self._file.close()
        super().close()


def _header(format_: bytes, size: int) -> bytes:
    chunk = _CHUNK_HEAD.pack(b"fmt ", len(format_)) + format_ + bytes(len(format_) % 2)
    if size < LARGEST_RIFF:
        whole = 4 + len(chunk) + 8 + size
        head = _CHUNK_HEAD.pack(b"RIFF", whole)
        return head + b"WAVE" + chunk + _CHUNK_HEAD.pack(b"data", size)
    sizes = _CHUNK_HEAD.pack(b"ds64", 28) + struct.pack("<QQQI", 48 + len(chunk) + size, size, 0, 0)
    head, data = (_CHUNK_HEAD.pack(kind, _IN_DS64) for kind in (b"RF64", b"data"))
    return head + b"WAVE" + sizes + chunk + data
