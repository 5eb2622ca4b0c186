# SPDX-License-Identifier: Apache-2.0
"""The command line, with one file for each group of commands; it parses, calls and prints."""

import importlib
import importlib.util
import sys

import typer

from m3net_tf.cli.app import app
from m3net_tf.system.errors import ConfigError
from m3net_tf.system.processor import limit_instruction_set
from m3net_tf.system.terminal import print_how_to_continue, run_command

__all__ = ["app", "main"]

# Importing a group registers its commands, in the order of the help.
for _group in (
    "training",
    "wake",
    "normal",
    "export",
    "deploy",
    "classify",
    "device",
    "data",
    "models",
    "doctor",
):
    importlib.import_module(f"m3net_tf.cli.{_group}")
if importlib.util.find_spec("m3net_tf.lab"):
    importlib.import_module("m3net_tf.lab.commands")


def main() -> None:
    """Entry point: an error that the user can fix is one line and exit status 2."""
    limit_instruction_set()
    status = run_command(_run)
    print_how_to_continue(status)
    sys.exit(status)


def _run() -> int | None:
    try:
        status: int | None = app(prog_name="m3net", standalone_mode=False)
        return status
    except typer.TyperException as error:
        context = getattr(error, "ctx", None)  # only usage errors have one
        path = context.command_path if context else "m3net"
        message = error.format_message().replace("Value error, ", "")  # Pydantic's, for choices
        raise ConfigError(f"{message} (see {path} --help)") from None
    except typer.Abort:
        raise KeyboardInterrupt from None
    except SystemExit as end:
        # Typer ends with status 1 if the reader of the output has closed it.
        if isinstance(end.__context__, BrokenPipeError):
            raise end.__context__ from None
        raise
