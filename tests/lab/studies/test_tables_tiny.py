# SPDX-License-Identifier: Apache-2.0
"""Every shipped table at tiny scale: each kind of network is trained, each argument is built."""

import dataclasses
import json
import subprocess
import sys

import pytest

from m3net_tf.lab.studies import table_plan
from m3net_tf.lab.studies.grid_file import grid_names, load_grid
from m3net_tf.lab.studies.tables import make_table
from m3net_tf.training.clips.features import input_shape
from m3net_tf.training.clips.source import load_section
from m3net_tf.training.network import build_network

pytestmark = [pytest.mark.usefixtures("private_cache", "eager"), pytest.mark.slow]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Runs of all tables; tables share equal runs, as for a user."""
    return tmp_path_factory.mktemp("tables")


@pytest.fixture(scope="module")
def built():
    """Values of arguments with which a network is already built, and front ends."""
    return set()


@pytest.fixture(scope="module")
def trained():
    """Networks that a table has trained."""
    return set()


def chosen_cells(grid, trained):
    """The first cell of each metric and preparation, and of each network that no table trained."""
    chosen = []
    kinds = set()
    for cell in grid.cells:
        kind = (cell.quoted, cell.metric, tuple(cell.steps))
        network = cell.values.get("model", {}).get("name")
        if kind not in kinds or not (cell.quoted or network in trained):
            chosen.append(cell)
        kinds.add(kind)
        if not cell.quoted:
            trained.add(network)
    return dataclasses.replace(grid, cells=tuple(chosen))


@pytest.mark.parametrize("name", grid_names())
def test_table_runs(name, folder, built, trained, monkeypatch):
    overlay = folder / "threads.yaml"  # the same number in one process; m3net/mirrors has two
    overlay.write_text("training: {threads: 1}\n")
    whole = load_grid(name, "tiny", overlay)
    grid = chosen_cells(whole, trained)
    monkeypatch.setattr(table_plan, "load_grid", lambda *_: grid)
    plan = table_plan.plan_table(name, "tiny", runs_folder=folder / "runs", out=folder / "out")
    report = make_table(plan, {})
    assert [cell["runs"] for cell in report["cells"] if cell.get("error")] == []
    assert report["failed"] == 0
    for cell in report["cells"]:
        if cell["quoted"]:
            assert cell["ours"] is None
        elif "." not in cell["metric"]:
            assert 0 <= cell["ours"]["mean"] <= 100
        else:
            assert cell["ours"]["mean"] >= 0
    text = (folder / f"out/{name}.tiny.md").read_text()
    assert "## Cells" in text and "failed" not in text

    for training in whole.trainings():
        recipe = training.recipe
        model = recipe.model
        parts = {
            json.dumps([model.name, *part], sort_keys=True)
            for part in [
                (model.preset, recipe.frontend.to_dict()),
                *((model.preset, *argument) for argument in model.arguments.items()),
            ]
        }
        if parts <= built:
            continue
        built |= parts
        dataset = load_section(recipe.dataset, None)
        info = dataset.info
        shape = input_shape(info, recipe.frontend)
        network = build_network(recipe, shape, info.multi_label, len(info.labels))
        assert network.count_params() > 0


GRID = """
title: Of several processes
paper: Somebody, 2025
table: Table 9
base:
  dataset: {name: synth, options: {clips_per_class: 6}}
  model:
    name: m3net
    preset: mcu
    arguments: {sfp: [{filters: 8, strides: [4, 4]}], tail: [{filters: 8}]}
  training: {epochs: 1, batch_size: 20}
axes:
  Network:
    taught: {fine_tuning: {run: {step: before}}}
    broken: {fine_tuning: {run: nowhere}}
steps:
  before: {model: {arguments: {dropout: 0.1}}}
scales: {tiny: {}}
"""


@pytest.mark.long
def test_processes_work_side_by_side(folder):
    pytest.importorskip("ray", reason="several processes need pip install -e '.[many]'")
    path = folder / "many.yaml"
    path.write_text(GRID)
    runs = folder / "many_runs"
    out = folder / "many_out"
    command = [sys.executable, "-m", "m3net_tf", "table", path, "--scale", "tiny"]
    command += ["--jobs", "2", "--runs", runs, "--out", out]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
    assert done.returncode == 2 and done.stderr.startswith("error: 1 of the runs")
    assert "3 runs: 0 finished, 3 to train" in done.stdout
    (json_path,) = out.rglob("*.json")
    report = json.loads(json_path.read_text())
    taught, broken = report["cells"]
    assert taught["ours"]["runs"] == 1
    assert "nowhere" in broken["runs"][0]["error"]
    place = runs / taught["runs"][0]["run"]
    start = json.loads((place / "metrics.json").read_text())["fine_tuning"]
    assert start["layers_taken"] > 0 and "/step--before-" in start["run"]
