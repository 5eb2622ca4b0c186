# SPDX-License-Identifier: Apache-2.0
"""A process that never built its network can read a run."""

import subprocess
import sys

import pytest

import m3net_tf
from m3net_tf.networks.models.bilateral.sequence import LeakySum
from m3net_tf.system.artifacts import write_json
from m3net_tf.system.errors import ModelError
from m3net_tf.system.keras import keras
from m3net_tf.training.recipe import Recipe, save_recipe
from m3net_tf.training.run import Run

LOAD = "import sys, m3net_tf; print(*(m3net_tf.load(path).name for path in sys.argv[1:]))"


def test_layers_of_our_own_are_known_in_a_fresh_process(tmp_path):
    run = Run(tmp_path)
    recipe = {"dataset": {"name": "synth"}, "model": {"name": "bilateral", "preset": "s"}}
    save_recipe(Recipe.from_dict(recipe), run.recipe_path)
    inputs = [keras.layers.Input((1, 8, 2)) for _ in range(2)]
    keras.Model(inputs, LeakySum()(inputs), name="sum_of_two").save(run.model_path)
    write_json(run.metrics_path, {})
    assert run.finished
    done = subprocess.run(
        [sys.executable, "-c", LOAD, tmp_path, run.model_path],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.strip() == "sum_of_two sum_of_two", done.stderr


def test_what_is_no_network_is_refused(tmp_path):
    (tmp_path / "clip.wav").write_bytes(b"RIFF")
    for name, problem in (("clip.wav", "cannot be read"), ("none", "does not exist")):
        with pytest.raises(ModelError, match=rf"{name} {problem}.*: give a run folder or its"):
            m3net_tf.load(tmp_path / name)
