# SPDX-License-Identifier: Apache-2.0
"""Running a table and writing it: runs trained, reused and failed; comparisons and output.

A function that writes the files of a finished run replaces training here;
test_tables_tiny.py has real ones.
"""

import csv
import functools
import gc
import json
import re
import shutil
from pathlib import Path

import pytest
from refusals import refuses

from m3net_tf import training
from m3net_tf.lab.commands.options import parse_data_folders, results_folder
from m3net_tf.lab.figures.catalogue import FIGURES
from m3net_tf.lab.studies import report_files, tables, untrained_cost
from m3net_tf.lab.studies.grid_file import grid_names, load_grid
from m3net_tf.lab.studies.paper_list import table_results
from m3net_tf.lab.studies.table_plan import plan_facts, plan_table
from m3net_tf.lab.studies.tables import make_table
from m3net_tf.system.artifacts import read_json, write_json
from m3net_tf.system.errors import ConfigError, DataError
from m3net_tf.system.processor import machine
from m3net_tf.system.progress import silent
from m3net_tf.system.terminal import Status
from m3net_tf.training import recipe as recipes
from m3net_tf.training.run import Run

GRID = """
title: Something left out
paper: Somebody, 2025
table: Table 9
seeds: [0, 1, 2, 3, 4, 5]
base: {dataset: {name: synth}, model: {name: m3net, preset: mcu}}
axes:
  Network:
    whole:
    less: {model: {arguments: {dfp: false}}}
    same:
    taught: {fine_tuning: {run: {step: before}}}
    rival: {quoted: true}
  Figure:
    accuracy: {metric: accuracy}
    parameters: {metric: run.parameters, seeds: [0]}
steps:
  before: {training: {epochs: 3}}
expected:
  whole: {accuracy: [90, 0.5], parameters: 31599}
  less: {accuracy: 80.25}
  rival: {accuracy: 70}
reference: {Network: whole}
scales:
  tiny: {only: {Network: [whole, less]}, patch: {seeds: [0]}}
  small: {}
"""

COMPUTER = {
    "processor": "Some processor",
    "family": "family 6",
    "cores": 2,
    "accelerators": [],
    "instruction_set": "AVX2",
    "settings": {"ONEDNN_MAX_CPU_ISA": "AVX2"},
}


class Trainer:
    """Replaces ``m3net_tf.training.train``; ``failing`` maps seeds to errors."""

    def __init__(self):
        self.trained = []
        self.failing = {}
        self.subset = {}  # facts of the data set's folder
        self.record = {}  # further facts of a run

    def __call__(self, recipe, folder, data_dir, log, devices, after_epoch):
        log("training")
        self.trained.append((recipe, Path(folder), data_dir))
        less = "dfp" in recipe.model.arguments
        seed = recipe.training.seed
        recipes.save_recipe(recipe, Run(folder).recipe_path)
        if seed in self.failing:
            raise self.failing[seed]
        accuracy = 0.8 + 0.01 * seed - (0.05 + 0.001 * seed if less else 0.0)
        test = {"accuracy": accuracy, "accuracy_95_low": 0.7, "accuracy_95_high": 0.95}
        Run(folder).model_path.write_bytes(b"")
        write_json(
            Run(folder).metrics_path,
            {
                "recipe": recipe.to_dict(),
                "parameters": 31_469,
                "macs": 1_657_152,
                "best_epoch": 1,
                "training_s": 2.0,
                "git_commit": "abc",
                **self.record,
                "dataset": {
                    "name": "synth",
                    "labels": ["a", "b"],
                    "protocol": "generated-split",
                    "leaking": True,
                    **self.subset,
                },
                "test": test,
                "validation": {"accuracy": accuracy + 0.01},
            },
        )


