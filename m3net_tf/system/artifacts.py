# SPDX-License-Identifier: Apache-2.0
"""Result files: atomic writes, and the provenance of a result."""

import contextlib
import csv
import hashlib
import importlib.metadata
import io
import json
import os
import platform
import subprocess
import tempfile
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypedDict

from m3net_tf.system.errors import DataError
from m3net_tf.system.unfinished import unfinished_prefix

_ENCRYPTED = 1  # flag of a part of a zip archive
_PACKAGES = ("tensorflow", "tensorflow-cpu", "tf_keras", "numpy", "ai-edge-litert", "tflite-micro")


class Provenance(TypedDict):
    """Provenance of a result.

    Attributes:
        versions: versions of Python and of the packages that results depend on, by name.
        git_commit: commit of the source tree, with ``-dirty`` if files were changed; '' outside
            git.
    """

    versions: dict[str, str]
    git_commit: str


@contextlib.contextmanager
def naming(path: Path) -> Iterator[None]:
    """Make an OSError name this file: on a full disk it names none, or a temporary file."""
    try:
        yield
    except OSError as error:
        error.filename = str(path)
        del error.filename2  # None would be printed
        raise


def write_bytes(path: Path, data: bytes, earlier: Path | None = None) -> None:
    """Write a file atomically: a reader sees the old bytes or all of the new ones.

    Args:
        earlier: path that the replaced file gets, which then has the old bytes.

    Raises:
        OSError: the file cannot be written; the error names ``path``.
    """
    with naming(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=unfinished_prefix(path.name))
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            Path(name).chmod(0o644)
            if earlier and path.exists():
                path.replace(earlier)
            Path(name).replace(path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise


def write_text(path: Path, text: str) -> None:
    """:func:`write_bytes` for UTF-8 text."""
    write_bytes(path, text.encode())


def update_text(path: Path, text: str) -> None:
    """Write UTF-8 text unless the file already has it, so that its time changes only with it."""
    if not path.is_file() or path.read_text(encoding="utf-8") != text:
        write_text(path, text)


def csv_table(columns: Sequence[str], rows: Iterable[Iterable[object]]) -> str:
    """A CSV table with a line of column names."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(columns)
    table.writerows(rows)
    return text.getvalue()


def write_json(path: Path, value: Any) -> None:
    """:func:`write_bytes` for JSON with sorted keys: the same value gives the same bytes."""
    write_text(path, json.dumps(value, indent=2, sort_keys=True, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        DataError: the file is missing or half-written.
    """
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        raise DataError(f"{path} is missing: run the step that writes it again") from None
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise DataError(f"{path} is not valid JSON ({error}): delete it and run again") from None


def cache_folder() -> Path:
    """Folder of files that can be recreated: ``M3NET_CACHE``, or the user's cache folder."""
    import platformdirs  # not installed on small machines, which cache nothing

    return Path(os.environ.get("M3NET_CACHE") or platformdirs.user_cache_dir("m3net_tf"))


def sha256_of(data: bytes) -> str:
    """SHA-256 in hex."""
    return hashlib.sha256(data).hexdigest()


def provenance() -> Provenance:
    """Package versions and git commit that produced a result."""
    versions = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return {"versions": versions, "git_commit": _git_commit()}


def _git_commit() -> str:
    """Commit of the source tree, with ``-dirty`` if files were changed; '' outside git."""
    here = Path(__file__).parent
    try:
        result = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"],
            cwd=here,
            capture_output=True,
            text=True,
            check=False,
        )
    except FileNotFoundError:
        return ""
    return result.stdout.strip()


def opened_archive(data: bytes) -> zipfile.ZipFile:
    """A zip archive without encrypted parts, whose reading would raise a RuntimeError.

    Raises:
        zipfile.BadZipFile: it is damaged, is none, or a part is marked as encrypted.
        ValueError, OSError, NotImplementedError: it is damaged in another way.
    """
    archive = zipfile.ZipFile(io.BytesIO(data))
    if any(entry.flag_bits & _ENCRYPTED for entry in archive.infolist()):
        raise zipfile.BadZipFile("a part is encrypted")
    return archive
