# SPDX-License-Identifier: Apache-2.0
"""The application, its groups of commands, and their help."""

from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from m3net_tf import __version__
from m3net_tf.cli.output import say, say_exactly

_SECTIONS = {
    "Train": ("init", "wake", "normal", "train", "evaluate", "quantize", "report", "model"),
    "Deploy": ("demo", "export", "compile", "firmware", "emulate", "footprint", "classify"),
    "Boards": ("flash", "monitor", "device", "matrix"),
    "Data": ("data",),
    "Research": ("table", "bench", "lab"),
}
_REST = "This installation"
_HELP_LIMIT = 200  # characters: whole sentences, wrapped


def show_help(context: typer.Context) -> None:
    """Print the help of a group that is called without a command."""
    if context.invoked_subcommand is None:
        say_exactly(context.get_help())


def show_version_or_help(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    """Print the version or, without a command, the help."""
    if version:
        say(f"m3net {__version__}")
        raise typer.Exit
    show_help(context)


class _Help(TyperGroup):
    """A group whose help has whole sentences, which Typer cuts; the top's has them by subject."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write one block per heading; commands of no subject come last."""
        shown = list(self.commands)
        listed = {name for names in _SECTIONS.values() for name in names}
        rest = [name for name in shown if name not in listed]
        sections = {"Commands": shown} if ctx.parent else {**_SECTIONS, _REST: rest}
        for heading, names in sections.items():
            commands = {name: self.commands[name] for name in names if name in self.commands}
            if not commands:
                continue
            with formatter.section(heading):
                formatter.write_dl(
                    [(name, it.get_short_help_str(_HELP_LIMIT)) for name, it in commands.items()]
                )


def group(words: str) -> typer.Typer:
    """A group of commands with this help."""
    return typer.Typer(cls=_Help, help=words, callback=show_help, invoke_without_command=True)


app = typer.Typer(
    name="m3net",
    cls=_Help,
    help="Sound recognition, from a paper to a microcontroller.",
    callback=show_version_or_help,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
data_app = group("List, describe, download and check data sets.")
model_app = group("List, describe and pack networks.")
device_app = group("Query, measure and record on a board that runs the firmware.")
app.add_typer(data_app, name="data")
app.add_typer(device_app, name="device")
app.add_typer(model_app, name="model")