def table_of(folder, scale, name="table9", *, train=True, data_folders=(), log=silent, **options):
    """The report of the table of a grid in a folder; other options go to ``plan_table``."""
    options = {"runs_folder": folder / "runs", "out": folder / "out", **options}
    plan = plan_table(str(folder / f"paper/{name}.yaml"), scale, **options)
    return make_table(plan, dict(data_folders), train=train, command="m3net x", log=log)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Folder of a finished table, its report and its trainer; only to be read."""
    folder = tmp_path_factory.mktemp("finished")
    (folder / "paper").mkdir()
    (folder / "paper/table9.yaml").write_text(GRID)
    with pytest.MonkeyPatch.context() as patch:
        stand_in = replaced_training(patch)
        report = table_of(folder, "small")
    return folder, report, stand_in


@pytest.fixture
def trainer(monkeypatch):
    return replaced_training(monkeypatch)


def replaced_training(patch):
    """Train nothing, and collect no garbage after it, which would take longer."""
    stand_in = Trainer()
    patch.setattr(training, "train", stand_in)
    patch.setattr(gc, "collect", lambda: 0)
    return stand_in


@pytest.fixture
def run_table(tmp_path):
    """Make the table; returns its report. Keyword arguments: see ``table_of``."""
    (tmp_path / "paper").mkdir()
    (tmp_path / "paper/table9.yaml").write_text(GRID)
    return functools.partial(table_of, tmp_path)


def read(tmp_path, ending, scale="small"):
    return (tmp_path / f"out/paper/table9.{scale}.{ending}").read_text()


def test_equal_recipes_are_trained_once_and_steps_first(finished):
    _, report, trainer = finished
    # whole (= same), less, taught and its starting run: six seeds of each.
    assert report["runs"] == 18 and len(trainer.trained) == 24
    assert report["failed"] == 0 and report["training_s"] == 36.0
    folders = [folder for _, folder, _ in trainer.trained]
    seeds = [recipe.training.seed for recipe, _, _ in trainer.trained]
    assert seeds == sorted(seeds)  # the first run of every cell before the second of any
    for recipe, folder, _ in trainer.trained:
        if recipe.fine_tuning.run:
            step = Path(recipe.fine_tuning.run)
            assert folders.index(step) < folders.index(folder)
            assert recipe.training.seed == Run(step).recipe().training.seed


def test_finished_runs_are_used_again_also_of_another_table(trainer, run_table, tmp_path):
    run_table("tiny")
    trainer.trained.clear()
    run_table("tiny")
    assert not trainer.trained
    (tmp_path / "paper/table10.yaml").write_text(GRID)
    report = run_table("tiny", "table10")
    assert not trainer.trained
    assert report["cells"][0]["runs"][0]["run"] == "paper/table9/tiny/whole--accuracy/seed0"


@pytest.mark.parametrize("changed", ["recipe", "preset"])
def test_a_run_of_another_recipe_or_network_is_left_alone(trainer, run_table, tmp_path, changed):
    run_table("tiny")
    path = tmp_path / "runs/paper/table9/tiny/less--accuracy/seed0/metrics.json"
    arguments = {"dfp": False}
    if changed == "recipe":
        arguments["dropout"] = 0.5
        grid = GRID.replace("dfp: false", "dfp: false, dropout: 0.5")
        (tmp_path / "paper/table9.yaml").write_text(grid)
    else:
        write_json(path, {**read_json(path), "design_sha256": "0" * 64})
    trainer.trained.clear()
    run_table("tiny")
    ((recipe, folder, _),) = trainer.trained
    assert recipe.model.arguments == arguments
    assert folder.parent == path.parent.parent and folder.name.startswith("seed0-")
    assert path.exists()


def test_a_run_whose_teacher_has_changed_is_left_alone(trainer, run_table, tmp_path):
    path = tmp_path / "paper/table9.yaml"
    path.write_text(GRID.replace("[whole, less]", "[taught]"))
    run_table("tiny")
    ((_, before, _), (_, taught, _)) = trainer.trained
    metrics = read_json(Run(before).metrics_path)
    write_json(Run(before).metrics_path, {**metrics, "design_sha256": "0" * 64})
    trainer.trained.clear()
    run_table("tiny")
    ((_, again, _), (recipe, folder, _)) = trainer.trained
    assert again != before and recipe.fine_tuning.run == str(again.resolve())
    assert folder != taught and Run(taught).finished
    trainer.trained.clear()
    run_table("tiny")
    assert not trainer.trained


def test_results_are_kept_without_their_runs(trainer, run_table, tmp_path):
    before = run_table("tiny")
    text = read(tmp_path, "csv", "tiny")
    path = tmp_path / "paper/table9.yaml"
    path.write_text(GRID.replace("[whole, less]", "[whole, less, taught]"))
    trainer.trained.clear()
    report = run_table("tiny", runs_folder=tmp_path / "elsewhere", keep_results=True)
    # Only the new cell, and its starting run.
    assert [bool(recipe.fine_tuning.run) for recipe, _, _ in trainer.trained] == [False, True]
    assert report["kept"] == 2 and report["runs"] == 3 and report["training_s"] == 6.0
    assert "2 of the runs: results kept from an earlier call" in read(tmp_path, "md", "tiny")
    whole, less = (report["cells"][index] for index in (0, 2))
    assert whole["runs"][0].pop("kept") and less["runs"][0].pop("kept")
    assert [whole, less] == [before["cells"][index] for index in (0, 2)]
    assert set(text.splitlines()) <= set(read(tmp_path, "csv", "tiny").splitlines())
    none = tmp_path / "none"
    plan = plan_table(str(path), "tiny", runs_folder=none, out=tmp_path / "out", keep_results=True)
    states = {run["run"]: run["state"] for run in plan_facts(plan, {})["runs"]}
    assert not plan.runs.waiting and len(states) == 4
    (step,) = (state for run, state in states.items() if "step--before" in run)
    assert step.startswith("not needed")


def test_a_table_of_the_finished_runs(trainer, run_table, tmp_path):
    run_table("tiny")  # seed 0 of whole and less
    trainer.trained.clear()
    report = run_table("small", train=False)
    assert not trainer.trained and (report["runs"], report["failed"]) == (2, 0)
    text = read(tmp_path, "md")
    assert "| whole | 80.00, 5 of 6 runs not trained † (90 ± 0.5) | 31,469 (31,599) |" in text
    assert "| taught | not trained | not trained |" in text and "## Failed" not in text
    rows = list(csv.DictReader(read(tmp_path, "csv").splitlines()))
    assert [row["error"] for row in rows if row["Network"] == "taught"] == ["not trained"] * 2
    report = run_table("small")  # the rest
    assert (report["runs"], len(trainer.trained)) == (18, 22)
    assert "not trained" not in read(tmp_path, "md")


def test_named_cells_alone_are_trained_and_the_table_has_all(trainer, run_table):
    run_table("tiny")  # seed 0 of whole and less
    trainer.trained.clear()
    report = run_table("small", only=["Taught", "whole / parameters"])
    # Six runs of taught, each with its starting run.
    assert [bool(recipe.fine_tuning.run) for recipe, _, _ in trainer.trained] == [False, True] * 6
    counts = {cell["labels"]["Network"]: len(cell["runs"]) for cell in report["cells"][::2]}
    assert counts == {"whole": 1, "less": 1, "same": 1, "taught": 6, "rival": 0}


def test_results_of_another_network_or_recipe_are_not_kept(trainer, run_table, tmp_path):
    run_table("tiny")
    path = tmp_path / "out/paper/table9.tiny.json"
    report = read_json(path)
    for cell in report["cells"]:
        if cell["labels"]["Network"] == "whole":
            cell["runs"][0]["metrics"]["design_sha256"] = "0" * 64
    write_json(path, report)
    grid = tmp_path / "paper/table9.yaml"
    grid.write_text(GRID.replace("dfp: false", "dfp: false, dropout: 0.5"))
    trainer.trained.clear()
    report = run_table("tiny", runs_folder=tmp_path / "elsewhere", keep_results=True)
    assert report["kept"] == 0 and len(trainer.trained) == 2


def test_results_of_another_table_are_kept(trainer, run_table, tmp_path):
    run_table("tiny")
    (tmp_path / "paper/table9.yaml").rename(tmp_path / "paper/table8.yaml")
    trainer.trained.clear()
    elsewhere = tmp_path / "elsewhere"
    report = run_table("tiny", "table8", runs_folder=elsewhere, keep_results=True)
    assert report["kept"] == report["runs"] == 2 and not trainer.trained


def test_results_of_an_overlay_are_kept(trainer, run_table, tmp_path):
    overlay = tmp_path / "mine.yaml"
    overlay.write_text("training: {epochs: 9}")
    run_table("tiny", overlay=overlay)
    trainer.trained.clear()
    elsewhere = tmp_path / "elsewhere"
    report = run_table("tiny", overlay=overlay, runs_folder=elsewhere, keep_results=True)
    assert report["kept"] == report["runs"] == 2 and not trainer.trained


def test_results_to_keep_must_be_there(trainer, run_table):
    with refuses(DataError, "out", "tiny"):
        run_table("tiny", keep_results=True)
    assert not trainer.trained


@pytest.mark.slow
def test_a_failing_run_stops_no_other(trainer, run_table, tmp_path):
    trainer.failing = {1: DataError("clip.wav is broken: fetch it"), 2: ValueError("two\nlines")}
    report = run_table("small")
    assert report["failed"] == 2 * 3  # whole, less and taught; taught lacks its first step
    cell = report["cells"][0]
    assert cell["ours"]["runs"] == 4
    errors = {run["seed"]: run["error"] for run in cell["runs"] if "error" in run}
    assert errors[1] == "clip.wav is broken: fetch it"
    assert errors[2].startswith("ValueError: two lines (see train.log")
    taught = next(cell for cell in report["cells"] if cell["labels"]["Network"] == "taught")
    run_errors = [run["error"] for run in taught["runs"] if "error" in run]
    assert run_errors[0] == "the run for fine_tuning failed: clip.wav is broken: fetch it"
    text = read(tmp_path, "md")
    assert "2 of 6 runs failed" in text and "## Failed" in text
    log = tmp_path / "runs/paper/table9/small/whole--accuracy/seed2/train.log"
    assert "training" in log.read_text() and "Traceback" in log.read_text()
    # The same command tries only the failed ones again.
    trainer.failing = {}
    trainer.trained.clear()
    assert run_table("small")["failed"] == 0
    assert {recipe.training.seed for recipe, _, _ in trainer.trained} == {1, 2}


WITHOUT_DATA = "base: {dataset: {name: us8k}, "


def without_data(tmp_path):
    """Give the grid an unavailable data set, with another one for one network."""
    path = tmp_path / "paper/table9.yaml"
    unavailable = "less: {dataset: {name: speech_commands}, model:"
    text = GRID.replace("base: {dataset: {name: synth}, ", WITHOUT_DATA)
    path.write_text(text.replace("less: {model:", unavailable))
    return path


def test_missing_data_are_reported_before_anything_is_run(
    trainer, run_table, tmp_path, monkeypatch, private_cache
):
    monkeypatch.delenv("DATA_DIR", raising=False)
    run_table("tiny")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    grid = without_data(tmp_path)
    before[grid] = grid.read_bytes()
    trainer.trained.clear()
    with pytest.raises(DataError) as error:
        run_table("tiny")
    assert str(error.value) == (
        "paper/table9 at tiny scale needs data that are missing: us8k: give --data-dir "
        "us8k=FOLDER or run m3net data fetch us8k; speech_commands: give --data-dir "
        "speech_commands=FOLDER or run m3net data fetch speech_commands"
    )
    with pytest.raises(DataError) as error:
        run_table("tiny", data_folders={"us8k": tmp_path, "": tmp_path / "no"})
    assert "UrbanSound8K" in str(error.value) and "(give --data-dir us8k=" in str(error.value)
    assert f"speech_commands: {tmp_path / 'no'} does not exist; give" in str(error.value)
    assert not trainer.trained
    assert before == {path: path.read_bytes() for path in before}


def test_finished_runs_need_no_data(trainer, run_table, tmp_path, monkeypatch, private_cache):
    monkeypatch.delenv("DATA_DIR", raising=False)
    without_data(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(tables, "require_data", lambda *_: None)
        run_table("tiny")
    assert run_table("tiny")["failed"] == 0


def test_a_failing_or_missing_run_leaves_the_written_table(trainer, run_table, tmp_path):
    run_table("tiny")
    endings = ("json", "csv", "md")
    before = [read(tmp_path, ending, "tiny") for ending in endings]
    trainer.failing = {0: DataError("gone: fetch it")}
    elsewhere = tmp_path / "elsewhere"
    lines = []
    report = run_table("tiny", runs_folder=elsewhere, log=lines.append)
    assert report["failed"] == 2
    assert [read(tmp_path, ending, "tiny") for ending in endings] == before
    assert any("table9.tiny.md stays as it is" in line for line in lines)
    text = read(tmp_path, "incomplete.md", "tiny")
    assert "failed (80.25)" in text and "- whole / accuracy, seed0: gone: fetch it" in text
    run_table("tiny", runs_folder=tmp_path / "empty", train=False)
    assert [read(tmp_path, ending, "tiny") for ending in endings] == before
    # A complete one replaces it and removes it.
    trainer.failing = {}
    run_table("tiny", runs_folder=elsewhere)
    assert not list((tmp_path / "out").rglob("*incomplete*"))


def test_a_table_stopped_while_it_is_written_stays_whole(trainer, run_table, tmp_path, monkeypatch):
    run_table("tiny")
    before = {path: path.read_bytes() for path in (tmp_path / "out").rglob("*.*")}

    def full(*_):
        raise OSError("no space left")

    whole = report_files.write_text
    monkeypatch.setattr(
        report_files,
        "write_text",
        lambda path, text: full() if "md" in path.name else whole(path, text),
    )
    with pytest.raises(OSError, match="no space"):
        run_table("tiny")
    assert before == {path: path.read_bytes() for path in (tmp_path / "out").rglob("*.*")}


def test_a_dry_run_tells_runs_recipes_and_data_and_writes_nothing(
    m3net, trainer, run_table, tmp_path, monkeypatch, private_cache
):
    monkeypatch.delenv("DATA_DIR", raising=False)
    run_table("tiny")
    path = tmp_path / "paper/table9.yaml"
    path.write_text(GRID.replace("less: {model:", "less: {dataset: {name: us8k}, model:"))
    before = sorted(tmp_path.rglob("*"))
    places = ["--out", str(tmp_path / "out"), "--runs", str(tmp_path / "runs"), "--dry-run"]
    printed = m3net("table", str(path), "--scale", "tiny", *places)
    assert printed.status == 0
    lines = printed.out.splitlines()
    assert lines[0] == "paper/table9 at tiny scale: 4 cells, 2 runs, 1 to train"
    start = lines.index("paper/table9/tiny/whole--accuracy")
    assert lines[start + 1].startswith("  synth, generated-split; m3net mcu;")
    assert lines[start + 2].split()[:2] == ["seed0", "recipe"]
    assert lines[start + 2].endswith("finished")
    start = lines.index("paper/table9/tiny/less--accuracy")
    assert lines[start + 1].startswith("  us8k, official-10fold; m3net mcu (dfp: False);")
    assert lines[start + 2].endswith("to train")
    assert lines[-2:] == [
        "missing data:",
        "  us8k: give --data-dir us8k=FOLDER or run m3net data fetch us8k",
    ]
    assert sorted(tmp_path.rglob("*")) == before and len(trainer.trained) == 2


@pytest.mark.parametrize("path", sorted(Path("experiments/results").glob("*/*.md")), ids=str)
def test_committed_tables_link_their_recipes(path):
    ((_, target),) = re.findall(r"come from the grid \[(.*)\]\((.*)\)", path.read_text())
    assert (path.parent / target).is_file()


def test_the_readers_table_has_ours_and_the_papers(finished):
    lines = read(finished[0], "md").splitlines()
    assert lines[0] == "# Table 9: Something left out"
    assert "| Network | accuracy | parameters |" in lines
    assert "| whole | 82.50 ± 1.87 † (90 ± 0.5) | 31,469 (31,599) |" in lines
    assert "| rival | (70) |  |" in lines
    (less,) = [line for line in lines if line.startswith("| less | accuracy |")]
    # Six pairs, all lower: p = 2 / 2^6.
    assert "| 80.25 | 77.25 ± 1.68 | 75.48 to 79.02 | 6 | -5.25 (-5.45 to -5.05) | 0.0312 |" in less
    assert less.endswith("| synth generated-split † | 31,469 | 1,657,152 |")
    (parameters,) = [line for line in lines if line.startswith("| less | parameters |")]
    assert "| 31,469 |  | 1 |  |  |" in parameters
    assert "- command: `m3net x`" in lines
    assert any(line.startswith("† This split leaks") for line in lines)
    assert not any("Failed" in line for line in lines)


def test_few_pairs_say_that_they_are_few(trainer, run_table, tmp_path):
    run_table("tiny")
    text = read(tmp_path, "md", "tiny")
    assert "| 1 | -5.00 | 1 (≥ 1) |" in text
    assert "70.00 to 95.00" in text  # one run: the interval is over its clips


def test_a_value_of_another_split_is_not_printed_as_comparable(trainer, run_table, tmp_path):
    path = tmp_path / "paper/table9.yaml"
    path.write_text(GRID.replace("seeds: [0, 1,", "paper_protocol: paper-random\nseeds: [0, 1,"))
    report = run_table("tiny")
    text = read(tmp_path, "md", "tiny")
    assert "| whole | 80.00 † (other split: 90 ± 0.5) | 31,469 (31,599) |" in text
    assert "Values of another split or of other data say nothing about ours." in text
    assert [cell["other_split"] for cell in report["cells"]] == [True, False, True, False]
    rows = list(csv.DictReader(read(tmp_path, "csv", "tiny").splitlines()))
    assert [row["paper_differs"] for row in rows] == ["other split", "", "other split", ""]


def test_a_value_of_other_data_is_not_printed_as_comparable(trainer, run_table, tmp_path):
    text = GRID.replace("base: {dataset: {name: synth}", "base: {dataset: {name: us8k}")
    text = text.replace("[0]}}\n  small", "[0], dataset: {name: synth}}}\n  small")
    (tmp_path / "paper/table9.yaml").write_text(text)
    cells = run_table("tiny")["cells"]
    assert "| whole | 80.00 † (other data: 90 ± 0.5) |" in read(tmp_path, "md", "tiny")
    assert [cell["other_data"] for cell in cells] == [True, False, True, False]


def test_the_list_says_which_results_are_of_an_older_recipe(m3net, tmp_path):
    name, scale = "m3net/table4", "tiny"
    grid = load_grid(name, scale)
    keys = sorted({grid.training(cell, cell.repeats[0]).key for cell in grid.cells})
    runs = [{"recipe_sha256": key, "value": 80.0} for key in keys]
    report = {"cells": [{"runs": runs}], "date": "2026-01-02", "git_commit": "0123456789ab"}

    def listed(**changes):
        write_json(tmp_path / f"{name}.{scale}.json", {**report, **changes})
        printed = m3net("lab", "list", "--out", str(tmp_path))
        assert printed.status == 0
        lines = printed.out.splitlines()
        commands = " ".join(lines)
        assert all(f" m3net table {grid}" in commands for grid in grid_names())
        assert all(f" m3net lab figure {key}" in commands for key in FIGURES if "/" in key)
        above = next(i for i, line in enumerate(lines) if line.endswith(f": m3net table {name}"))
        return " ".join(lines[above + 1].split())

    count = len(keys)
    assert listed() == f"tiny {count} runs current 2026-01-02 012345678 arithmetic unknown"
    runs[0] = {"recipe_sha256": "older", "value": 80.0, "metrics": {"computers": [COMPUTER]}}
    assert listed(date="") == (
        f"tiny {count} runs {count - 1} of {count} runs current 012345678 arithmetic AVX2, unknown"
    )
    for run in runs:
        run["recipe_sha256"] += "older"
    assert f"{count} runs older recipe" in listed()


def test_the_list_takes_older_records_of_a_computer_and_refuses_others(m3net, tmp_path):
    path = tmp_path / "m3net/table4.tiny.json"
    known = {key: COMPUTER[key] for key in ("processor", "cores", "accelerators")}
    for computers, status in (([known], Status.SUCCESS), ([1], Status.USER_ERROR)):
        run = {"recipe_sha256": "0", "value": 80.0, "metrics": {"computers": computers}}
        write_json(path, {"cells": [{"runs": [run]}]})
        printed = m3net("lab", "list", "--out", str(tmp_path))
        assert printed.status == status
    assert len(printed.err.splitlines()) == 1 and str(path) in printed.err


def test_committed_results_of_older_recipes_are_named():
    page = Path("docs/evidence/reproduction.md").read_text()
    section = page.split("## Results of older recipes")[1].split("\n## ")[0]
    older = {
        f"`{name}` at {result['scale']} scale"
        for name in grid_names()
        for result in table_results(name, Path("experiments/results"))
        if not result["overlay"]
        and result["state"] != "current"
        and not result["state"].startswith("not run")
    }
    assert set(re.findall(r"`[^`]*` at \w+ scale", section)) == older


def test_an_average_needs_all_of_its_cells(trainer, run_table, tmp_path):
    path = tmp_path / "paper/table9.yaml"
    averages = "expected:\n  Mean: {accuracy: [80, 1]}"
    text = GRID.replace("expected:", averages).replace(
        "reference", "averages: {Network: Mean}\nreference"
    )
    path.write_text(text.replace("patch: {seeds: [0]}", "patch: {seeds: [0, 1]}"))
    cells = {tuple(cell["labels"].values()): cell for cell in run_table("tiny")["cells"]}
    whole, less, mean = (cells[name, "accuracy"]["ours"] for name in ("whole", "less", "Mean"))
    assert (mean["runs"], mean["mean"]) == (2, (whole["mean"] + less["mean"]) / 2)
    assert mean["std"] == (whole["std"] + less["std"]) / 2 and mean["low"] is None
    assert "| Mean | 77.97 ± 0.67 (80 ± 1) |" in read(tmp_path, "md", "tiny")
    trainer.failing = {seed: DataError("gone: fetch it") for seed in (0, 1)}
    report = run_table("tiny", runs_folder=tmp_path / "none", out=tmp_path / "nothing")
    average = next(cell for cell in report["cells"] if cell["labels"]["Network"] == "Mean")
    assert average["ours"] is None and "no result" in average["error"]


def test_a_written_table_is_printed_in_latex(m3net, finished):
    folder = finished[0]
    words = [str(folder / "paper/table9.yaml"), "--out", str(folder / "out")]
    printed = m3net("lab", "latex", *words)
    assert printed.status == 0
    text = printed.out
    assert r"\caption{Table 9: Something left out}" in text
    assert r"Network & accuracy & parameters \\" in text
    assert r"whole & 82.50 ± 1.87 † (90 ± 0.5) & 31,469 (31,599) \\" in text


def test_csv_has_a_line_for_each_run(finished):
    rows = list(csv.DictReader(read(finished[0], "csv").splitlines()))
    runs = [row for row in rows if row["run"]]
    assert len(runs) == 4 * 7 and len(rows) == len(runs) + 2  # the rival's two cells
    first = runs[0]
    assert (first["Network"], first["Figure"], first["seed"], first["fold"]) == (
        "whole",
        "accuracy",
        "0",
        "",
    )
    assert float(first["value"]) == 80 and float(first["validation"]) == 81
    assert first["run"] == "paper/table9/small/whole--accuracy/seed0"
    assert {row["error"] for row in rows if not row["run"]} == {"quoted"}


def test_the_subset_is_beside_the_recipe(trainer, run_table, tmp_path):
    trainer.subset = {"subset": "some", "subset_sha256": "ab" * 32}
    for keep in (False, True):  # trained, then kept from the written table
        report = run_table("tiny", keep_results=keep)
        assert report["subsets"] == {"some": "ab" * 32}
        assert report["cells"][0]["facts"]["subset_sha256"] == "ab" * 32
        assert report["cells"][0]["runs"][0]["metrics"]["dataset"]["subset"] == "some"
        rows = list(csv.DictReader(read(tmp_path, "csv", "tiny").splitlines()))
        assert {row["subset_sha256"] for row in rows if row["run"]} == {"ab" * 32}
        assert f"- subset `some`: SHA-256 {'ab' * 32}" in read(tmp_path, "md", "tiny")
        shutil.rmtree(tmp_path / "runs", ignore_errors=True)
    assert report["kept"] == 2


def test_the_computers_of_the_runs_are_beside_the_recipe(trainer, run_table, tmp_path):
    for record, line, arithmetic in (
        ({}, "runs trained on a computer of which they have no record: 2", "unknown"),
        (
            {"computers": [COMPUTER]},
            "runs trained on Some processor (family 6), instruction set AVX2, "
            "ONEDNN_MAX_CPU_ISA=AVX2, oneDNN on, no accelerator: 2",
            "AVX2",
        ),
        (
            {"computers": [COMPUTER, {**COMPUTER, "accelerators": ["Some GPU"]}]},
            "runs trained on Some processor (family 6), instruction set AVX2, "
            "ONEDNN_MAX_CPU_ISA=AVX2, oneDNN on, no accelerator, then Some processor (family 6), "
            "instruction set AVX2, ONEDNN_MAX_CPU_ISA=AVX2, Some GPU, oneDNN on: 2",
            "AVX2, Some GPU",
        ),
    ):
        trainer.record = record
        for keep in (False, True):  # trained, then kept from the written table
            run_table("tiny", keep_results=keep)
            assert f"- {line}\n" in read(tmp_path, "md", "tiny")
            rows = list(csv.DictReader(read(tmp_path, "csv", "tiny").splitlines()))
            assert {row["arithmetic"] for row in rows if row["run"]} == {arithmetic}
            shutil.rmtree(tmp_path / "runs", ignore_errors=True)


def test_the_computers_of_runs_without_a_record_may_be_noted(trainer, run_table, tmp_path):
    note = tmp_path / "out/trained_on.yaml"
    note.parent.mkdir()
    note.write_text("paper/table9.tiny: one GPU\n")
    run_table("tiny")
    assert "- runs trained on one GPU: 2\n" in read(tmp_path, "md", "tiny")


def test_a_plan_refuses_a_misspelt_argument_of_a_network(run_table, tmp_path):
    path = tmp_path / "paper/table9.yaml"
    path.write_text(GRID.replace("dfp: false", "dpf: false"))
    with refuses(ConfigError, "less--accuracy", "model.arguments", "'dpf'"):
        plan_table(str(path), "tiny", runs_folder=tmp_path / "runs", out=tmp_path / "out")


def test_results_of_an_overlay_are_listed_beside_the_others():
    results = table_results("m3net/mirrors", Path("experiments/results"))
    listed = {(result["scale"], result["overlay"]): result["state"] for result in results}
    assert listed["paper", "xla"] == "current" and "of" in listed["paper", ""]


def test_json_has_all_of_it(finished):
    folder, report, _ = finished
    assert json.loads(read(folder, "json")) == report
    assert report["machine"] == machine()
    assert len(report["recipes_sha256"]) == 64 and report["versions"]["numpy"]
    assert str(folder) not in read(folder, "json")


def test_data_folders_go_by_name(trainer, run_table, monkeypatch):
    monkeypatch.delenv("DATA_DIR", raising=False)
    assert parse_data_folders([]) == {}
    folders = parse_data_folders(["us8k=/u", "/all"])
    assert folders == {"us8k": Path("/u"), "": Path("/all")}
    remote = parse_data_folders(["us8k=s3://bucket/u", "file:///all?a=b"])
    assert {name: str(at) for name, at in remote.items()} == {
        "us8k": "s3://bucket/u",
        "": "file:///all?a=b",
    }
    run_table("tiny", data_folders=folders)
    assert {data for _, _, data in trainer.trained} == {Path("/all")}
    monkeypatch.setenv("DATA_DIR", "/elsewhere")
    assert parse_data_folders(["synth=/s"]) == {"synth": Path("/s"), "": Path("/elsewhere")}
    with refuses(ConfigError, "'cats'"):
        parse_data_folders(["cats=/c"])


def test_the_command_writes_the_table_and_reports_failures(m3net, trainer, run_table, tmp_path):
    path = tmp_path / "paper/table9.yaml"
    places = ["--out", str(tmp_path / "out"), "--runs", str(tmp_path / "runs")]
    printed = m3net("table", str(path), "--scale", "tiny", *places)
    assert printed.status == 0
    out = printed.out
    assert "2 runs: 0 finished, 2 to train" in out and "[2/2]" in out
    assert "cells: accuracy (%) or parameters, the mean of our runs" in " ".join(out.split())
    trainer.failing = {0: DataError("gone: fetch it")}
    folders = ["--out", str(tmp_path / "out2"), "--runs", str(tmp_path / "runs2")]
    printed = m3net("table", str(path), "--scale", "tiny", *folders)
    assert printed.status == 2
    assert "2 of the runs of" in printed.err
    assert "failed (90 ± 0.5)" in (tmp_path / "out2/paper/table9.tiny.md").read_text()


@pytest.mark.slow
def test_untrained_networks_are_measured(tmp_path, trainer):
    path = tmp_path / "sizes.yaml"
    path.write_text(
        """
