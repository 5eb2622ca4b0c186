# SPDX-License-Identifier: Apache-2.0
"""Timed training steps: batches, teachers, several labels, and lengths of clips."""

import dataclasses

import pytest
from refusals import refuses

from m3net_tf.audio.datasets import dataset_info
from m3net_tf.system.errors import ConfigError
from m3net_tf.training.loop import pace
from m3net_tf.training.recipe import Recipe

RECIPE = {
    "dataset": {"name": "esc10"},
    "model": {"name": "m3net", "arguments": {"sfp": [{"filters": 8, "strides": [4, 4]}]}},
    "augmentation": {"time_masks": 1, "between_class_probability": 0.5},
    "training": {"batch_size": 6, "weight_average": 0.9, "class_weights": "balanced"},
}


@pytest.mark.parametrize(
    ("clips", "taken"),
    [(2, 2), *(pytest.param(clips, 6, marks=pytest.mark.slow) for clips in (0, 9))],
)
def test_a_step_of_the_recipe_is_timed(monkeypatch, clips, taken):
    seen = []
    make_step = pace.make_step

    def spy(state, recipe, loss, teacher):
        step = make_step(state, recipe, loss, teacher)

        def noted(batch, *rest):
            seen.append((batch["features"].shape[0], teacher is not None))
            return step(batch, *rest)

        return noted

    monkeypatch.setattr(pace, "make_step", spy)
    recipe = Recipe.from_dict(RECIPE)
    info = dataset_info("esc10")
    assert pace.seconds_per_clip(recipe, info, teachers=[recipe], clips=clips, steps=2) > 0
    assert seen == [(taken, True)] * 3


@pytest.mark.slow
def test_several_labels_and_lengths():
    labels = dict(RECIPE, training={"batch_size": 2})
    info = dataclasses.replace(dataset_info("esc10"), multi_label=True)
    assert pace.seconds_per_clip(Recipe.from_dict(labels), info, steps=1) > 0
    arguments = {"channels": [8], "modules": [1], "strides": [8], "expansion": 1, "lengths": True}
    padded = dict(labels, model={"name": "spectromasknet", "arguments": arguments})
    assert pace.seconds_per_clip(Recipe.from_dict(padded), dataset_info("esc10"), steps=1) > 0
    with refuses(ConfigError, "steps", "0"):
        pace.seconds_per_clip(Recipe.from_dict(labels), info, steps=0)
