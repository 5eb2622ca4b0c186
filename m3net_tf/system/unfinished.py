# SPDX-License-Identifier: Apache-2.0
"""Files and folders that replace others when they are complete.

Until then they have names that no user chooses, so the next writer into a folder can remove what
killed processes left; see :func:`m3net_tf.system.locks.in_use`.
"""

import ctypes
import os
import secrets
import shutil
from pathlib import Path

UNFINISHED = ".m3net-part-"
"""Start of the names."""

_AT_FDCWD, _RENAME_EXCHANGE = -100, 2


def unfinished_prefix(name: str) -> str:
    """Start of the name of the file or folder that will replace ``name``."""
    return f"{UNFINISHED}{name}."


def new_path(prefix: str, parent: Path) -> Path:
    """An unused path in a folder.

    What is made there gets the permissions of the umask; tempfile's files and folders are for their
    owner alone.
    """
    return parent / f"{prefix}{secrets.token_hex(8)}"


def replace_folder(new: Path, folder: Path) -> None:
    """Give a complete folder the name of another in the same folder, which is removed.

    Another process sees the old folder or the new one. A file system that cannot exchange names,
    such as NFS, has neither for a moment.
    """
    if not folder.exists():
        new.replace(folder)
    elif _exchange(new, folder):
        shutil.rmtree(new)
    else:
        old = new.with_name(f"{new.name}.old")
        folder.replace(old)
        new.replace(folder)
        shutil.rmtree(old)


def _exchange(first: Path, second: Path) -> bool:
    """Exchange the names of two folders in one step; False if the system cannot."""
    rename = getattr(ctypes.CDLL(None), "renameat2", None)
    if rename is None:
        return False
    paths = os.fsencode(first), os.fsencode(second)
    return not rename(_AT_FDCWD, paths[0], _AT_FDCWD, paths[1], _RENAME_EXCHANGE)
