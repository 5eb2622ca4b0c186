# SPDX-License-Identifier: Apache-2.0
"""A grid's runs on a board: measured once, averaged, compared with each other and with limits.

Exports, boards and trainings are stand-ins, except for one export of the tiny run.
"""

import csv
import json
import shutil
import types

import numpy as np
import pytest
import yaml
from refusals import refuses

from m3net_tf.boards.measure.cost import BoardCost
from m3net_tf.export.manifest import Quantization
from m3net_tf.lab.studies import deployment
from m3net_tf.lab.studies.deployment import make_deployment
from m3net_tf.lab.studies.grid_file import load_grid
from m3net_tf.runtime.network import Int8Network
from m3net_tf.system.artifacts import write_json
from m3net_tf.system.errors import ConfigError, DataError, FirmwareError, ModelError
from m3net_tf.training import recipe as recipes
from m3net_tf.training.cluster import data as data_folders
from m3net_tf.training.run import Run

BOARD = "mps2_an386"
GRID = """
title: Keyword networks
paper: Somebody
table: Keywords
base: {dataset: {name: synth, options: {clips_per_class: 6}}, model: {name: m3net, preset: s}}
axes:
  Network:
    Ours: {seeds: [0, 1]}
    Known: {model: {name: ds_cnn, preset: mcu}}
    Rival: {model: {name: sparknet, preset: mcu}}
reference: {Network: Known}
scales: {tiny: {}}
"""
CLIPS = 10
DATASET = {"name": "synth", "labels": ["a", "b"]}


class World:
    """Stand-ins for export, test clips and board, with figures that tests change."""

    def __init__(self):
        self.hits = {"m3net": [9, 8], "ds_cnn": [8], "sparknet": [8]}
        self.costs = {  # instructions, arena, network
            "m3net": (5_000_000, 30_000, 61_000),
            "ds_cnn": (8_000_000, 20_000, 50_000),
            "sparknet": (2_000_000, 15_000, 30_000),
        }
        self.failing = {}  # network and seed -> error
        self.missing = ""  # the reason why no board is emulated
        self.runs_of_network = 0
        self.tried = []
        self.on_board = []

    def export_run(self, run, data_dir, log, engine):
        assert engine == "tflm"  # the figures of the tables
        recipe = run.recipe()
        name = recipe.model.name
        seed = recipe.training.seed
        if (name, seed) in self.failing:
            raise self.failing[name, seed]

        def run_reference(features):
            self.runs_of_network += 1
            scores = np.zeros((CLIPS, 2), np.int8)
            scores[: self.hits[name][seed], 1] = 1
            return scores

        return types.SimpleNamespace(
            name=name,
            network=Int8Network(name.encode().ljust(self.costs[name][2])),
            manifest=types.SimpleNamespace(quantization=Quantization("ptq", chosen=False)),
            frontend=recipe.frontend,
            run_reference=run_reference,
        )

    def compute_features(self, dataset, split, frontend, log):
        assert split == "test"
        return types.SimpleNamespace(clean=None, labels=np.ones(CLIPS, np.int32))

    def certify_export(self, bundle, board, folder, log):
        assert board == BOARD and folder.parts[-2:] == ("firmware", f"{BOARD}-tflm")
        self.on_board.append(bundle.name)
        instructions, arena, _ = self.costs[bundle.name]
        certificate = {
            "arena": {"bytes": arena},
            "clips": {"count": 16},
            "outputs": {"different_in_tflm_on_the_host": 0, "different_on_the_board": 0},
        }
        if self.missing:
            return {**certificate, "missing": self.missing}
        cost = BoardCost(
            board=board,
            instructions=instructions,
            frontend_instructions=35_000,
            arena_bytes=arena,
            arena_used_bytes=arena - 10,
            stack_bytes=1_500,
            frontend_bytes=8_000,
            flash_bytes=190_000,
            ram_bytes=60_000,
            model_bytes=bundle.network.size_bytes,
            sections={},
        )
        return {**certificate, "board": {"cost": cost}}

    def method_figures(self, run, data_dir, method, log):
        self.tried.append(str(method))
        if method.wide:
            raise ModelError("no such\nform")
        validation, test = {"ptq": (0.7, 0.9), "ptq+bias": (0.8, 0.6)}[str(method)]
        return {"validation_accuracy": validation, "accuracy": test, "model_bytes": 5}


@pytest.fixture
def world(monkeypatch):
    stand_in = World()
    for name in ("export_run", "compute_features", "certify_export", "method_figures"):
        monkeypatch.setattr(deployment, name, getattr(stand_in, name))
    return stand_in


