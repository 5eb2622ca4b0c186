# SPDX-License-Identifier: Apache-2.0
"""Every shipped recipe is valid and trains: one tiny epoch, on built-in sounds for speed."""

import dataclasses
from pathlib import Path

import pytest

from m3net_tf.system.yaml_files import read_yaml
from m3net_tf.training import load_recipe, train
from m3net_tf.training.recipe.sections import DatasetSection

ROOT = Path(__file__).parents[3] / "experiments/mcu"  # its tables, too: tests/lab/studies
RECIPES = [path for path in sorted(ROOT.glob("*.yaml")) if "model" in read_yaml(path)]
FAST = ("m3net_folder", "m3net_plain_xs_speech_commands")

pytestmark = pytest.mark.usefixtures("private_cache", "eager")


def test_all_are_valid():
    assert len([load_recipe(path) for path in RECIPES]) > 5


@pytest.mark.parametrize(
    "path",
    [
        pytest.param(path, id=path.name, marks=() if path.stem in FAST else pytest.mark.slow)
        for path in RECIPES
    ],
)
def test_recipe_trains(path, tmp_path):
    recipe = load_recipe(path)
    assert "# Command: make " in path.read_text()
    options = {"clips_per_class": 6, "sample_rate_hz": recipe.frontend.sample_rate_hz}
    small = dataclasses.replace(
        recipe,
        dataset=DatasetSection("synth", options=options),
        augmentation=dataclasses.replace(
            recipe.augmentation, copies=min(recipe.augmentation.copies, 1)
        ),
        training=dataclasses.replace(
            recipe.training, epochs=1, batch_size=24, threads=1, cross_validation=""
        ),
    )
    metrics = train(small, tmp_path / "run").values
    assert 0 <= metrics["test"]["accuracy"] <= 1
