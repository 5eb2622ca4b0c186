# SPDX-License-Identifier: Apache-2.0
"""A process that never built its network can read a run."""

import subprocess
import sys

from m3net_tf.artifacts import write_json
from m3net_tf.keras import keras
from m3net_tf.models.bilateral.sequence import LeakySum
from m3net_tf.training.recipe import Recipe, save_recipe
from m3net_tf.training.run import Run

LOAD = "import sys, pathlib; from m3net_tf.training.run import Run; "
LOAD += "print(Run(pathlib.Path(sys.argv[1])).load_model().name)"


def test_layers_of_our_own_are_known_in_a_fresh_process(tmp_path):
    run = Run(tmp_path)
    recipe = {"dataset": {"name": "synth"}, "model": {"name": "bilateral", "preset": "s"}}
    save_recipe(Recipe.from_dict(recipe), run.recipe_path)
    inputs = [keras.layers.Input((1, 8, 2)) for _ in range(2)]
    keras.Model(inputs, LeakySum()(inputs), name="sum_of_two").save(run.model_path)
    write_json(run.metrics_path, {})
    assert run.finished
    done = subprocess.run(
        [sys.executable, "-c", LOAD, tmp_path], capture_output=True, text=True, check=False
    )
    assert done.stdout.strip() == "sum_of_two", done.stderr