@pytest.fixture
def grid(tmp_path):
    """Path of the grid, whose runs are finished."""
    path = tmp_path / "mcu" / "keywords.yaml"
    path.parent.mkdir()
    path.write_text(GRID)
    plan = load_grid(path, "tiny")
    for training in plan.trainings():
        run = Run(tmp_path / "runs" / training.place)
        recipes.save_recipe(training.recipe, run.recipe_path)
        run.model_path.write_bytes(b"")
        shares = {"validation": {"accuracy": 0.95}, "test": {"accuracy": 0.9}}
        metrics = {"parameters": 100, "macs": 1000, "dataset": DATASET, **shares}
        write_json(run.metrics_path, {"recipe": training.recipe.to_dict(), **metrics})
    return path


@pytest.fixture
def make(grid, tmp_path):
    """Make the table; returns its report. Keyword arguments go to ``make_deployment``."""

    def call(**arguments):
        return make_deployment(
            str(grid),
            "tiny",
            BOARD,
            data_folders={},
            runs_folder=tmp_path / "runs",
            out=tmp_path / "out",
            command="m3net x",
            **arguments,
        )

    return call


def read(tmp_path, ending):
    return (tmp_path / f"out/mcu/keywords.tiny.deployment.{ending}").read_text()


def row(text, name):
    """Cells of the first line of a Markdown table that begins with a name."""
    (line, *_) = (line for line in text.splitlines() if line.startswith(f"| {name} |"))
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_means_and_costs_of_each_network(world, make, tmp_path):
    report = make()
    assert json.loads(read(tmp_path, "json")) == report
    assert world.on_board == ["m3net", "ds_cnn", "sparknet"]  # one seed of each
    text = read(tmp_path, "md")
    assert row(text, "Ours") == [
        *("Ours", "90.00 ± 0.00", "85.00 ± 7.07", "5.00 ± 7.07", "5,000,000", "35,000", "30,000"),
        *("1,500", "190,000", "61,000", "yes", "holds (65,536 + 200,000)"),
    ]
    assert row(text, "Known")[1:4] == ["90.00", "80.00", "10.00"]
    assert row(text, "Known")[-1] == row(text, "Rival")[-1] == ""
    lines = list(csv.DictReader(read(tmp_path, "csv").splitlines()))
    assert [(line["Network"], line["seed"], line["int8"]) for line in lines] == [
        ("Ours", "0", "90"),
        ("Ours", "1", "80"),
        ("Known", "0", "80"),
        ("Rival", "0", "80"),
    ]
    assert [line["instructions"] for line in lines] == ["5000000", "", "8000000", "2000000"]


def test_beside_the_reference(world, make, tmp_path):
    make()
    beside = read(tmp_path, "md").split("## Compared with Known")[1]
    assert row(beside, "Ours") == ["Ours", "+5.00", "0.62 x", "1.50 x", "1.00 x", "1.22 x"]
    assert "| Known |" not in beside


@pytest.mark.parametrize("costs", [(5_000_000, 65_537, 61_000), (5_000_000, 30_000, 200_001)])
def test_a_size_limit_that_is_exceeded(world, make, tmp_path, costs):
    world.costs["m3net"] = costs
    make()
    assert row(read(tmp_path, "md"), "Ours")[-1].startswith("EXCEEDED (65,536")


@pytest.mark.slow
def test_what_is_there_is_not_made_again(world, make):
    first = make(methods=["ptq"])
    assert world.runs_of_network == 4 and world.tried == ["ptq"] * 4
    assert make(methods=["ptq"])["cells"] == first["cells"]
    assert world.runs_of_network == 4 and world.tried == ["ptq"] * 4
    make(methods=["ptq", "ptq+bias"])
    assert world.runs_of_network == 4 and world.tried == ["ptq"] * 4 + ["ptq+bias"] * 4
    world.costs["sparknet"] = (2_000_000, 15_000, 30_001)  # another network
    make(methods=["ptq"])
    assert world.runs_of_network == 5 and world.tried[8:] == ["ptq"]


def test_validation_chooses_the_method(world, make, tmp_path):
    make(methods=["ptq", "ptq+bias"])
    methods = read(tmp_path, "md").split("## Methods of quantisation")[1]
    assert row(methods, "Ours")[1:] == [
        *("95.00 ± 0.00", "90.00 ± 0.00"),  # float
        *("70.00 ± 0.00", "90.00 ± 0.00", "80.00 ± 0.00", "60.00 ± 0.00"),
        *("ptq+bias", "30.00"),
    ]
    line = next(csv.DictReader(read(tmp_path, "csv").splitlines()))
    assert (line["ptq validation"], line["ptq test"]) == ("70", "90")
    assert "## Methods" not in (make() and read(tmp_path, "md"))


