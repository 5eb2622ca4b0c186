# SPDX-License-Identifier: Apache-2.0
"""Errors that a user can cause and fix.

Each message is one line that names the file, key or value and says what to do about it. The
command line prints it behind ``error:`` and exits with status 2, as it does for a disk that is
full or a folder that cannot be written to (:func:`os_error_line`); any other exception is a bug of
ours and keeps its traceback.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable

_LONGEST_PATH = 120

_ELSEWHERE = "or choose another folder"
_ADVICE = {
    errno.ENOSPC: f"free some room on its disk, {_ELSEWHERE}",
    errno.EDQUOT: f"free some of your quota on its disk, {_ELSEWHERE}",
    errno.EFBIG: f"raise the limit of file sizes, {_ELSEWHERE}",
    errno.EROFS: "choose a folder on another disk, or mount this one for writing",
    errno.EACCES: f"correct its permissions, {_ELSEWHERE}",
    errno.EPERM: f"correct its permissions, {_ELSEWHERE}",
    errno.ENAMETOOLONG: "use shorter names, or fewer folders within one another",
    errno.ENOENT: "check the path",
    errno.ENOTDIR: "check the path: a part of it is a file",
    errno.EISDIR: "name a file, not a folder",
    errno.EEXIST: "move what is there away, or choose another name",
    errno.ENOTEMPTY: "move what is there away, or choose another name",
    errno.ELOOP: "check the path: its links lead round in a circle",
    errno.EMFILE: "raise the limit of open files: ulimit -n",
    errno.ENFILE: "close other programs: the system has too many open files",
    errno.EIO: "check the disk that it is on",
    errno.ESTALE: "mount its disk again",
    errno.ENODEV: "check the disk or device",
    errno.ENXIO: "check the disk or device",
}


class M3NetError(Exception):
    """Base of all errors that a user can fix."""


class ConfigError(M3NetError):
    """A recipe, option or front-end setting is wrong."""


class DataError(M3NetError):
    """A data set, folder or audio file is missing, broken or of the wrong form."""


class ModelError(M3NetError):
    """A network cannot be built, loaded, quantised or exported as asked."""


class FirmwareError(M3NetError):
    """The firmware cannot be fetched, built, emulated or flashed, or it reported a fault."""


class InUseError(M3NetError):
    """Another process is writing into a folder."""


def os_error_line(error: OSError) -> str:
    """One line for an error of disk or system: what it is, the path, and what to do about it.

    Returns:
        The line; '' for an error that no user can fix: a bug of ours.
    """
    if error.errno not in _ADVICE:
        return ""
    advice = _ADVICE[error.errno]
    reason = error.strerror or os.strerror(error.errno)
    if error.filename is None:
        return f"{reason}: {advice}"
    path = os.fsdecode(error.filename) if not isinstance(error.filename, int) else "a file"
    if len(path) > _LONGEST_PATH:
        path = f"{path[: _LONGEST_PATH // 2]}...{path[-_LONGEST_PATH // 2 :]}"
    return f"{path}: {reason}; {advice}"


def require_known_keys(keys: Iterable[object], known: Iterable[str], where: str) -> None:
    """Refuse a key that does not exist, as from a spelling mistake.

    Args:
        keys: keys that a user gave.
        known: the keys that exist.
        where: the place of the keys, as ``in section 'model'``.

    Raises:
        ConfigError: naming the first unknown key, its place and the keys that exist.
    """
    known = tuple(known)
    for key in keys:
        if key not in known:
            raise ConfigError(f"unknown key {key!r} {where}: known keys are {', '.join(known)}")
