# SPDX-License-Identifier: Apache-2.0
"""Accuracy by number of training clips, drawn from the results that a table keeps."""

import csv
from pathlib import Path

import pytest
from refusals import refuses

from m3net_tf.lab.figures import catalogue as figures
from m3net_tf.lab.studies.grid_file import load_grid
from m3net_tf.system.artifacts import write_json
from m3net_tf.system.errors import ConfigError

pytestmark = pytest.mark.usefixtures("private_cache")

NAME = "mcu/clips_to_accuracy"


@pytest.fixture
def table(tmp_path) -> Path:
    """A folder of results with the table that the figure shows, without its runs."""
    grid = load_grid("mcu/clips", "tiny")
    cells = []
    for place, cell in enumerate(grid.cells):
        (repeat,) = cell.repeats
        metrics = {"test": {"accuracy": 0.5 + place / 100}, "git_commit": "abc"}
        key = grid.training(cell, repeat).key
        run = {"recipe_sha256": key, "run": cell.slug, "value": 1.0, "metrics": metrics}
        cells.append({"metric": "accuracy", "runs": [run]})
    write_json(tmp_path / "mcu/clips.tiny.json", {"cells": cells})
    return tmp_path


def test_kept_results_are_drawn_without_training(table):
    picture, numbers, _ = figures.draw_figure(
        NAME, table, scale="tiny", runs_folder=table / "runs", keep_results=True
    )
    assert picture.stat().st_size > 10_000 and not (table / "runs").exists()
    rows = list(csv.DictReader(numbers.read_text().splitlines()))
    assert [float(row["accuracy"]) for row in rows] == [50 + place for place in range(12)]
    clips = [int(row["train_clips"]) for row in rows if row["teacher"] == "none"]
    assert clips[:3] == clips[3:] and clips[0] < clips[1] < clips[2]


def test_a_figure_of_whole_runs_keeps_no_results(table):
    with refuses(ConfigError, "diffres/fig4", "--keep-results"):
        figures.draw_figure("diffres/fig4", table, scale="tiny", keep_results=True)
