# SPDX-License-Identifier: Apache-2.0
"""Errors that a user can cause and fix.

Each message is one line that names the file, key or value and says how to fix it. The command
line prints it after ``error:`` and exits with status 2. It treats a full disk or a read-only
folder the same way (:func:`os_error_line`). Any other exception is a bug and keeps its traceback.
"""

import difflib
import errno
import os
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Iterable

DAMAGED: tuple[type[Exception], ...] = (
    struct.error,
    tokenize.TokenError,
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    LookupError,
    NotImplementedError,
    OSError,
    OverflowError,
    SyntaxError,
    ValueError,
)
"""Exceptions of readers of zip archives, NumPy arrays and FlatBuffers for damaged bytes.

Exceptions of a programming error are left out: AttributeError, TypeError, MemoryError, RuntimeError
except of an unknown zip method (NotImplementedError). A reader checks first what would raise them.
"""

_LONGEST_PATH = 120
_LONGEST_MESSAGE = 300

_OTHER_FOLDER = "or choose another folder"
_ADVICE = {
    errno.ENOSPC: f"free some space on its disk, {_OTHER_FOLDER}",
    errno.EDQUOT: f"free some of your quota on its disk, {_OTHER_FOLDER}",
    errno.EFBIG: f"raise the file size limit, {_OTHER_FOLDER}",
    errno.EROFS: "choose a folder on another disk, or remount this one for writing",
    errno.EACCES: f"correct its permissions, {_OTHER_FOLDER}",
    errno.EPERM: f"correct its permissions, {_OTHER_FOLDER}",
    errno.ENAMETOOLONG: "use shorter names, or fewer nested folders",
    errno.ENOENT: "check the path",
    errno.ENOTDIR: "check the path: a part of it is a file",
    errno.EISDIR: "name a file, not a folder",
    errno.EEXIST: "move the existing file away, or choose another name",
    errno.ENOTEMPTY: "empty the folder, or choose another name",
    errno.ELOOP: "check the path: its symbolic links form a loop",
    errno.EMFILE: "raise the limit of open files (ulimit -n)",
    errno.ENFILE: "close other programs: the system has too many open files",
    errno.EIO: "check its disk",
    errno.ESTALE: "mount its disk again",
    errno.ENODEV: "check the disk or device",
    errno.ENXIO: "check the disk or device",
}


class M3NetError(Exception):
    """Base class of all errors that a user can fix."""


class ConfigError(M3NetError):
    """A recipe, option or front-end setting is wrong."""


class DataError(M3NetError):
    """A data set, folder or audio file is missing, broken or has the wrong format."""


class ModelError(M3NetError):
    """A network cannot be built, loaded, quantised or exported as requested."""


class FirmwareError(M3NetError):
    """The firmware cannot be fetched, built, emulated or flashed, or it reported a fault."""


class InUseError(M3NetError):
    """Another process is writing into a folder."""


def one_line(error: BaseException) -> str:
    """The start of an error's message, as one line."""
    return " ".join(str(error).split())[:_LONGEST_MESSAGE]


def os_error_line(error: OSError) -> str:
    """One line for a file system error: the path, the reason and how to fix it.

    It is '' for an error that a user cannot fix, which is a bug.
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
    """Refuse keys that do not exist, such as misspelt ones; ``where`` says where, for the message.

    Raises:
        ConfigError: a key is unknown; the message names the nearest key and lists all that exist.
    """
    known = tuple(known)
    for key in keys:
        if key not in known:
            nearest = difflib.get_close_matches(str(key), known, n=1)
            hint = f"did you mean {nearest[0]!r}? " if nearest else ""
            raise ConfigError(
                f"unknown key {key!r} {where}: {hint}known keys are {', '.join(known)}"
            )
