# SPDX-License-Identifier: Apache-2.0
"""The commands that need no TensorFlow: ``m3net classify``, ``m3net version``."""

from __future__ import annotations

import typer

from m3net_tf import __version__
from m3net_tf.cli.app import app
from m3net_tf.cli.options import AsJson
from m3net_tf.cli.output import say, say_json


@app.command(
    context_settings={
        "allow_extra_args": True,
        "ignore_unknown_options": True,
        "help_option_names": [],
    }
)
def classify(context: typer.Context) -> None:
    """Classify sounds from files or the microphone; needs no TensorFlow."""
    from m3net_tf.runtime.command import run

    raise typer.Exit(run(context.args))


@app.command()
def version(as_json: AsJson = False) -> None:
    """Print the version of the package."""
    if as_json:
        say_json({"version": __version__})
    else:
        say(__version__)
