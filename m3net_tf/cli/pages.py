# SPDX-License-Identifier: Apache-2.0
"""The command that shows runs as a page: ``m3net report``."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Annotated

import typer

from m3net_tf.cli.app import app
from m3net_tf.cli.options import AsJson, DataDir
from m3net_tf.cli.output import progress_beside, say, say_json


@app.command()
def report(
    runs: Annotated[
        list[Path], typer.Argument(metavar="RUN...", help="Finished runs, such as runs/demo.")
    ],
    out: Annotated[
        Path | None, typer.Option(help="The HTML file; default: report.html in the first run.")
    ] = None,
    data_dir: DataDir = None,
    measure: Annotated[
        bool,
        typer.Option(
            "--measure",
            help="First run the commands that measure what the page lacks; takes minutes.",
        ),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Write finished runs, one or several side by side, as one HTML page that opens offline."""
    from m3net_tf.pages.report.page import write_report

    facts = write_report(runs, out, data_dir, progress_beside(as_json), measure=measure)
    if as_json:
        say_json(facts)
        return
    if missing := facts["missing"]:
        say(f"without figures: {', '.join(missing)}; add --measure, or run")
        for command in dict.fromkeys(itertools.chain.from_iterable(missing.values())):
            say(f"  {command}")
    say(f"{facts['path']}: {facts['bytes'] / 1e6:.1f} MB")
