# SPDX-License-Identifier: Apache-2.0
"""Folders at a URL, copied once to each computer (``file://``, ``s3://``, ``gs://``, ``https://``).

Several processes of a computer share one copy: the first one copies, the others wait for it. A
stopped copy continues with the files that are missing. A complete copy is used without asking the
server again, so changed data need a new URL.
"""

import dataclasses
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from m3net_tf.system.artifacts import cache_folder, sha256_of, write_json
from m3net_tf.system.errors import DataError
from m3net_tf.system.locks import locked
from m3net_tf.system.progress import Log, silent
from m3net_tf.system.urls import is_url, open_url, reaching
from m3net_tf.system.words import counted

_BATCH = 64  # files that are requested at once
_PART = ".m3net-part"
_COMPLETE = ".m3net-complete.json"


@dataclasses.dataclass(frozen=True)
class RemoteFolder:
    """A folder at a URL, of any kind that fsspec can read."""

    url: str

    @property
    def copy(self) -> Path:
        """Folder of the copy on this computer, in the cache."""
        name = PurePosixPath(self.url).name or "folder"
        return cache_folder() / "fetched" / f"{name}-{sha256_of(self.url.encode())[:16]}"

    def __str__(self) -> str:
        return self.url


def folder_or_url(text: str) -> Path | RemoteFolder:
    """A folder on this computer, or the one at a URL."""
    return RemoteFolder(text.rstrip("/")) if is_url(text) else Path(text)


def require_reachable(remote: RemoteFolder) -> None:
    """Require that a folder exists at a URL; reads no file.

    Raises:
        DataError: it does not, or the package for this kind of URL is missing.
    """
    system, root = open_url(remote.url)
    with reaching(remote.url):
        exists = system.exists(root)
    if not exists:
        raise DataError(f"{remote.url} does not exist: check the URL")


def fetch_folder(remote: RemoteFolder, folder: Path | None = None, log: Log = silent) -> Path:
    """Copy a folder from its URL unless this computer has it.

    Args:
        folder: folder of the copy, which may have files of its own; default: ``remote.copy``.

    Raises:
        DataError: the folder cannot be reached or read, or has files outside itself.
    """
    folder = folder or remote.copy
    digest = sha256_of(f"{remote.url} {folder.absolute()}".encode())[:16]
    complete = folder / f"{_COMPLETE}-{digest}"
    if complete.exists():
        return folder
    locks = cache_folder() / "locks"
    locks.mkdir(parents=True, exist_ok=True)
    with locked(locks / f"fetch-{digest}", remote.url, log):
        if not complete.exists():
            files = _copy(remote.url, folder, log)
            write_json(complete, {"url": remote.url, "files": files})
    return folder


def _copy(url: str, folder: Path, log: Log) -> int:
    """Copy the missing files; returns the number of all files."""
    system, root = open_url(url)
    with reaching(url):
        found = system.find(root, detail=True)
        sizes = _listed(url, root, {path: int(info["size"]) for path, info in found.items()})
    if not sizes:
        raise DataError(f"{url} has no files: check the URL")
    missing = [name for name, (_, size) in sizes.items() if not _is_copied(folder / name, size)]
    total = sum(sizes[name][1] for name in missing)
    log(
        f"{url}: copying {len(missing)} of {counted(len(sizes), 'file')}, {total / 1e6:.0f} "
        f"MB, to {folder}"
    )
    for start in range(0, len(missing), _BATCH):
        _copy_files(url, system, {folder / name: sizes[name] for name in missing[start:][:_BATCH]})
    return len(sizes)


def _listed(url: str, root: str, found: Mapping[str, int]) -> dict[str, tuple[str, int]]:
    """Name relative to the folder -> path on the server, and bytes."""
    sizes = {}
    for path, size in found.items():
        name = PurePosixPath(path).relative_to(root.rstrip("/") or "/")
        if ".." in name.parts or name.is_absolute():
            raise DataError(f"{url} has the file {path} outside its folder: remove it there")
        sizes[str(name)] = (path, size)
    return sizes


def _copy_files(url: str, system: Any, files: Mapping[Path, tuple[str, int]]) -> None:
    parts = {target: target.with_name(target.name + _PART) for target in files}
    for part in parts.values():
        part.parent.mkdir(parents=True, exist_ok=True)
    with reaching(url, own=_PART):
        system.get([path for path, _ in files.values()], [str(part) for part in parts.values()])
    for target, (path, size) in files.items():
        if not _is_copied(parts[target], size):
            raise DataError(f"{url}: {path} was cut off or has changed: run the command again")
        parts[target].replace(target)


def _is_copied(path: Path, size: int) -> bool:
    return path.is_file() and path.stat().st_size == size
