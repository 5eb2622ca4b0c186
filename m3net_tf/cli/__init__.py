# SPDX-License-Identifier: Apache-2.0
"""The command line, one file a group of commands: it parses, calls and prints."""

from __future__ import annotations

import sys

import typer

# Importing a group registers its commands, in the order of the help.
# isort: off
from m3net_tf.cli import training, deploy, compiler, papers, device, runtime, data, bench, models  # noqa: F401

# isort: on
from m3net_tf.cli.common import UsageError, app
from m3net_tf.errors import ConfigError
from m3net_tf.processes import ENDED
from m3net_tf.terminal import INTERRUPTED, run_command

__all__ = ["app", "main"]


def main() -> None:
    """Entry point: one line and status 2 for what the user can fix."""
    status = run_command(_run)
    if status in (INTERRUPTED, *ENDED):
        print("stopped: the same command goes on from here", file=sys.stderr)
    sys.exit(status)


def _run() -> int | None:
    try:
        return app(prog_name="m3net", standalone_mode=False)
    except UsageError as error:
        path = error.ctx.command_path if error.ctx else "m3net"
        raise ConfigError(f"{error.format_message()} (see {path} --help)") from None
    except typer.Abort:
        raise KeyboardInterrupt from None
