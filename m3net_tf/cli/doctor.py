# SPDX-License-Identifier: Apache-2.0
"""The command ``m3net doctor``: what this computer has and lacks."""

import dataclasses

import typer

from m3net_tf.cli.app import app
from m3net_tf.cli.options import AsJson
from m3net_tf.cli.output import say, say_json
from m3net_tf.system.terminal import Status


@app.command()
def doctor(as_json: AsJson = False) -> None:
    """Check what is installed here, and say how to get what is missing."""
    from m3net_tf.cli.installation import run_checks

    checks = run_checks()
    if as_json:
        say_json([dataclasses.asdict(check) for check in checks])
    else:
        for check in checks:
            say(f"{check.state:8}  {check.subject}: {check.detail}")
            if check.fix:
                say(f"{'':8}  fix: {check.fix}")
    if any(check.state == "missing" for check in checks):
        raise typer.Exit(Status.INCOMPLETE)
