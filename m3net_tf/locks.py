# SPDX-License-Identifier: Apache-2.0
"""Who uses a folder: locks and scratch folders that go with the process that holds them.

Both stand on ``flock``, which the system frees however the process ends: what a killed process
leaves neither blocks the next one nor stays for good.
"""

from __future__ import annotations

import contextlib
import datetime
import errno
import fcntl
import functools
import inspect
import json
import os
import shlex
import shutil
import socket
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from m3net_tf.errors import InUseError
from m3net_tf.progress import Log

LOCK_NAME = ".m3net-lock"
_LONGEST_COMMAND = 80
_BUSY = (BlockingIOError, PermissionError)  # the latter from NFS, which has flock by other means
_UNWRITABLE = (errno.EACCES, errno.EPERM, errno.EROFS)

P = ParamSpec("P")
R = TypeVar("R")


class _Held:
    """The locks of this process: folder -> how often it is entered, and what frees it."""

    def __init__(self) -> None:
        self.guard = threading.Lock()
        self.depths: dict[Path, int] = {}
        self.ends: dict[Path, contextlib.ExitStack] = {}
        self.handles: set[int] = set()

    def forget(self) -> None:
        """In a forked child: the locks are its parent's, and must go when that ends."""
        for handle in self.handles:
            os.close(handle)
        self.handles = set()  # before the ends go, which would free what they hold
        self.guard = threading.Lock()
        self.depths, self.ends = {}, {}


_held = _Held()
os.register_at_fork(after_in_child=_held.forget)


@contextlib.contextmanager
def in_use(folder: Path) -> Iterator[None]:
    """Keep other processes out of a folder while this one writes into it; may be nested.

    A folder that is missing is made, and removed again if it is still empty at the end. One that
    cannot be written to is not locked: there is nothing to run into each other about.

    Raises:
        InUseError: another process holds it; the message names that.
    """
    place = folder.resolve()
    with _held.guard:
        if place not in _held.ends:
            with contextlib.ExitStack() as stack:
                stack.enter_context(_made(place))
                stack.enter_context(locked(place / LOCK_NAME, str(folder)))
                _held.ends[place] = stack.pop_all()
        _held.depths[place] = _held.depths.get(place, 0) + 1
    try:
        yield
    finally:
        with _held.guard:
            if place in _held.depths:  # not so in a forked child
                _held.depths[place] -= 1
                if not _held.depths[place]:
                    del _held.depths[place]
                    _held.ends.pop(place).close()


def writes_into(
    argument: str, *, makes: bool = False
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Decorate a function that writes into a folder: it has the folder :func:`in_use`.

    Args:
        argument: name of the function's argument that is the folder, or a run with one.
        makes: whether the function makes the folder; otherwise one that is missing is not locked.
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        signature = inspect.signature(function)

        @functools.wraps(function)
        def holding(*args: P.args, **kwargs: P.kwargs) -> R:
            given = signature.bind(*args, **kwargs)
            given.apply_defaults()
            value = given.arguments[argument]
            folder = Path(getattr(value, "folder", value))
            if not makes and not folder.is_dir():
                return function(*args, **kwargs)
            with in_use(folder):
                return function(*args, **kwargs)

        return holding

    return decorate


@contextlib.contextmanager
def locked(path: Path, name: str, waiting: Log | None = None) -> Iterator[None]:
    """Hold a lock file; it names its holder and is removed at the end.

    Args:
        path: the file, in a folder that exists.
        name: what it stands for, for messages.
        waiting: wait for the holder, and say so by this; otherwise be refused.

    Raises:
        InUseError: another process holds it.
    """
    handle = _take(path, name, waiting)
    if handle is None:
        yield
        return
    _held.handles.add(handle)
    try:
        yield
    finally:
        if handle in _held.handles:  # not so in a forked child
            path.unlink(missing_ok=True)  # while it is held: see _take
            _held.handles.discard(handle)
            os.close(handle)


def _take(path: Path, name: str, waiting: Log | None) -> int | None:
    """The opened and locked file; None where nothing can be written."""
    while True:
        try:
            handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
        except FileNotFoundError:  # its last holder has just removed the empty folder
            path.parent.mkdir(parents=True, exist_ok=True)
            continue
        except OSError as error:
            if error.errno in _UNWRITABLE:
                return None
            raise
        try:
            _flock(handle, path, name, waiting)
            # Its last holder removed the file, perhaps after it was opened here.
            if _is_at(handle, path):
                _write_holder(handle)
                return handle
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)


