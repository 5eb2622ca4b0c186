# SPDX-License-Identifier: Apache-2.0
"""Unpacks untrusted archives safely.

An archive is unpacked into a hidden folder next to its destination and moved there by one rename,
so the destination is absent or complete even if the process is killed. Refused are absolute paths,
``..``, links, devices, non-portable names, duplicate names, encryption, and archive bombs: more
bytes than :class:`Limits` allows for the size of the archive.
"""

import bz2
import dataclasses
import gzip
import io
import lzma
import re
import shutil
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import IO

from m3net_tf.system.errors import DataError
from m3net_tf.system.unfinished import new_path

SCRATCH = ".unpack-"
JUNK = ("__MACOSX", ".DS_Store")
TAR_SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
_BLOCK = 1 << 20
_DEEPEST = 64  # nested folders; the deepest known data set has 5
_UNPORTABLE = re.compile(r"[\x00-\x1f\\]|^[A-Za-z]:")
_BROKEN = (
    UnicodeDecodeError,  # a name in a header
    tarfile.TarError,
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    NotImplementedError,
    struct.error,
)


class ArchiveRefusedError(DataError):
    """An archive is broken or hostile: unpacking it again will not help."""


@dataclasses.dataclass(frozen=True)
class Limits:
    """Limits of the unpacked size of an archive.

    Attributes:
        ratio: unpacked bytes per byte of the archive; sound compresses to a half at best.
        slack_bytes: additional bytes, for small archives of text.
    """

    ratio: float = 100.0
    slack_bytes: int = 1 << 20
    max_bytes: int = 1 << 40
    max_files: int = 5_000_000

    def allowed(self, archive_bytes: int) -> int:
        """Bytes that an archive of this size may unpack to."""
        return min(self.max_bytes, int(self.ratio * archive_bytes) + self.slack_bytes)


def unpack(
    archive: Path,
    parent: Path,
    *,
    limits: Limits = Limits(),
    before_move: Callable[[Path], None] = lambda _: None,
) -> Path:
    """Unpack a tar (plain, gz, bz2, xz) or zip archive (also split: .z01 ... .zip) into a folder.

    The folder is the archive's only top-level folder, or one named after the archive.

    Args:
        archive: the file; for a split zip the last volume, ``.zip``.
        before_move: called with the folder's final path right before the rename, when everything
            is on disk.

    Raises:
        ArchiveRefusedError: the archive is hostile, broken or of an unknown format.
        DataError: the disk is full, or the folder already exists.
    """
    scratch = new_path(SCRATCH, parent)
    scratch.mkdir()
    try:
        _unpack_into(scratch, archive, limits)
        top = sorted(scratch.iterdir())
        if not top:
            raise ArchiveRefusedError(f"{archive}: contains no files; fetch another one")
        source = top[0] if len(top) == 1 and top[0].is_dir() else scratch
        target = parent / (source.name if source != scratch else stem(archive.name))
        if target.exists():
            raise DataError(
                f"{target}: already exists, so {archive.name} is not unpacked over it; "
                "move it away or choose another folder"
            )
        before_move(target)
        source.rename(target)
        return target
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _unpack_into(scratch: Path, archive: Path, limits: Limits) -> None:
    try:
        if archive.name.lower().endswith(".zip"):
            _unpack_zip(archive, scratch, limits)
        elif archive.name.lower().endswith(TAR_SUFFIXES):
            _unpack_tar(archive, scratch, limits)
        else:
            raise ArchiveRefusedError(
                f"{archive}: is not a known kind of archive; give {', '.join(TAR_SUFFIXES)} or .zip"
            )
    except _BROKEN as error:
        raise _broken(archive, error) from error
    except OSError as error:
        if error.errno is None:  # gzip and bz2 raise it for bytes of another format
            raise _broken(archive, error) from error
        raise DataError(
            f"{archive}: cannot be unpacked ({error.strerror or error}); "
            "free some space or correct the folder's permissions and run again"
        ) from error


