# SPDX-License-Identifier: Apache-2.0
"""Output and exit status of every command; imports only the standard library."""

import codecs
import enum
import io
import os
import re
import shlex
import sys
from collections.abc import Callable

from m3net_tf.system.errors import M3NetError, os_error_line
from m3net_tf.system.processes import ENDED, ends_cleanly


class Status(enum.IntEnum):
    """Exit statuses of all commands; :data:`MEANINGS` explains them."""

    SUCCESS = 0
    INCOMPLETE = 1
    USER_ERROR = 2
    HUNG_UP = 129
    INTERRUPTED = 130
    PIPE_CLOSED = 141
    TERMINATED = 143


MEANINGS = {
    Status.SUCCESS: "success",
    Status.INCOMPLETE: "`m3net doctor` found that something necessary is missing",
    Status.USER_ERROR: "an error that you can fix: one line, `error: ...`, names it and says how",
    Status.HUNG_UP: "stopped because the terminal was closed (SIGHUP)",
    Status.INTERRUPTED: "stopped by Ctrl-C; the last line is the command that continues",
    Status.PIPE_CLOSED: "the reader of the output closed it, as `head` does; nothing is printed",
    Status.TERMINATED: "stopped by `kill` or the system's shutdown (SIGTERM)",
}
# Control characters except tab and line feed, and characters that reorder their neighbours.
_UNPRINTABLE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]"
)
_STOPPED = (Status.INTERRUPTED, Status.HUNG_UP, Status.TERMINATED)
_runs_command = False


def run_command(command: Callable[[], int | None]) -> int:
    """Call a command and return its exit status.

    An error that the user can fix prints one line and returns 2; Ctrl-C gives 130, SIGTERM 143.
    Nothing is printed if the reader of the output has closed it, as ``head`` does.
    """
    global _runs_command
    _runs_command = True
    _print_all_names()
    try:
        with ends_cleanly():
            status = command() or 0
        sys.stdout.flush()
        return status
    except M3NetError as error:
        print_error(str(error))
        return Status.USER_ERROR
    except KeyboardInterrupt:
        return Status.INTERRUPTED
    except BrokenPipeError:
        # Python flushes the output again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return Status.PIPE_CLOSED
    except OSError as error:
        line = os_error_line(error)
        if not line:
            raise
        print_error(line)
        return Status.USER_ERROR
    except SystemExit as end:
        if end.code not in ENDED:
            raise
        return end.code


def say_loading(library: str) -> None:
    """Say that a command loads a library, which may take seconds; only on a terminal."""
    if _runs_command and sys.stderr.isatty():
        print(f"loading {library}", file=sys.stderr, flush=True)


def printable(text: str) -> str:
    """Text of a board, a file or a name without what a terminal would obey.

    Control characters become ``\\x1b`` and the like. All lines and tables are printed through this.
    """
    return _UNPRINTABLE.sub(lambda found: repr(found[0])[1:-1], text)


def print_error(text: str) -> None:
    """Print an error that the user can fix, as one line."""
    print(f"error: {printable(' '.join(text.split()))}", file=sys.stderr, flush=True)


def print_how_to_continue(status: int) -> None:
    """Print the command that continues, if ``status`` says that this one was stopped."""
    if status in _STOPPED:
        command = shlex.join(["m3net", *sys.argv[1:]])
        print(f"stopped; to continue: {printable(command)}", file=sys.stderr, flush=True)


def _print_all_names() -> None:
    """Make the output accept every file name and label in any locale."""
    codecs.register_error("m3net-names", _encoded)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="m3net-names")


def _encoded(error: UnicodeError) -> tuple[str | bytes, int]:
    """Keep the bytes of a name that is not UTF-8; escape characters that the encoding lacks."""
    try:
        return codecs.lookup_error("surrogateescape")(error)
    except UnicodeEncodeError:
        return codecs.lookup_error("backslashreplace")(error)
