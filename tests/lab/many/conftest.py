# SPDX-License-Identifier: Apache-2.0
"""Shared by the tests of many runs: trainings, and a function that finishes a run at once."""

import pytest

from m3net_tf.lab.many.plan import Training
from m3net_tf.system.artifacts import write_json, write_text
from m3net_tf.training.cluster.worker import Report
from m3net_tf.training.recipe import save_recipe
from m3net_tf.training.run import Run


@pytest.fixture(scope="session")
def trainings(tiny_recipe):
    """Make trainings of different seeds; a number says how many."""

    def make(count, needs=None):
        rows = []
        for seed in range(count):
            recipe = tiny_recipe(training={"seed": seed})
            rows.append(Training(recipe.fingerprint(), recipe, f"paper/seed{seed}", needs or {}))
        return rows

    return make


@pytest.fixture(scope="session")
def finish():
    """Write what a finished training writes, as far as its table and index read it."""

    def write(order, validation=0.9):
        run = Run(order.folder)
        recipe = order.recipe
        save_recipe(recipe, run.recipe_path)
        write_text(
            run.folder / "history.csv",
            f"epoch,validation_accuracy\n1,0.5\n{recipe.training.epochs},{validation}\n",
        )
        run.model_path.write_bytes(b"")
        figures = {"accuracy": validation - 0.01 * recipe.training.seed}
        values = {
            "recipe": recipe.to_dict(),
            "parameters": 1195,
            "macs": 90_714,
            "training_s": 2.0,
            "dataset": {"name": "synth", "labels": ["a"]},
            "validation": figures,
            "test": figures,
        }
        write_json(run.metrics_path, values)
        return Report("", 2.0)

    return write
