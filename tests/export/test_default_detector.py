# SPDX-License-Identifier: Apache-2.0
"""Settings of live detection that a recipe's network gets, if nobody has chosen others."""

from __future__ import annotations

import pytest

from m3net_tf.audio.frontend.level import NO_GAIN, Gain
from m3net_tf.export.default_detector import default_detector
from m3net_tf.training.recipe import Recipe


@pytest.mark.parametrize(
    ("model", "columns"),
    [({"name": "m3net", "preset": "mcu"}, 5), ({"name": "mobilenet", "preset": "sounds_m"}, 48)],
)
def test_the_preset_says_how_far_apart_runs_are(model, columns):
    recipe = Recipe.from_dict({"dataset": {"name": "synth"}, "model": model})
    detector = default_detector(recipe, 96, ("yes", "_silence_"))
    assert detector.run_columns == columns and detector.window_columns == 96
    assert [settings.event for settings in detector.classes] == [True, False]


def test_the_recipe_says_whether_quiet_microphones_are_amplified():
    sections = {"dataset": {"name": "synth"}, "model": {"name": "m3net", "preset": "mcu"}}
    plain = Recipe.from_dict(sections)
    amplified = Recipe.from_dict({**sections, "detector": {"automatic_gain": True}})
    gains = [default_detector(recipe, 96, ("yes",)).gain for recipe in (plain, amplified)]
    assert gains == [NO_GAIN, Gain(automatic=True)]
    assert "detector" not in plain.hashed_values()  # results from before this key keep their hashes
