# SPDX-License-Identifier: Apache-2.0
"""The command: its limits, its front as a table or JSON, its pick."""

import json

import pytest

from m3net_tf.lab.search import driver
from m3net_tf.lab.search.trials import TrialFolder
from m3net_tf.training.cluster.worker import Report
from m3net_tf.training.recipe import load_recipe, save_recipe

SEARCH = ("search", "recipe.yaml", "--space", "space.yaml")
PICK = ("pick", "runs/search_recipe")

pytestmark = pytest.mark.usefixtures("fake_networks")


@pytest.fixture
def lab(m3net, monkeypatch, tmp_path, base, space_file, train_at_once):
    """Run ``m3net lab`` beside the recipe."""
    save_recipe(base, tmp_path / "recipe.yaml")
    real = driver.open_pool
    works = [train_at_once[0]]

    def open_pool(options):
        return real(type(options)(work=works[0]))

    monkeypatch.setattr(driver, "open_pool", open_pool)
    monkeypatch.chdir(tmp_path)

    def run(*arguments, work=None):
        works[0] = work or train_at_once[0]
        return m3net("lab", *arguments)

    return run


def test_a_search_prints_its_front_and_writes_a_pick(lab, tmp_path):
    arguments = (*SEARCH, "--trials", 3, "--max-arena", "4kB")
    status, output, _ = lab(*arguments, "--max-instructions", "3.5e5", "--json")
    result = json.loads(output)
    assert status == 0
    assert result["settings"]["limits"] == {
        "arena_bytes": 4000,
        "flash_bytes": None,
        "instructions": 350_000,
    }
    assert result["front"] == [3, 2] and result["git_commit"]
    assert result["states"]["finished"] == 3 and result["trials"][1]["versions"] == {}
    status, output, _ = lab(*arguments, "--max-instructions", "3.5e5")
    assert status == 0 and "first recipe (not on the front)" in output
    folder = tmp_path / "runs/search_recipe"
    assert (folder / "front.png").read_bytes().startswith(b"\x89PNG")
    assert len((folder / "front.csv").read_text().splitlines()) == 4
    assert lab(*PICK, 0, "--to", "best.yaml")[:2] == (0, "best.yaml: m3net train best.yaml\n")
    (first, *_) = TrialFolder(folder).read()
    assert load_recipe(tmp_path / "best.yaml").fingerprint() == first.recipe_sha256
    assert json.loads(lab(*PICK, 0, "--json")[1])["trial"] == 0
    text = (folder / "pick_0.yaml").read_text()
    assert f"# Validation {100 * first.accuracy:.2f} %" in text


def test_failed_trials_are_an_error(lab):
    def failed(_order):
        return Report("the disk is full", 0.0)

    status, _, error = lab(*SEARCH, "--trials", 1, work=failed)
    assert (status, error) == (
        2,
        "error: 1 trial failed (the disk is full): the same command tries them again\n",
    )


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ([*SEARCH, "--max-instructions", "0"], "--max-instructions is 0.0: give 1 or more"),
        ([*SEARCH, "--max-arena", "much"], "--max-arena is 'much'"),
        ([*PICK, "7"], "no finished trial 7"),
    ],
)
def test_wrong_options_are_one_line(lab, arguments, error):
    status, _, text = lab(*arguments)
    assert status == 2 and error in text and text.count("\n") == 1
