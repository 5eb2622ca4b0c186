# SPDX-License-Identifier: Apache-2.0
"""The lab's commands; importing this package registers them with the command line."""

from m3net_tf.cli.app import app
from m3net_tf.lab.commands import bench, bodies, papers, search

__all__ = ["bench", "bodies", "papers", "search"]

app.add_typer(papers.lab_app, name="lab")
app.add_typer(bench.bench_app, name="bench")
