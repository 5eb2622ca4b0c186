# SPDX-License-Identifier: Apache-2.0
"""The candidates of a search are recipes, checked with the recipes' errors."""

from pathlib import Path

import pytest
from refusals import refuses

from m3net_tf.lab.search.space import choices_text, find_space, load_space
from m3net_tf.system.errors import ConfigError
from m3net_tf.training.recipe import load_recipe

ROOT = Path(__file__).parents[3]


def test_choices_become_a_recipe(space, base):
    choices = {"width": "12", "mels": "few", "mirrors": "none"}
    recipe = space.recipe(base, choices)
    assert recipe.frontend.mel_bins == 20
    assert recipe.model.arguments == {
        "sfp": [{"filters": 12, "kernel": [5, 5], "strides": [4, 4]}],
        "tail": [{"filters": 12}],
        "dropout": 0.2,
        "mirror_attention": False,
    }
    assert recipe.training == base.training and recipe.augmentation == base.augmentation
    assert choices_text(choices) == "width 12, mels few, mirrors none"


def test_a_teacher_adds_candidates(space, space_file, base):
    taught = load_space(space_file, base, "runs/teacher")
    assert (space.size, taught.size) == (12, 24)
    assert "teaching" not in space.options  # it has one value
    choices = {**taught.start[0], "teaching": "taught"}
    assert taught.recipe(base, choices).distillation.run == "runs/teacher"
    assert space.recipe(base, space.start[0]).distillation.run is None


def test_a_value_may_refer_to_a_key_of_another(space_file, base):
    space_file.write_text(
        "network: m3net\noptions: {ends: {low: {hz: 50}}, hz: [$ends.hz]}\n"
        "recipe: {frontend: {mel_min_hz: $hz}}"
    )
    assert load_space(space_file, base).recipe(base, {}).frontend.mel_min_hz == 50


@pytest.mark.parametrize(
    ("former", "new", "error"),
    [
        ("few: 20", "few: -1", r"space.yaml, width 8, mels few.*mel_bins is -1"),
        ("mel_bins: $mels", "mel_bin: $mels", "'mel_bin'.*mel_bins"),
        ("mel_bins: $mels", "mel_bins: $mel", r"\$mel is not an option: known are width"),
        ("mel_bins: $mels", "mel_bins: $mels.low", r"\$mels.low is not among the keys"),
        ("few: 20", "few: $mels", "in a circle"),
        ("network: m3net", "network: ds_cnn", "is for ds_cnn, the recipe has m3net"),
        ("network: m3net\n", "", "key 'network' is missing"),
        ("mels: many,", "mels: most,", "start has mels most: choose one of few, many"),
        ("width: [4, 8, 12]", "width: []", "options.width has no values"),
        ("width: [4, 8, 12]", "width: 4", "options.width is 4: give a list"),
        ("width: [4, 8, 12]", "teacher: [4]", "options.teacher stands for --teacher"),
        ("start:", "begin:", "begin"),
    ],
)
def test_a_wrong_file_is_one_line(space_file, base, former, new, error):
    text = space_file.read_text()
    assert former in text
    space_file.write_text(text.replace(former, new))
    with pytest.raises(ConfigError, match=error) as raised:
        load_space(space_file, base)
    assert str(space_file) in str(raised.value)


def test_a_missing_space_is_named(tmp_path, base):
    with refuses(ConfigError, "m3net"):
        find_space(None, "sparknet")
    with pytest.raises(ConfigError, match="is missing"):
        load_space(find_space(tmp_path / "no.yaml", "m3net"), base)


@pytest.mark.parametrize(
    ("path", "recipe", "least"),
    [("m3net.yaml", "m3net_keywords", 10_000), ("spaces/m3net_wide.yaml", "m3net_wide", 300)],
)
def test_a_shipped_space_starts_with_its_recipe(path: str, recipe: str, least: int):
    from m3net_tf.training.run import design_of  # loads TensorFlow

    folder = ROOT / "experiments/search"
    base = load_recipe(folder / "recipes" / f"{recipe}.yaml")
    space = load_space(folder / path, base)
    assert space.size > least
    first = space.recipe(base, space.start[0])
    assert first.frontend == base.frontend and first.distillation == base.distillation
    assert design_of(first) == design_of(base)


def test_the_space_of_a_network_is_the_default():
    assert find_space(None, "m3net") == ROOT / "experiments/search/m3net.yaml"
