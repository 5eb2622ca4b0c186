# SPDX-License-Identifier: Apache-2.0
"""Feature maps on disk: looked up by key, memory-mapped, shared by runs, safe against kills.

A cache file holds many maps of one shape ("rows"): a ``.npy`` array of shape (rows, bins, frames),
followed by the keys and a checksum. Files are written atomically and never changed. So a killed
process loses only unwritten maps, and readers need no lock. Writers take a lock of the operating
system, which is released when its process ends; without it two writers would at worst do the same
work twice.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import io
import json
import math
import mmap
import os
import resource
import struct
import threading
import time
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from m3net_tf.system.artifacts import cache_folder, parse_json, read_file, write_bytes
from m3net_tf.system.errors import DAMAGED, DataError
from m3net_tf.system.progress import Log, silent
from m3net_tf.system.unfinished import UNFINISHED

KEY_BYTES = 16
FILE_BYTES = 16 * 2**20
"""A file is written when it reaches this size ..."""
FILE_S = 5.0
"""... or after this many seconds, which limits the work that a kill can lose."""

_MOST_BYTES = 1 << 30  # of the notes of a folder, 120 bytes a file
_OPEN_BESIDES = 256  # files and sockets that the process may have open in addition
_HASH_FILES = 32  # files per task of a thread
_FOOTER = struct.Struct("<8sQI4x")  # magic, rows, CRC-32 of everything before the footer
_MAGIC = b"m3netrow"
Rows = npt.NDArray[np.int8] | npt.NDArray[np.float32]


class FeatureRows:
    """Feature maps in memory-mapped files, shape (copies, clips, bins, frames).

    Indexing the first two axes, as with an array, reads the selected maps.
    """

    def __init__(
        self, files: Sequence[Rows], file: npt.NDArray[np.intp], row: npt.NDArray[np.intp]
    ) -> None:
        self._files = files
        self._file = file
        self._row = row

    @property
    def dtype(self) -> np.dtype:
        """int8 or float32."""
        return self._files[0].dtype

    @property
    def shape(self) -> tuple[int, ...]:
        """(copies, clips, bins, frames)."""
        return (*self._file.shape, *self._files[0].shape[1:])

    def __len__(self) -> int:
        return len(self._file)

    def __getitem__(self, index: Any) -> Rows:
        file = np.asarray(self._file[index])
        row = np.asarray(self._row[index])
        maps = np.empty((*file.shape, *self._files[0].shape[1:]), self.dtype)
        for number in np.unique(file):
            selected = file == number
            maps[selected] = self._files[number][row[selected]]
        return maps

    def __array__(
        self, dtype: npt.DTypeLike | None = None, copy: bool | None = None
    ) -> npt.NDArray[Any]:
        return self[:].astype(dtype or self.dtype, copy=False)

    def tobytes(self) -> bytes:
        """All maps as bytes."""
        return self[:].tobytes()


class RowStore:
    """The cached feature maps of one front end.

    Args:
        name: identifies front end and shape; the first part of the file names.
        row_shape: (bins, frames).
    """

    def __init__(self, name: str, row_shape: tuple[int, int], dtype: str = "int8") -> None:
        self.folder = cache_folder() / "features"
        self.name = name
        self.row_shape = row_shape
        self.dtype = np.dtype(dtype)

    def rows(self, keys: Sequence[Sequence[bytes]]) -> FeatureRows | None:
        """The maps of ``keys`` (copies x clips), or None if one is missing or damaged."""
        files, where = self._find({key for copy in keys for key in copy})
        try:
            locations = [[where[key] for key in copy] for copy in keys]
        except KeyError:
            return None
        table = np.array(locations, np.int64)  # (copies, clips, 2)
        return FeatureRows(files, table[..., 0], table[..., 1])

    def missing(self, keys: Iterable[bytes]) -> set[bytes]:
        """The subset of ``keys`` whose map is missing or damaged."""
        requested = set(keys)
        return requested - set(self._find(requested)[1])

    @contextlib.contextmanager
    def writing(self, log: Log = silent) -> Iterator[RowWriter]:
        """Hold the lock for adding maps, and write the remaining maps at the end.

        After an exception only the files written so far remain.
        """
        path = cache_folder() / "locks" / f"features-{self.name}"
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a") as lock:
            if _lock(lock.fileno(), log):
                for stale in self.folder.glob(f"{UNFINISHED}{self.name}-*"):  # of a killed writer
                    stale.unlink(missing_ok=True)
            writer = RowWriter(self)
            yield writer
            writer.flush()

    def _find(self, requested: set[bytes]) -> tuple[list[Rows], dict[bytes, tuple[int, int]]]:
        files: list[Rows] = []
        where: dict[bytes, tuple[int, int]] = {}
        paths = sorted(self.folder.glob(f"{self.name}-*.npy"))
        _allow_open_files(len(paths))
        for path in paths:
            try:
                rows, keys = _read(path, self.row_shape, self.dtype, requested - where.keys())
            except FileNotFoundError:
                continue
            except _DamagedError:
                with contextlib.suppress(OSError):
                    path.unlink()
                continue
            if keys:
                where |= {key: (len(files), row) for key, row in keys.items()}
                files.append(rows)
        return files, where


class RowWriter:
    """Collects maps and writes them in files; see :meth:`RowStore.writing`."""

    def __init__(self, store: RowStore) -> None:
        self._store = store
        self._keys: list[bytes] = []
        self._rows: list[Rows] = []
        self._since = time.monotonic()

    def add(self, keys: Sequence[bytes], rows: Rows) -> None:
        """Add maps of shape (len(keys), bins, frames)."""
        if not self._keys:
            self._since = time.monotonic()
        self._keys += keys
        self._rows.append(rows)
        size = len(self._keys) * rows[0].nbytes
        if size >= FILE_BYTES or time.monotonic() - self._since >= FILE_S:
            self.flush()

    def flush(self) -> None:
        """Write the collected maps."""
        if not self._keys:
            return
        keys = b"".join(self._keys)
        buffer = io.BytesIO()
        np.save(buffer, np.concatenate(self._rows))
        buffer.write(keys)
        content = buffer.getvalue()
        content += _FOOTER.pack(_MAGIC, len(self._keys), zlib.crc32(content))
        name = f"{self._store.name}-{hashlib.sha256(keys).hexdigest()[:16]}.npy"
        path = self._store.folder / name
        try:
            write_bytes(path, content)
        except OSError as error:
            raise DataError(
                f"{path} cannot be written ({error.strerror}): free some space, or set M3NET_CACHE"
            ) from None
        self._keys, self._rows = [], []


class _DamagedError(Exception):
    """A file of the cache is damaged."""


def _read(
    path: Path, row_shape: tuple[int, int], row_type: np.dtype, requested: set[bytes]
) -> tuple[Rows, dict[bytes, int]]:
    """A file's maps and the rows of ``requested`` keys; verifies the checksum if it has any."""
    with path.open("rb") as file:
        try:
            version = np.lib.format.read_magic(file)
            if version != (1, 0):
                raise _DamagedError
            shape, _, dtype = np.lib.format.read_array_header_1_0(file)
        except DAMAGED:
            raise _DamagedError from None
        start = file.tell()
        keys_at = start + math.prod(shape) * dtype.itemsize
        size = keys_at + shape[0] * KEY_BYTES + _FOOTER.size if shape else 0
        if shape[1:] != row_shape or dtype != row_type or os.fstat(file.fileno()).st_size != size:
            raise _DamagedError
        content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    magic, count, checksum = _FOOTER.unpack_from(content, size - _FOOTER.size)
    if magic != _MAGIC or count != shape[0]:
        raise _DamagedError
    keys = content[keys_at : size - _FOOTER.size]
    all_keys = (keys[i : i + KEY_BYTES] for i in range(0, len(keys), KEY_BYTES))
    rows_of_keys = {key: row for row, key in enumerate(all_keys) if key in requested}
    if rows_of_keys:
        with memoryview(content) as view, view[: size - _FOOTER.size] as part:
            if zlib.crc32(part) != checksum:
                raise _DamagedError
    rows = np.frombuffer(content, row_type, math.prod(shape), start).reshape(shape)
    return rows, rows_of_keys


