# SPDX-License-Identifier: Apache-2.0
"""The command that needs no TensorFlow: ``m3net classify``."""

from __future__ import annotations

import typer

from m3net_tf.cli.app import app


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
