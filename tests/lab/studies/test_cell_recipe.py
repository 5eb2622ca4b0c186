# SPDX-License-Identifier: Apache-2.0
"""``m3net lab recipe TABLE CELL``: a cell's recipe as one flat YAML."""

import dataclasses

import pytest
import yaml
from refusals import refuses

from m3net_tf.lab.many.plan import finished_runs, with_runs
from m3net_tf.lab.studies.cell_recipe import cell_recipe_text, find_cell
from m3net_tf.lab.studies.grid_file import grid_names, load_grid
from m3net_tf.system.artifacts import write_json
from m3net_tf.system.errors import ConfigError
from m3net_tf.training.recipe import Recipe, load_recipe, save_recipe
from m3net_tf.training.run import Run


@pytest.fixture(scope="module")
def keywords():
    return load_grid("mcu/keywords", "small")


@pytest.mark.parametrize("name", grid_names())
def test_it_loads_to_the_recipe_of_the_cell(name, tmp_path):
    grid = load_grid(name, "small")
    for cell in grid.cells:
        if not cell.repeats:
            continue
        training = grid.training(cell, cell.repeats[0])
        path = tmp_path / "recipe.yaml"
        path.write_text(cell_recipe_text(grid, cell, tmp_path))
        recipe = load_recipe(path)
        for section, needs in training.needs.items():
            folders = tuple(str(tmp_path / need.place) for need in needs)
            assert getattr(recipe, section).runs == folders
            recipe = with_runs(recipe, section, [f"recipe {need.key}" for need in needs])
        assert recipe.fingerprint() == training.key, cell.slug


def test_every_key_is_written_out(keywords, tmp_path):
    cell = find_cell(keywords, "ds-cnn")
    values = yaml.safe_load(cell_recipe_text(keywords, cell, tmp_path))
    for field in dataclasses.fields(Recipe):
        section = getattr(keywords.training(cell, cell.repeats[0]).recipe, field.name)
        assert list(values[field.name]) == [item.name for item in dataclasses.fields(section)]


@pytest.mark.parametrize(
    ("network", "teachers"), [("M3Net s, taught", 1), ("M3Net s, taught by five", 5)]
)
def test_a_run_of_it_counts_as_the_run_of_the_table(network, teachers, keywords, tmp_path):
    cell = find_cell(keywords, network)
    training = keywords.training(cell, cell.repeats[0])
    assert len(training.needed) == teachers
    for teacher in training.needed:
        (tmp_path / teacher.place).mkdir(parents=True)
        save_recipe(teacher.recipe, Run(tmp_path / teacher.place).recipe_path)
    run = Run(tmp_path / "mine")
    run.folder.mkdir()
    run.recipe_path.write_text(cell_recipe_text(keywords, cell, tmp_path))
    run.model_path.write_bytes(b"")
    result = {"parameters": 1, "macs": 1, "validation": {}, "test": {}}
    data = {"name": "speech_commands", "labels": []}
    recipe = load_recipe(run.recipe_path).to_dict()
    write_json(run.metrics_path, {"recipe": recipe, "dataset": data, **result})
    ((key, outcome),) = finished_runs(tmp_path, {training.key}).items()
    assert (key, outcome.folder) == (training.key, run.folder)


@pytest.mark.parametrize(
    "text",
    [
        "scv2-official-split--w-o-sfp",
        "SCV2, official split / w/o SFP",
        "scv2 OFFICIAL split w/o sfp",
    ],
)
def test_a_cell_is_named_by_its_slug_or_its_labels(text):
    grid = load_grid("m3net/table3", "small")
    labels = find_cell(grid, text).labels
    assert labels == {"Data set": "SCV2, official split", "Model": "w/o SFP"}


def test_labels_are_enough_where_they_decide_the_recipe():
    grid = load_grid("bilateral/table5", "paper")
    labels = find_cell(grid, "ESC-50, random").labels
    assert labels == {"Data set": "ESC-50", "Split": "random", "Figure": "accuracy"}
    with refuses(ConfigError, "'ESC-50'", "esc-50--h"):
        find_cell(grid, "ESC-50")


def test_an_unknown_cell_is_one_line_with_the_choices(keywords, m3net):
    status, _, error = m3net("lab", "recipe", "mcu/keywords", "vgg")
    assert status == 2
    (line,) = error.splitlines()
    assert line.endswith(f"choose one of {', '.join(cell.slug for cell in keywords.cells)}")


def test_the_command_prints_it(m3net, keywords, tmp_path):
    status, output, _ = m3net("lab", "recipe", "mcu/keywords", "DS-CNN")
    assert status == 0
    path = tmp_path / "cell.yaml"
    path.write_text(output)
    cell = find_cell(keywords, "ds-cnn")
    assert load_recipe(path).fingerprint() == keywords.training(cell, cell.repeats[0]).key
