# SPDX-License-Identifier: Apache-2.0
"""Child processes and clean termination: no process or temporary file is left behind."""

import contextlib
import os
import shutil
import signal
import subprocess
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import IO

_GRACE_S = 5.0
_groups: set[subprocess.Popen[bytes]] = set()
_ENDING = (signal.SIGTERM, signal.SIGHUP)
#: Exit statuses of a process that such a signal ended, as in shells.
ENDED = tuple(128 + number for number in _ENDING)


def is_running(pid: int) -> bool:
    """Whether a process of this computer runs, whoever owns it."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def with_parent(command: Sequence[str], sent: str = "KILL") -> list[str]:
    """Wrap a command so that SIG``sent`` reaches it when its parent ends, even if killed."""
    guard = ["setpriv", "--pdeathsig", sent, "--"] if shutil.which("setpriv") else []
    return [*guard, *command]


def run_group(command: Sequence[str], output: IO[bytes]) -> int:
    """Run a program and return its status; it and its children end with this process."""
    # SIGTERM, because ninja forwards it to the compilers, which have their own process groups.
    # The session holds them all, so a program that does not answer leaves none behind either.
    process = subprocess.Popen(
        with_parent(command, "TERM"),
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    _groups.add(process)
    try:
        return process.wait()
    except BaseException:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_GRACE_S)
            os.killpg(process.pid, signal.SIGKILL)
        for pid in _pids_of_session(process.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process.wait()
        raise
    finally:
        _groups.discard(process)


def _pids_of_session(session: int) -> list[int]:
    """Processes of a session, from Linux's ``/proc``; empty on other systems."""
    pids = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it has just ended
            # The name, in brackets, can hold spaces; state, parent, group and session follow it.
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
            if int(fields[3]) == session:
                pids.append(int(folder.name))
    return pids


@contextlib.contextmanager
def ends_groups() -> Iterator[None]:
    """End all programs of :func:`run_group` on Ctrl-C, also in other threads."""
    try:
        yield
    except (KeyboardInterrupt, SystemExit):
        for process in list(_groups):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
        raise


@contextlib.contextmanager
def keeps_signal_handlers() -> Iterator[None]:
    """Set the handlers of SIGINT, SIGTERM and SIGHUP again at the end, for libraries that set them.

    ``ray.init`` replaces the handler of SIGTERM; ``ray.shutdown`` resets the system's, and Python
    still names the old one.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, *_ENDING)}
    try:
        yield
    finally:
        for number, handler in handlers.items():
            if handler is not None:
                signal.signal(number, handler)


@contextlib.contextmanager
def ends_cleanly() -> Iterator[None]:
    """Make SIGTERM and SIGHUP raise SystemExit, so that every ``finally`` runs.

    A second signal ends the process at once. Ignored signals, as under ``nohup``, stay ignored.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def end(number: int, _: FrameType | None) -> None:
        signal.signal(number, signal.SIG_DFL)
        raise SystemExit(128 + number)

    changed = [number for number in _ENDING if signal.getsignal(number) == signal.SIG_DFL]
    for number in changed:
        signal.signal(number, end)
    try:
        yield
    finally:
        for number in changed:
            signal.signal(number, signal.SIG_DFL)
