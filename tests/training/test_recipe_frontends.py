# SPDX-License-Identifier: Apache-2.0
"""Recipes that start from a named front end."""

import pytest

from m3net_tf.audio.frontend import frontend_preset
from m3net_tf.system.errors import ConfigError
from m3net_tf.training import Recipe, load_recipe, save_recipe

LEAST = {"dataset": {"name": "synth"}, "model": {"name": "m3net"}}


def frontend(**values: object):
    return Recipe.from_dict({**LEAST, "frontend": values}).frontend


def test_a_preset_and_what_differs_from_it():
    assert frontend(preset="mcu") == Recipe.from_dict(LEAST).frontend
    assert frontend(preset="kaldi_fbank", mel_bins=40).mel_bins == 40
    assert frontend(preset="diffres", hop_ms=3) == frontend_preset("diffres", hop_ms=3)
    cd = frontend(preset="spectromasknet", sample_rate_hz=44_100, level_db=-25)
    assert (cd.frame_samples, cd.mel_max_hz, cd.level_db) == (1102, 22_050, -25.0)


def test_the_saved_recipe_has_all_keys(tmp_path):
    recipe = Recipe.from_dict({**LEAST, "frontend": {"preset": "m3net"}})
    save_recipe(recipe, tmp_path / "recipe.yaml")
    assert (
        "preset" not in (tmp_path / "recipe.yaml").read_text().split("frontend:")[1].split(":")[0]
    )
    assert load_recipe(tmp_path / "recipe.yaml") == recipe


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"preset": "leaf"}, "front end 'leaf' is unknown; choose from mcu, kaldi_fbank"),
        ({"preset": 3}, r"frontend\.preset is 3: give text"),
        ({"preset": "mcu", "sample_rate_hz": "cd"}, r"frontend\.sample_rate_hz is 'cd'"),
        ({"preset": "mcu", "hop_ms": "x"}, r"frontend\.hop_ms is 'x'"),
        ({"preset": "mcu", "hop": 3}, "unknown key 'hop' in section 'frontend'"),
        ({"hop_ms": 3}, "unknown key 'hop_ms' in section 'frontend'"),
        ({"preset": "mcu", "sample_rate_hz": -5}, r"frontend\.\w+ is -?\d+: give a whole number"),
        ({"preset": "mcu", "hop_ms": -5}, r"frontend\.hop_samples is -80: give a whole number"),
    ],
)
def test_errors_name_the_key(values, message):
    with pytest.raises(ConfigError, match=message) as caught:
        frontend(**values)
    assert "\n" not in str(caught.value)
