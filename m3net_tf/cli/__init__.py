# SPDX-License-Identifier: Apache-2.0
"""The command line, with one file for each group of commands; it parses, calls and prints."""

from __future__ import annotations

import sys

import typer

# Importing a group registers its commands, in the order of the help.
# isort: off
from m3net_tf.cli import training, report, deploy, compiler, papers  # noqa: F401
from m3net_tf.cli import device, runtime, data, bench, models  # noqa: F401

# isort: on
from m3net_tf.cli.common import app
from m3net_tf.errors import ConfigError
from m3net_tf.processes import ENDED
from m3net_tf.terminal import INTERRUPTED, run_command

__all__ = ["app", "main"]


def main() -> None:
    """Entry point: an error that the user can fix is one line and exit status 2."""
    status = run_command(_run)
    if status in (INTERRUPTED, *ENDED):
        print("stopped: the same command continues from here", file=sys.stderr)
    sys.exit(status)


def _run() -> int | None:
    try:
        return app(prog_name="m3net", standalone_mode=False)
    except typer.TyperException as error:
        context = getattr(error, "ctx", None)  # only usage errors have one
        path = context.command_path if context else "m3net"
        raise ConfigError(f"{error.format_message()} (see {path} --help)") from None
    except typer.Abort:
        raise KeyboardInterrupt from None
