# SPDX-License-Identifier: Apache-2.0
"""Locks on folders, and scratch folders that are removed later if their process was killed.

Both use ``flock``. The system releases such a lock however its process ends, so a killed process
does not block the next one.
"""

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
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import ParamSpec, TypedDict, TypeVar

from m3net_tf.system.artifacts import parse_json
from m3net_tf.system.errors import InUseError
from m3net_tf.system.processes import is_running
from m3net_tf.system.progress import Log
from m3net_tf.system.unfinished import UNFINISHED, new_path, replace_folder, unfinished_prefix

LOCK_NAME = ".m3net-lock"
_LONGEST_COMMAND = 80
_NAMING_S = 1.0  # a process writes its name within this time after it takes a lock
_BUSY = (BlockingIOError, PermissionError)  # the latter from NFS, which emulates flock
_UNWRITABLE = (errno.EACCES, errno.EPERM, errno.EROFS)

P = ParamSpec("P")
R = TypeVar("R")


class _Held:
    """The locks of this process: per folder the nesting depth and the stack that releases it."""

    def __init__(self) -> None:
        self.guard = threading.Lock()
        self.depths: dict[Path, int] = {}
        self.releases: dict[Path, contextlib.ExitStack] = {}
        self.handles: set[int] = set()

    def forget(self) -> None:
        """Drop the locks in a forked child: they belong to the parent and must end with it."""
        for handle in self.handles:
            os.close(handle)
        self.handles = set()  # before the stacks are dropped: closing them must release nothing
        self.guard = threading.Lock()
        self.depths, self.releases = {}, {}


_held = _Held()
os.register_at_fork(after_in_child=_held.forget)


@contextlib.contextmanager
def in_use(folder: Path) -> Iterator[None]:
    """Keep other processes out of a folder while this one writes into it; may be nested.

    A missing folder is created, and removed at the end if it is still empty. A read-only folder is
    not locked, because no process can write to it. Unfinished files of killed processes are removed
    from the folder and the folders in it: at the start, and at the end for worker processes that
    were killed meanwhile.

    Raises:
        InUseError: another process holds the lock; the message names that process.
    """
    resolved = folder.resolve()
    with _held.guard:
        if resolved not in _held.releases:
            with contextlib.ExitStack() as stack:
                stack.enter_context(_created(resolved))
                stack.enter_context(locked(resolved / LOCK_NAME, str(folder)))
                _remove_unfinished(resolved)
                stack.callback(_remove_unfinished, resolved)
                _held.releases[resolved] = stack.pop_all()
        _held.depths[resolved] = _held.depths.get(resolved, 0) + 1
    try:
        yield
    finally:
        with _held.guard:
            if resolved in _held.depths:  # false in a forked child
                _held.depths[resolved] -= 1
                if not _held.depths[resolved]:
                    del _held.depths[resolved]
                    _held.releases.pop(resolved).close()


def writes_into(
    argument: str, *, makes: bool = False
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Decorate a function that writes into a folder, so that it holds the lock of :func:`in_use`.

    Args:
        argument: name of the function's argument: a folder, or an object with ``folder``.
        makes: whether the function creates the folder; if not, a missing folder is not locked.
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        signature = inspect.signature(function)

        @functools.wraps(function)
        def holding(*args: P.args, **kwargs: P.kwargs) -> R:
            bound = signature.bind(*args, **kwargs)
            bound.apply_defaults()
            value = bound.arguments[argument]
            folder = Path(getattr(value, "folder", value))
            if not makes and not folder.is_dir():
                return function(*args, **kwargs)
            with in_use(folder):
                return function(*args, **kwargs)

        return holding

    return decorate


@contextlib.contextmanager
def locked(path: Path, name: str, waiting: Log | None = None) -> Iterator[None]:
    """Hold a lock file in an existing folder, which names its holder and is removed at the end.

    ``name`` is the resource, for messages. With ``waiting``, wait for another holder and report it.

    Raises:
        InUseError: another process holds the lock.
    """
    handle = _acquire(path, name, waiting)
    if handle is None:
        yield
        return
    _held.handles.add(handle)
    try:
        yield
    finally:
        if handle in _held.handles:  # false in a forked child
            path.unlink(missing_ok=True)  # while it is locked: see _acquire
            _held.handles.discard(handle)
            os.close(handle)


def _acquire(path: Path, name: str, waiting: Log | None) -> int | None:
    """Handle of the opened and locked file; None if the folder is read-only."""
    while True:
        try:
            handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
        except FileNotFoundError:  # its previous holder has just removed the empty folder
            path.parent.mkdir(parents=True, exist_ok=True)
            continue
        except OSError as error:
            if error.errno in _UNWRITABLE:
                return None
            raise
        try:
            _flock(handle, path, name, waiting)
            # The previous holder may have removed the file after it was opened here.
            if _is_at(handle, path):
                _write_holder(handle)
                return handle
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)


def _flock(handle: int, path: Path, name: str, waiting: Log | None) -> None:
    try:
        if _try_flock(handle):
            return
        message = f"{name} is in use by {_describe(_read_holder(handle))}"
        if waiting is None:
            raise InUseError(f"{message}; wait for it or stop it") from None
        waiting(f"{message}: waiting for it")
        fcntl.flock(handle, fcntl.LOCK_EX)
    except OSError:  # a file system without locks: rely on the file's content
        holder = _read_holder(handle)
        if _may_live(holder) and not _is_own(holder):
            raise InUseError(
                f"{name} is in use by {_describe(holder)}; wait for it or stop it, or delete "
                f"{path} if it has ended"
            ) from None


