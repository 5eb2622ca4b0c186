# SPDX-License-Identifier: Apache-2.0
"""The command line: thin, one file a group of commands. Errors of the user exit with status 2."""

from __future__ import annotations

import sys

import typer

# Importing a group registers its commands, in the order of the help.
# isort: off
from m3net_tf.cli import training, deploy, papers, device, runtime, data, bench, models  # noqa: F401

# isort: on
from m3net_tf.cli.common import UsageError, app
from m3net_tf.errors import M3NetError, os_error_line
from m3net_tf.processes import ENDED, ends_cleanly

__all__ = ["app", "main"]

INTERRUPTED = 130


def main() -> None:
    """Entry point: one line and status 2 for what the user can mend."""
    try:
        with ends_cleanly():
            status = app(standalone_mode=False)
    except M3NetError as error:
        _fail(str(error))
    except UsageError as error:
        path = error.ctx.command_path if error.ctx else "m3net"
        _fail(f"{error.format_message()} (see {path} --help)")
    except OSError as error:
        line = os_error_line(error)
        if not line:
            raise
        _fail(line)
    except (KeyboardInterrupt, typer.Abort):
        status = INTERRUPTED
    except SystemExit as end:
        if end.code not in ENDED:
            raise
        status = end.code
    if status in (INTERRUPTED, *ENDED):
        print("stopped: the same command goes on from here", file=sys.stderr)
    sys.exit(status)


def _fail(text: str) -> None:
    print(f"error: {' '.join(text.split())}", file=sys.stderr)
    sys.exit(2)