def _allow_open_files(count: int) -> None:
    """Raise the soft limit of open files if mapping ``count`` files could reach it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = count + _OPEN_BESIDES
    if soft != resource.RLIM_INFINITY and soft < needed:
        most = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def _lock(handle: int, log: Log) -> bool:
    """Wait for the lock; False if the file system has no locks."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        log("waiting for another process that computes features of this front end")
        fcntl.flock(handle, fcntl.LOCK_EX)
    except OSError:
        return False
    return True


def content_hashes(paths: Iterable[Path], threads: int) -> dict[Path, str]:
    """SHA-256 of files in hex; a file is read only if its path, size or time is new.

    Raises:
        DataError: a file cannot be read.
    """
    folders: dict[Path, dict[Path, list[int]]] = {}  # size and modification time of each file
    for path in dict.fromkeys(paths):
        try:
            state = path.stat()
        except OSError as error:
            raise DataError(
                f"{path}: cannot be read ({error.strerror}); check the path or fetch the data again"
            ) from None
        folders.setdefault(path.parent, {})[path] = [state.st_size, state.st_mtime_ns]
    hashes: dict[Path, str] = {}
    for folder, stamps in folders.items():
        notes = _read_notes(_notes_of(folder))
        for path, stamp in stamps.items():
            entry = notes.get(path.name)
            if isinstance(entry, list) and entry[:2] == stamp and len(entry) == 3:
                hashes[path] = entry[2]
    fresh = [path for stamps in folders.values() for path in stamps if path not in hashes]
    if fresh:
        chunks = [fresh[i : i + _HASH_FILES] for i in range(0, len(fresh), _HASH_FILES)]
        with ThreadPoolExecutor(threads) as pool:
            for chunk, chunk_hashes in zip(chunks, pool.map(_hash_files, chunks), strict=True):
                hashes |= zip(chunk, chunk_hashes, strict=True)
        new = set(fresh)
        for folder, stamps in folders.items():
            rows = {p.name: [*stamp, hashes[p]] for p, stamp in stamps.items() if p in new}
            if rows:
                _add_notes(_notes_of(folder), rows)
    return hashes


def _notes_of(folder: Path) -> Path:
    name = hashlib.sha256(os.fsencode(folder.absolute())).hexdigest()[:32]
    return cache_folder() / "audio-hashes" / f"{name}.json"


def _add_notes(path: Path, rows: Mapping[str, object]) -> None:
    """Add notes without fsync or lock: at worst a file is hashed again."""
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}")
    scratch.write_text(json.dumps({**_read_notes(path), **rows}, separators=(",", ":")))
    scratch.replace(path)


def _read_notes(path: Path) -> dict[str, object]:
    try:
        content = read_file(path, _MOST_BYTES)
        notes: dict[str, object] = parse_json(content, dict[str, Any], most_bytes=_MOST_BYTES)
    except (OSError, ValueError):
        return {}
    return notes


def _hash_files(paths: Sequence[Path]) -> list[str]:
    return [_hash_file(path) for path in paths]


def _hash_file(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise DataError(
            f"{path}: cannot be read ({error.strerror}); check its permissions"
        ) from None
