# SPDX-License-Identifier: Apache-2.0
"""Output and exit status of every command; imports only the standard library."""

from __future__ import annotations

import codecs
import io
import os
import sys
from collections.abc import Callable

from m3net_tf.errors import M3NetError, os_error_line
from m3net_tf.processes import ENDED, ends_cleanly

USER_ERROR = 2
INTERRUPTED = 130
_PIPE_CLOSED = 141


def run_command(command: Callable[[], int | None]) -> int:
    """Call a command and return its exit status.

    An error that the user can fix prints one line and returns 2; Ctrl-C gives 130, SIGTERM 143.
    Nothing is printed if the reader of the output has closed it, as ``head`` does.

    Args:
        command: returns its exit status; None means 0.
    """
    _print_all_names()
    try:
        with ends_cleanly():
            status = command() or 0
        sys.stdout.flush()
        return status
    except M3NetError as error:
        print_error(str(error))
        return USER_ERROR
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # Python flushes the output again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _PIPE_CLOSED
    except OSError as error:
        line = os_error_line(error)
        if not line:
            raise
        print_error(line)
        return USER_ERROR
    except SystemExit as end:
        if end.code not in ENDED:
            raise
        return end.code


def print_error(text: str) -> None:
    """Print an error that the user can fix, as one line."""
    print(f"error: {' '.join(text.split())}", file=sys.stderr, flush=True)


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
