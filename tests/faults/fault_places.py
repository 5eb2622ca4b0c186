# SPDX-License-Identifier: Apache-2.0
"""A disk of its own for each case, and child processes that work on it.

The disk is a small ``tmpfs`` in a mount namespace of the case's process, so full and read-only
disks are real, for root too, and nothing of a case is left. Its path is the same in all cases.
"""

from __future__ import annotations

import contextlib
import ctypes
import dataclasses
import os
import select
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import fault_operations

PLENTY = 64 << 20
_NEW_MOUNTS, _NEW_USER = 0x20000, 0x10000000
_READ_ONLY, _REMOUNT, _PRIVATE = 1, 32, 0x44000
_CLOSING_S = 20.0
_OUTPUTS = ("out", "err")
_LIMIT_S = 1200.0  # only against hangs: the longest operation takes minutes on a busy computer
_libc = ctypes.CDLL(None, use_errno=True)


def _check(result: int, what: str) -> None:
    if result:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def own_mounts() -> None:
    """Give this process a mount namespace of its own, with a user namespace unless it is root."""
    user = os.geteuid()
    group = os.getegid()
    _check(_libc.unshare(_NEW_MOUNTS | (_NEW_USER if user else 0)), "unshare")
    if user:
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"0 {user} 1")
        Path("/proc/self/gid_map").write_text(f"0 {group} 1")
    _check(_libc.mount(None, b"/", None, _PRIVATE, None), "private mounts")


class Disk:
    """A mounted ``tmpfs``; :func:`own_mounts` must have been called."""

    def __init__(self, point: Path) -> None:
        self.point = point
        size = f"size={PLENTY}".encode()
        _check(_libc.mount(b"m3net-faults", bytes(point), b"tmpfs", 0, size), "mount")

    def resize(self, size: int) -> None:
        """Change the disk's size, in bytes; a multiple of the page size takes effect."""
        self._remount(0, size)

    def set_read_only(self) -> None:
        """Make the disk read-only; no file may be open for writing."""
        self._remount(_READ_ONLY, PLENTY)

    def set_writable(self) -> None:
        """Make the disk large and writable again."""
        self._remount(0, PLENTY)

    def used(self) -> int:
        """Bytes in use."""
        state = os.statvfs(self.point)
        return (state.f_blocks - state.f_bfree) * state.f_frsize

    def _remount(self, flags: int, size: int) -> None:
        options = f"size={size}".encode()
        until_s = time.monotonic() + _CLOSING_S
        while True:
            result = _libc.mount(None, bytes(self.point), None, _REMOUNT | flags, options)
            if not result or time.monotonic() > until_s:
                break
            time.sleep(0.2)  # workers of a killed process still close their files
        _check(result, "remount")


@dataclasses.dataclass(frozen=True)
class End:
    """How a child ended.

    Attributes:
        status: exit status; negative for a signal.
        output: its lines of progress.
        error: what it wrote to the error output.
    """

    status: int
    output: str
    error: str

    @property
    def refusal(self) -> str:
        """The line by which it refused; '' if it did not, or not by one line."""
        lines = self.error.splitlines()
        refused = self.status == 2 and len(lines) == 1 and lines[0].startswith("error: ")
        return lines[0] if refused else ""


class Child:
    """A forked process that carries out an operation as the command line does."""

    def __init__(
        self, operation: fault_operations.Operation, place: Path, before: Callable[[], None]
    ) -> None:
        self._scratch = Path(tempfile.mkdtemp(prefix="output-", dir=place.parents[1]))
        for name in _OUTPUTS:  # before the child, which may be killed at once
            (self._scratch / name).touch()
        self.number = os.fork()
        if not self.number:
            self._run(operation, place, before)

    def _run(
        self, operation: fault_operations.Operation, place: Path, before: Callable[[], None]
    ) -> None:
        status = 70
        try:
            os.setpgid(0, 0)
            for handle, name in enumerate(_OUTPUTS, start=1):
                os.dup2(os.open(self._scratch / name, os.O_WRONLY), handle)
            sys.stdout = os.fdopen(1, "w", buffering=1)
            sys.stderr = os.fdopen(2, "w", buffering=1)
            before()
            status = fault_operations.command(operation, place)
        except BaseException:
            sys.excepthook(*sys.exc_info())
        finally:
            os._exit(status)

    def kill(self, number: int = signal.SIGKILL) -> None:
        """Send a signal to the child and all that it started."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.number, number)

    def ends_within(self, seconds: float) -> bool:
        """Wait for the child's end; whether it has come in time."""
        handle = os.pidfd_open(self.number)
        try:
            return bool(select.select([handle], [], [], seconds)[0])
        finally:
            os.close(handle)

    def wait(self, limit_s: float = _LIMIT_S) -> End:
        """Wait for the end; a child that takes longer is killed, which is status -9."""
        if not self.ends_within(limit_s):
            self.kill()
        status = os.waitstatus_to_exitcode(os.waitpid(self.number, 0)[1])
        texts = [(self._scratch / name).read_text(errors="replace") for name in _OUTPUTS]
        shutil.rmtree(self._scratch)
        return End(status, *texts)