def _broken(archive: Path, error: Exception) -> ArchiveRefusedError:
    return ArchiveRefusedError(
        f"{archive}: is a broken archive ({str(error) or type(error).__name__}); "
        "fetch it from its publisher"
    )


def stem(name: str) -> str:
    """Name of an archive without its suffix."""
    for suffix in (*TAR_SUFFIXES, ".zip"):
        if name.lower().endswith(suffix):
            return name[: -len(suffix)]
    return name


def volumes(archive: Path) -> list[Path]:
    """The volumes of a zip in order: ``.z01`` ..., then the ``.zip`` (often the only one)."""
    parts: list[Path] = []
    while (path := archive.with_suffix(f".z{len(parts) + 1:02d}")).is_file():
        parts.append(path)
    return [*parts, archive]


class _Quota:
    """Counts unpacked bytes and files, and stops at the limit."""

    def __init__(self, archive: Path, limits: Limits, archive_bytes: int) -> None:
        self._archive, self._limits = archive, limits
        self._left = limits.allowed(archive_bytes)
        self._files = 0

    def spend(self, count: int) -> None:
        """Take bytes from the quota."""
        self._left -= count
        if self._left < 0:
            raise ArchiveRefusedError(
                f"{self._archive}: grows beyond {self._limits.ratio:g} times its size or "
                f"{self._limits.max_bytes} bytes, as an archive bomb does; it is not unpacked: "
                "fetch it from its publisher"
            )

    def place(self, name: str, folder: Path) -> Path | None:
        """Destination of a member; None for metadata files of file managers."""
        self._files += 1
        if self._files > self._limits.max_files:
            raise ArchiveRefusedError(
                f"{self._archive}: has more than {self._limits.max_files} files; "
                "fetch it from its publisher"
            )
        parts = PurePosixPath(name).parts
        if not name or _UNPORTABLE.search(name) or name.startswith("/") or ".." in parts:
            raise self.refuse(name, "leads outside its folder or is not a portable name")
        if len(parts) > _DEEPEST:
            raise self.refuse(f"{name[:40]}...", f"is more than {_DEEPEST} folders deep")
        if parts and (parts[0] in JUNK or parts[-1] in JUNK or parts[-1].startswith("._")):
            return None
        return folder.joinpath(*parts)

    def refuse(self, name: str, reason: str) -> ArchiveRefusedError:
        """The error for a member that must not be unpacked."""
        return ArchiveRefusedError(
            f"{self._archive}: member {name!r} {reason}; nothing is unpacked: "
            "fetch it from its publisher"
        )

    def write(self, source: IO[bytes], path: Path, name: str) -> None:
        """Copy a member to its destination."""
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with path.open("xb") as file:
                shutil.copyfileobj(source, file, _BLOCK)
        except FileExistsError:
            raise self.refuse(name, "occurs twice") from None


class _Counted(io.RawIOBase):
    """A stream that charges the bytes read from it to a quota."""

    def __init__(self, stream: IO[bytes], quota: _Quota) -> None:
        self._stream, self._quota = stream, quota
        self.tail = b""

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        block = self._stream.read(_BLOCK if size < 0 else min(size, _BLOCK))
        self._quota.spend(len(block))
        self.tail = (self.tail + block)[-tarfile.BLOCKSIZE :]
        return block


def _unpack_tar(archive: Path, folder: Path, limits: Limits) -> None:
    quota = _Quota(archive, limits, archive.stat().st_size)
    with _plain(archive) as plain:
        stream = _Counted(plain, quota)
        with tarfile.open(fileobj=stream, mode="r|") as tar:
            _write_members(tar, folder, quota)
        while stream.read():
            pass
    if any(stream.tail):  # tarfile treats a truncated or broken header as the end
        raise tarfile.ReadError("its end is missing")