title: Sizes
paper: Somebody, 2025
table: Table 2
base: {dataset: {name: us8k}, model: {name: m3net, preset: mcu}}
axes:
  Network:
    M3Net:
    other: {model: {name: ds_cnn}}
    wrong: {model: {arguments: {colour: red}}}
  Figure:
    parameters: {metric: model.parameters}
    latency (ms): {metric: model.latency_ms}
scales: {paper: {}}
"""
    )
    plan = plan_table(str(path), "paper", runs_folder=tmp_path / "runs", out=tmp_path / "out")
    report = make_table(plan, {})
    assert not trainer.trained and report["runs"] == 0 and report["failed"] == 2
    cells = {tuple(cell["labels"].values()): cell for cell in report["cells"]}
    assert cells["M3Net", "parameters"]["ours"]["mean"] == 31_599
    assert cells["other", "parameters"]["ours"]["mean"] == 24_908
    assert 0 < cells["M3Net", "latency (ms)"]["ours"]["mean"] < 10_000
    # Memory of the measuring process, not of this one, which has imported TensorFlow.
    assert 10 < cells["M3Net", "latency (ms)"]["facts"]["memory_mb"] < 300
    assert "unknown key 'colour'" in cells["wrong", "parameters"]["error"]
    page = next((tmp_path / "out").rglob("sizes.paper.md")).read_text()
    assert "Nothing is trained." in page and "Mean ±" not in page and "95 %: " not in page


def test_unknown_measures_are_reported():
    with refuses(ConfigError, "model.colour", "latency_ms"):
        untrained_cost.measure({"name": "m3net"}, "colour")


def test_a_tiny_table_stays_with_its_runs():
    kept = Path("experiments/results")
    runs = Path("runs/tables")
    assert results_folder(None, "tiny", runs) == runs
    assert results_folder(None, "small", runs) == kept
    assert results_folder(Path("here"), "tiny", runs) == Path("here")