def _flock(handle: int, path: Path, name: str, waiting: Log | None) -> None:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except _BUSY:
        message = f"{name} is in use by {_told(_read_holder(handle))}"
        if waiting is None:
            raise InUseError(f"{message}; wait for it or stop it") from None
        waiting(f"{message}: waiting for it")
        fcntl.flock(handle, fcntl.LOCK_EX)
    except OSError:  # a file system without locks: what the file says has to do
        holder = _read_holder(handle)
        if _may_live(holder):
            raise InUseError(
                f"{name} is in use by {_told(holder)}; wait for it or stop it, or delete {path} "
                "if it has ended"
            ) from None


def _is_at(handle: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except FileNotFoundError:
        return False


def _write_holder(handle: int) -> None:
    program, *words = sys.argv or [""]
    program = Path(program).name
    holder = {
        "pid": os.getpid(),
        "host": socket.gethostname(),
        "command": shlex.join(["m3net" if program == "__main__.py" else program, *words]),
        "since": datetime.datetime.now().isoformat(" ", "minutes"),
    }
    with contextlib.suppress(OSError):  # on a full disk the lock holds without it
        os.ftruncate(handle, 0)
        os.pwrite(handle, json.dumps(holder).encode(), 0)


def _read_holder(handle: int) -> dict[str, Any]:
    try:
        holder = json.loads(os.pread(handle, 1 << 16, 0))
        return holder if {"pid", "host", "command", "since"} <= holder.keys() else {}
    except (AttributeError, ValueError, RecursionError):
        return {}


def _told(holder: dict[str, Any]) -> str:
    if not holder:
        return "another process"
    day, _, minute = holder["since"].partition(" ")
    since = minute if day == datetime.date.today().isoformat() else holder["since"]
    host = "" if holder["host"] == socket.gethostname() else f" on {holder['host']}"
    command = holder["command"]
    if len(command) > _LONGEST_COMMAND:
        command = f"{command[: _LONGEST_COMMAND - 3]}..."
    return f"process {holder['pid']}{host} ({command}, since {since})"


def _may_live(holder: dict[str, Any]) -> bool:
    """Whether a holder may be alive; one of another host may."""
    if not holder or holder["pid"] == os.getpid():
        return False
    if holder["host"] != socket.gethostname():
        return True
    try:
        os.kill(holder["pid"], 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


@contextlib.contextmanager
def _made(folder: Path) -> Iterator[None]:
    """Make a folder, and remove it at the end if it stayed empty."""
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            for path in missing:
                path.rmdir()


@contextlib.contextmanager
def scratch_folder(prefix: str, parent: Path | None = None) -> Iterator[Path]:
    """A temporary folder; what killed processes left of the same prefix is removed first.

    It may be renamed to where it belongs; then nothing is removed at the end.

    Args:
        prefix: start of its name.
        parent: where it is made; default: the system's temporary folder.
    """
    parent = Path(tempfile.gettempdir()) if parent is None else parent
    for left in parent.glob(f"{prefix}*"):
        _remove_left(left)
    while True:
        folder = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
        handle = _own(folder)
        if handle is not None:
            break
    _held.handles.add(handle)
    try:
        yield folder
    finally:
        if handle in _held.handles:  # not so in a forked child
            shutil.rmtree(folder, ignore_errors=True)
            _held.handles.discard(handle)
            os.close(handle)


def _own(folder: Path) -> int | None:
    """Lock a new folder; None if another process has just taken it for one that was left."""
    try:
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except _BUSY:
        os.close(handle)
        return None
    except OSError:  # a file system without locks: nobody removes anything there
        return handle
    if not _is_at(handle, folder):
        os.close(handle)
        return None
    return handle


def _remove_left(folder: Path) -> None:
    """Remove a scratch folder whose process is gone."""
    try:
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError:  # another user's, or gone
        return
    with contextlib.suppress(OSError):
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(folder, ignore_errors=True)
    os.close(handle)