def _try_flock(handle: int) -> bool:
    """Lock a file; false if another process holds it, after that has written its name."""
    end = time.monotonic() + _NAMING_S
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except _BUSY:
            # The name of a process that has ended is about to be replaced by the new holder's.
            if _may_live(_read_holder(handle)) or time.monotonic() > end:
                return False
        time.sleep(0.01)


def _is_at(handle: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except FileNotFoundError:
        return False


class _Holder(TypedDict):
    """Content of a lock file; ``since`` is the local time at which it was taken, to the minute."""

    pid: int
    host: str
    command: str
    since: str


def _write_holder(handle: int) -> None:
    program, *words = sys.argv or [""]
    program = Path(program).name
    holder: _Holder = {
        "pid": os.getpid(),
        "host": socket.gethostname(),
        "command": shlex.join(["m3net" if program == "__main__.py" else program, *words]),
        "since": datetime.datetime.now().isoformat(" ", "minutes"),
    }
    with contextlib.suppress(OSError):  # on a full disk the lock works without it
        os.ftruncate(handle, 0)
        os.pwrite(handle, json.dumps(holder).encode(), 0)


def _read_holder(handle: int) -> _Holder | None:
    """The holder; None if the file does not name it."""
    try:
        holder: _Holder = parse_json(os.pread(handle, 1 << 16, 0), _Holder)
    except ValueError:
        return None
    return holder if 0 < holder["pid"] < 2**31 else None


def _describe(holder: _Holder | None) -> str:
    if holder is None:
        return "another process"
    day, _, minute = holder["since"].partition(" ")
    since = minute if day == datetime.date.today().isoformat() else holder["since"]
    host = "" if holder["host"] == socket.gethostname() else f" on {holder['host']}"
    command = holder["command"]
    if len(command) > _LONGEST_COMMAND:
        command = f"{command[: _LONGEST_COMMAND - 3]}..."
    return f"process {holder['pid']}{host} ({command}, since {since})"


def _may_live(holder: _Holder | None) -> bool:
    """Whether a holder may still run; on another host it may."""
    if holder is None:
        return False
    return holder["host"] != socket.gethostname() or is_running(holder["pid"])


def _is_own(holder: _Holder | None) -> bool:
    """Whether a holder has the id of this process: in a new container an old one often has."""
    return holder is not None and (holder["pid"], holder["host"]) == (
        os.getpid(),
        socket.gethostname(),
    )


def _remove_unfinished(folder: Path) -> None:
    """Remove what killed processes left in a folder that is locked, and in the folders in it."""
    with contextlib.suppress(OSError):  # of another user, or on a read-only disk
        entries = list(os.scandir(folder))
        for entry in entries:
            if entry.name.startswith(UNFINISHED) and entry.is_dir(follow_symlinks=False):
                _remove_stale(Path(entry))
            elif entry.is_dir(follow_symlinks=False):
                _remove_unfinished_files(Path(entry))
        _remove_unfinished_files(folder)


def _remove_unfinished_files(folder: Path) -> None:
    for path in folder.glob(f"{UNFINISHED}*"):
        if path.is_file():
            path.unlink(missing_ok=True)


@contextlib.contextmanager
def _created(folder: Path) -> Iterator[None]:
    """Create a folder, and remove it at the end if it is empty."""
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
    """A temporary folder; stale folders with the same prefix are removed first.

    Without ``parent`` it is in the system's folder for temporary files and only its owner may read
    it. With ``parent`` the umask decides, and the caller may rename the folder to its final name;
    then nothing is removed at the end.
    """
    place = Path(tempfile.gettempdir()) if parent is None else parent
    for candidate in place.glob(f"{prefix}*"):
        _remove_stale(candidate)
    while True:
        folder = new_path(prefix, place)
        folder.mkdir(0o700 if parent is None else 0o777)
        handle = _own(folder)
        if handle is not None:
            break
    _held.handles.add(handle)
    try:
        yield folder
    finally:
        if handle in _held.handles:  # false in a forked child
            shutil.rmtree(folder, ignore_errors=True)
            _held.handles.discard(handle)
            os.close(handle)


@contextlib.contextmanager
def complete_folder(folder: Path) -> Iterator[Path]:
    """A scratch folder that takes the name of ``folder`` when the block ends without an error.

    Another process sees the folder of that name before it, if there was one, or the complete one.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with scratch_folder(unfinished_prefix(folder.name), folder.parent) as scratch:
        yield scratch
        replace_folder(scratch, folder)


def _own(folder: Path) -> int | None:
    """Lock a new folder; None if another process has just removed it as stale."""
    try:
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except _BUSY:
        os.close(handle)
        return None
    except OSError:  # a file system without locks: no process removes stale folders there
        return handle
    if not _is_at(handle, folder):
        os.close(handle)
        return None
    return handle


def _remove_stale(folder: Path) -> None:
    """Remove a scratch folder whose process has ended."""
    try:
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError:  # another user's, or already removed
        return
    with contextlib.suppress(OSError):
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(folder, ignore_errors=True)
    os.close(handle)
