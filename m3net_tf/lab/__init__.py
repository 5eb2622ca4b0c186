# SPDX-License-Identifier: Apache-2.0
"""A laboratory for papers: tables and figures, runs on a cluster, search, benchmarks."""

from pathlib import Path

RESULTS = Path("experiments/results")
"""Folder of written tables and figures."""
RUNS = Path("runs/tables")
"""Folder of the runs of all tables."""
