# SPDX-License-Identifier: Apache-2.0
"""How every command prints and ends, whatever its words: it needs the standard library alone."""

from __future__ import annotations

import codecs
import io
import os
import sys
from collections.abc import Callable

from m3net_tf.errors import M3NetError

USER_ERROR = 2
INTERRUPTED = 130
_PIPE_CLOSED = 141


def run_command(command: Callable[[], int | None]) -> int:
    """Call a command and return its exit status.

    What the user can mend is one line and status 2, Ctrl-C is 130. Where the reader of the output
    has gone, as ``head`` does, nothing is said.

    Args:
        command: returns its status; None is 0.
    """
    _print_all_names()
    try:
        status = command() or 0
        sys.stdout.flush()
        return status
    except M3NetError as error:
        print_error(str(error))
        return USER_ERROR
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # Python flushes the output once more when it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _PIPE_CLOSED


def print_error(text: str) -> None:
    """Print what the user can mend, as one line."""
    print(f"error: {' '.join(text.split())}", file=sys.stderr, flush=True)


def _print_all_names() -> None:
    """Let the output take every name of a file and every label, whatever the locale."""
    codecs.register_error("m3net-names", _encoded)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="m3net-names")


def _encoded(error: UnicodeError) -> tuple[str | bytes, int]:
    """Bytes of a name that is not UTF-8 as they are; what the encoding lacks as an escape."""
    try:
        return codecs.lookup_error("surrogateescape")(error)
    except UnicodeEncodeError:
        return codecs.lookup_error("backslashreplace")(error)
