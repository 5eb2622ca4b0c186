# SPDX-License-Identifier: Apache-2.0
"""Result files: atomic writes, records from anywhere, and the provenance of a result."""

import contextlib
import csv
import hashlib
import importlib.metadata
import io
import itertools
import json
import math
import os
import platform
import re
import stat
import subprocess
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypedDict

from m3net_tf.system.errors import DataError, one_line
from m3net_tf.system.unfinished import new_path, unfinished_prefix

MOST_BYTES = 8 << 20
"""Most bytes of a record; its values take up to forty times as much memory."""
DEEPEST = 100
"""Most levels of nested lists and mappings of a record; the project's own have 15."""
LONGEST_NUMBER = 64
"""Most characters of a whole number."""
HALF_CHARACTER = re.compile(r"[\ud800-\udfff]")

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

    As with other new files, the umask decides who may read it.

    Args:
        earlier: path that the replaced file gets, which then has the old bytes.

    Raises:
        OSError: the file cannot be written; the error names ``path``.
    """
    with naming(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        new = new_path(unfinished_prefix(path.name), path.parent)
        try:
            with new.open("xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            if earlier and path.exists():
                path.replace(earlier)
            new.replace(path)
        except BaseException:
            new.unlink(missing_ok=True)
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


def read_file(path: Path, most_bytes: int = MOST_BYTES) -> bytes:
    """Content of a file that may come from anybody.

    Raises:
        OSError: it cannot be opened or read.
        ValueError: it is too long, or not a file: a pipe could block, and a device never end.
    """
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # a pipe that nobody writes into opens, too
    try:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise ValueError("it is a folder, a pipe or a device, not a file")
        with os.fdopen(handle, "rb", closefd=False) as file:
            data = file.read(most_bytes + 1)
    finally:
        os.close(handle)
    if len(data) > most_bytes:
        raise ValueError(f"it has more than {most_bytes} bytes")
    return data


def parse_json(
    data: bytes | str, kind: Any = Any, *, most_bytes: int = MOST_BYTES, finite: bool = True
) -> Any:
    """Read a record: JSON that may come from anybody. Nothing else in the package reads JSON.

    Args:
        kind: the form that it must have, as a ``TypedDict``; keys that it does not name may be
            there, too.
        finite: whether Python's ``NaN`` and ``Infinity`` are refused.

    Raises:
        ValueError: it is not JSON in UTF-8, has a key twice, half a character, a number of too
            many digits or another form, or is too long or nested too deeply.
    """
    if len(data) > most_bytes:
        raise ValueError(f"it has more than {most_bytes} bytes")
    text = data if isinstance(data, str) else data.decode()
    hooks: dict[str, Any] = {"parse_float": _finite, "parse_constant": _finite} if finite else {}
    try:
        value = json.loads(text, parse_int=_short, object_pairs_hook=_once, **hooks)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    _require_plain(value, halves=re.search(r"\\u[dD][89a-fA-F]", text) is not None)
    return value if kind is Any else of_form(kind, value)


def of_form(kind: Any, value: Any) -> Any:
    """The value of a record, if it has the form of ``kind``.

    Raises:
        ValueError: it has another form.
    """
    import msgspec  # the light commands do without it

    try:
        msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise ValueError(f"it has another form: {error}") from None
    return value


def _short(digits: str) -> int:
    # Python neither prints integers of thousands of digits nor converts them to floats.
    if len(digits) > LONGEST_NUMBER:
        raise ValueError(f"it has a number of more than {LONGEST_NUMBER} characters")
    return int(digits)


def _finite(number: str) -> float:
    value = float(number)
    if not math.isfinite(value):
        raise ValueError(f"it has the number {number[:LONGEST_NUMBER]}")
    return value


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"it has the key {twice[:LONGEST_NUMBER]!r} twice")
    return values


def _require_plain(value: Any, halves: bool) -> None:
    """Refuse what is nested too deeply, and halves of characters, which nobody can print."""
    level = [value]
    for _ in range(DEEPEST):
        if halves and any(isinstance(x, str) and HALF_CHARACTER.search(x) for x in level):
            raise ValueError("it has half a character")
        level = [
            item
            for outer in level
            if isinstance(outer, dict | list)
            for item in (
                itertools.chain(outer, outer.values()) if isinstance(outer, dict) else outer
            )
        ]
        if not level:
            return
    raise ValueError(f"it is nested more than {DEEPEST} levels deep")


def read_json(path: Path, kind: Any = dict[str, Any], *, most_bytes: int = MOST_BYTES) -> Any:
    """Read a record in a file; see :func:`parse_json`.

    Raises:
        DataError: the file is missing, cannot be read, is half-written or has another form.
    """
    try:
        return parse_json(read_file(path, most_bytes), kind, most_bytes=most_bytes)
    except FileNotFoundError:
        raise DataError(f"{path} is missing: run the step that writes it again") from None
    except ValueError as error:
        raise DataError(
            f"{path} is not valid JSON ({one_line(error)}): delete it and run again"
        ) from None


def cache_folder() -> Path:
    """Folder of files that can be recreated: ``M3NET_CACHE``, or the user's cache folder."""
    import platformdirs  # not installed on small machines, which cache nothing

    return Path(os.environ.get("M3NET_CACHE") or platformdirs.user_cache_dir("m3net_tf"))


def sha256_of(data: bytes) -> str:
    """SHA-256 in hex."""
    return hashlib.sha256(data).hexdigest()


def file_sha256(path: Path) -> str:
    """SHA-256 of a file in hex, which need not fit into memory."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


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
        zipfile.BadZipFile: it is damaged, is not an archive, or a part is marked as encrypted.
        ValueError, OSError, NotImplementedError: it is damaged in another way.
    """
    archive = zipfile.ZipFile(io.BytesIO(data))
    if any(entry.flag_bits & _ENCRYPTED for entry in archive.infolist()):
        raise zipfile.BadZipFile("a part is encrypted")
    return archive