def _write_members(tar: tarfile.TarFile, folder: Path, quota: _Quota) -> None:
    for member in tar:
        path = quota.place(member.name, folder)
        if member.issym() or member.islnk():
            raise quota.refuse(member.name, "is a link")
        if not (member.isreg() or member.isdir()) or member.issparse():
            raise quota.refuse(member.name, "is a device or another special file")
        if path is None:
            continue
        if member.isdir():
            path.mkdir(parents=True, exist_ok=True)
            continue
        source = tar.extractfile(member)
        assert source is not None  # a regular file
        quota.write(source, path, member.name)
        if path.stat().st_size != member.size:
            raise tarfile.ReadError("unexpected end of data")


def _plain(archive: Path) -> IO[bytes]:
    """Open the decompressed archive; its first bytes identify the compression."""
    with archive.open("rb") as file:
        head = file.read(6)
    if head[:2] == b"\x1f\x8b":
        return gzip.open(archive)  # type: ignore[return-value]
    if head[:3] == b"BZh":
        return bz2.open(archive)
    if head == b"\xfd7zXZ\0":
        return lzma.open(archive)
    return archive.open("rb")


def _unpack_zip(archive: Path, folder: Path, limits: Limits) -> None:
    parts = volumes(archive)
    quota = _Quota(archive, limits, sum(path.stat().st_size for path in parts))
    with _Volumes(parts) as joined, zipfile.ZipFile(joined) as file:
        members = file.infolist()
        _correct_offsets(file, joined)
        destinations = []
        for member in members:  # check everything before writing anything
            quota.spend(member.file_size)
            kind = stat.S_IFMT(member.external_attr >> 16)
            destinations.append(quota.place(member.orig_filename, folder))
            if kind == stat.S_IFLNK:
                raise quota.refuse(member.filename, "is a link")
            if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise quota.refuse(member.filename, "is a device or another special file")
            if member.flag_bits & 1:
                raise quota.refuse(member.filename, "is encrypted")
        for member, path in zip(members, destinations, strict=True):
            if path is None:
                continue
            if member.is_dir():
                path.mkdir(parents=True, exist_ok=True)
                continue
            with file.open(member) as source:
                quota.write(source, path, member.filename)


class _Volumes(io.RawIOBase):
    """Several files read as one stream."""

    def __init__(self, paths: list[Path]) -> None:
        self._files = [path.open("rb") for path in paths]
        sizes = [path.stat().st_size for path in paths]
        self.starts = [sum(sizes[:i]) for i in range(len(sizes))]
        self._size, self._position = sum(sizes), 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = 0) -> int:
        position = offset + (0, self._position, self._size)[whence]
        if position < 0:
            raise OSError("seek before the start")
        self._position = position
        return position

    def read(self, size: int = -1) -> bytes:
        size = max(0, self._size - self._position) if size < 0 else size
        blocks = []
        while size > 0 and self._position < self._size:
            index = max(i for i, start in enumerate(self.starts) if start <= self._position)
            self._files[index].seek(self._position - self.starts[index])
            block = self._files[index].read(size)
            if not block:
                raise EOFError("a volume ends early")
            blocks.append(block)
            self._position += len(block)
            size -= len(block)
        return b"".join(blocks)

    def close(self) -> None:
        for file in self._files:
            file.close()
        super().close()


def _correct_offsets(file: zipfile.ZipFile, joined: _Volumes) -> None:
    """Make member offsets of a split zip relative to all volumes, not to their own volume.

    zipfile treats them as offsets in one file and adds the length of any data before the archive.
    """
    if len(joined.starts) == 1:
        return
    joined.seek(max(0, joined.seek(0, 2) - 65_557))
    tail = joined.read()
    (directory,) = struct.unpack_from("<I", tail, tail.rindex(b"PK\5\6") + 16)
    added = file.start_dir - directory
    end = file.start_dir
    for member in file.infolist():
        if member.volume >= len(joined.starts):
            raise zipfile.BadZipFile(f"volume {member.volume + 1} is missing")
        member.header_offset += joined.starts[member.volume] - added
    for member in sorted(file.infolist(), key=lambda member: -member.header_offset):
        if hasattr(member, "_end_offset"):  # newer Python versions use it to detect overlaps
            member._end_offset = end
        end = member.header_offset
