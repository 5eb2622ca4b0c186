# SPDX-License-Identifier: Apache-2.0
"""The lab's commands; importing this package registers them with the command line."""

from m3net_tf.cli.app import app
from m3net_tf.lab.commands import bench, papers, runs, search

__all__ = ["bench", "papers", "runs", "search"]

app.add_typer(papers.lab_app, name="lab")
papers.lab_app.add_typer(runs.runs_app, name="runs")
app.add_typer(bench.bench_app, name="bench")