@pytest.mark.slow
def test_a_method_without_a_form_is_reported(world, make, tmp_path):
    report = make(methods=["int16x8", "ptq"])
    assert report["failed"] == 0
    text = read(tmp_path, "md")
    assert "- Ours, seed 1, int16x8: no such form" in text
    methods = text.split("## Methods of quantisation")[1]
    assert row(methods, "Ours")[3:5] == ["failed", "failed"]
    assert row(methods, "Ours")[-2] == "ptq"
    line = next(csv.DictReader(read(tmp_path, "csv").splitlines()))
    assert (line["int16x8 test"], line["ptq test"]) == ("", "90")
    make(methods=["int16x8"])
    assert world.tried[-4:] == ["int16x8"] * 4  # tried again, as runs that failed are


def test_a_run_that_fails_is_reported_and_the_others_continue(m3net, world, make, grid, tmp_path):
    world.failing = {
        ("m3net", 0): ModelError("no int8\nform"),
        ("ds_cnn", 0): FirmwareError("no room"),
    }
    report = make()
    assert report["failed"] == 2
    assert report["cells"][0]["runs"][0]["error"] == "no int8 form"
    text = read(tmp_path, "md")
    assert "- Ours, seed 0: no int8 form" in text and row(text, "Known")[1] == "failed"
    assert row(text, "Ours")[2:5] == ["80.00", "10.00", "5,000,000"]  # the other seed
    assert "None." in text.split("## Compared with Known")[1]

    words = ["lab", "deployment", grid, "--scale", "tiny", "--runs", tmp_path / "runs"]
    status, _, error = m3net(*words, "--out", tmp_path / "out")
    assert status == 2 and "2 of the runs of" in error
    assert f"`m3net lab deployment {grid} --scale tiny --board {BOARD}`" in read(tmp_path, "md")


def test_without_an_emulator_the_table_says_why(world, make, tmp_path):
    world.missing = "install qemu-system-arm"
    make()
    text = read(tmp_path, "md")
    assert "No board: install qemu-system-arm." in text
    assert row(text, "Ours")[-1].startswith("not measured")


def test_missing_data_are_reported_before_anything_is_exported(world, make, tmp_path, monkeypatch):
    make()

    def missing(*_args, **_options):
        raise DataError("no folder")

    monkeypatch.setattr(data_folders, "load_section", missing)
    world.on_board.clear()
    shutil.rmtree(tmp_path / "out")
    with refuses(DataError, "mcu/keywords"):
        make()
    assert not world.on_board and not (tmp_path / "out").exists()


def test_unfinished_runs_are_listed_with_the_command(world, make, tmp_path):
    shutil.rmtree(tmp_path / "runs/mcu/keywords/tiny/rival")
    with refuses(ConfigError, "1", "4", "m3net table", "mcu/keywords", "--scale"):
        make()
    assert world.on_board == []


@pytest.mark.slow
def test_a_real_export(tiny_run, tiny_recipe, private_cache, tmp_path, monkeypatch):
    """Accuracy of the exported network over the test clips; the board is a stand-in."""
    stand_in = World()
    monkeypatch.setattr(
        deployment,
        "certify_export",
        lambda bundle, *_: stand_in.certify_export(
            types.SimpleNamespace(
                name=bundle.manifest.model.name.partition("-")[0], network=bundle.network
            ),
            BOARD,
            tmp_path / "firmware" / f"{BOARD}-tflm",
            print,
        ),
    )
    shutil.copytree(tiny_run, tmp_path / "runs" / "anywhere")
    path = tmp_path / "tiny.yaml"
    values = {"title": "A", "paper": "B", "table": "C", "axes": {"Network": {"tiny": None}}}
    path.write_text(
        yaml.safe_dump({**values, "base": tiny_recipe().to_dict(), "scales": {"tiny": {}}})
    )
    report = make_deployment(
        str(path),
        "tiny",
        BOARD,
        data_folders={},
        methods=["ptq"],
        runs_folder=tmp_path / "runs",
        out=tmp_path / "out",
    )
    (cell,) = report["cells"]
    (run,) = cell["runs"]
    assert run["run"] == "anywhere" and run["exported_by"] == "ptq"
    assert run["float"] == pytest.approx(100 * Run(tiny_run).metrics().test["accuracy"])
    assert run["int8"] == pytest.approx(run["ptq test"])
    assert run["clips"] == len(Run(tiny_run).dataset(None).split("test"))
    kept = json.loads((tmp_path / "runs/anywhere" / deployment.KEPT).read_text())
    assert kept["int8"] == run["int8"]
