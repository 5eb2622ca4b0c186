# SPDX-License-Identifier: Apache-2.0
"""Shards on this computer: copied once from their URL, verified, and read clip by clip."""

import dataclasses
import functools
import struct
import threading
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from m3net_tf.system.artifacts import cache_folder, file_sha256
from m3net_tf.system.errors import DataError
from m3net_tf.system.locks import locked
from m3net_tf.system.progress import silent
from m3net_tf.system.unfinished import unfinished_prefix
from m3net_tf.system.urls import open_url, reaching

_LENGTH = struct.Struct("<QI")  # of a record, and its checksum
_CHECKSUM_BYTES = 4
_copying = threading.Lock()
_verified: dict[tuple[str, str], Path] = {}


@dataclasses.dataclass(frozen=True)
class Shard:
    """One file of clips.

    Attributes:
        file: its name; the list of its clips is ``<file>.json``.
        split: ``train``, ``validation``, ``test`` or ``noise``.
        list_sha256: checksum of the list.
    """

    file: str
    split: str
    clips: int
    bytes: int
    sha256: str
    list_sha256: str


def local_shard(url: str, index: str, shard: Shard) -> Path:
    """The file of a shard on this computer, verified once in each process.

    A shard of another computer is copied once, into the cache.

    Raises:
        DataError: it is missing or damaged, or cannot be read.
    """
    with _copying:
        key = index, shard.file
        if key not in _verified:
            _verified[key] = _verified_shard(url, index, shard)
        return _verified[key]


def _verified_shard(url: str, index: str, shard: Shard) -> Path:
    system, root = open_url(url)
    path = Path(root) / shard.file
    remedy = "delete it and run m3net data shard again, which writes only what is missing"
    if not is_local(system):
        folder = cache_folder() / "shards" / index[:16]
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / shard.file
        with locked(folder / f"{shard.file}.lock", shard.file, silent):
            if path.is_file() and file_sha256(path) == shard.sha256:
                return path
            _copy(system, f"{root}/{shard.file}", path, url)
    if not path.is_file():
        raise DataError(f"{url}/{shard.file} is missing: run m3net data shard again")
    if file_sha256(path) != shard.sha256:
        raise DataError(f"{url}/{shard.file} is damaged: its SHA-256 is not the index's; {remedy}")
    return path


def is_local(system: Any) -> bool:
    """Whether a file system of fsspec is this computer's."""
    return "file" in (system.protocol if isinstance(system.protocol, tuple) else (system.protocol,))


def _copy(system: Any, source: str, target: Path, url: str) -> None:
    part = target.with_name(unfinished_prefix(target.name))
    with reaching(url, own=part.name):
        system.get_file(source, str(part))
    part.replace(target)


def read_pcm(url: str, index: str, shard: Shard, row: int) -> npt.NDArray[np.int16]:
    """The samples of one clip of a shard, int16 of shape (samples,).

    Args:
        index: checksum of its index.
    """
    from m3net_tf.system.keras import tf

    path = local_shard(url, index, shard)
    start, size = _records(path)[row]
    with path.open("rb") as content:
        content.seek(start)
        example = tf.train.Example.FromString(content.read(size))
    return np.frombuffer(example.features.feature["audio"].bytes_list.value[0], "<i2")


@functools.lru_cache(maxsize=64)
def _records(path: Path) -> list[tuple[int, int]]:
    """Start and size of each record of a shard."""
    places = []
    end = path.stat().st_size
    with path.open("rb") as file:
        position = 0
        while position < end:
            file.seek(position)
            size, _ = _LENGTH.unpack(file.read(_LENGTH.size))
            places.append((position + _LENGTH.size, size))
            position += _LENGTH.size + size + _CHECKSUM_BYTES
    return places
