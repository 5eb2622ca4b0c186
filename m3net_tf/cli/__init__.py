# SPDX-License-Identifier: Apache-2.0
"""The command line, with one file for each group of commands; it parses, calls and prints."""

from __future__ import annotations

import importlib
import sys

import typer

from m3net_tf.cli.app import app
from m3net_tf.errors import ConfigError
from m3net_tf.processes import ENDED
from m3net_tf.terminal import INTERRUPTED, run_command

__all__ = ["app", "main"]

# Importing a group registers its commands, in the order of the help.
for _group in (
    *("training", "report", "deploy", "compiler", "papers", "runs", "device"),
    *("runtime", "data", "bench", "models", "doctor"),
):
    importlib.import_module(f"m3net_tf.cli.{_group}")


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
