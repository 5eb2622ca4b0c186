# SPDX-License-Identifier: Apache-2.0
"""How far apart live detection runs a network, if nobody has chosen it."""

from __future__ import annotations

import pytest

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
