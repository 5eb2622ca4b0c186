# SPDX-License-Identifier: Apache-2.0
"""experiments/accelerator: the runs of a table exported, trained by JAX, collected, evaluated."""

from __future__ import annotations

import csv
import dataclasses
import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from m3net_tf.lab.many.plan import Training, plan_trainings
from m3net_tf.lab.many.scheduling import run_trainings
from m3net_tf.lab.studies.cell_recipe import find_cells
from m3net_tf.lab.studies.grid_file import load_grid
from m3net_tf.networks.models.m3net import Design, Stage, build
from m3net_tf.system.errors import ConfigError
from m3net_tf.system.keras import keras, tf
from m3net_tf.training.run import Run

FOLDER = Path("experiments/accelerator")


@pytest.fixture(scope="module")
def table() -> ModuleType:
    spec = importlib.util.spec_from_file_location("accelerator_table", FOLDER / "table.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def training(table: ModuleType, network: str, clips_per_class: int = 6, seed: int = 0) -> Training:
    grid = load_grid("m3net/mirrors", "tiny", table.OVERLAY)
    (cell,) = find_cells(grid, f"US8K, by recording / {network}")
    wanted = grid.training(cell, cell.repeats[0])
    # one thread, as in this process
    settings = dataclasses.replace(wanted.recipe.training, threads=1, seed=seed)
    options = {"clips_per_class": clips_per_class}
    dataset = dataclasses.replace(wanted.recipe.dataset, options=options)
    recipe = dataclasses.replace(wanted.recipe, training=settings, dataset=dataset)
    place = f"{wanted.place}-{clips_per_class}-{seed}"
    return dataclasses.replace(wanted, place=place, recipe=recipe, key=recipe.fingerprint())


def finished(training: Training, runs: Path) -> Path:
    """The run's folder after what is missing of its training and its evaluation."""
    (outcome,) = run_trainings(plan_trainings([training], runs), {}).values()
    assert not outcome.error
    return outcome.folder


def history(folder: Path) -> list[dict[str, float]]:
    with (folder / "history.csv").open(newline="") as file:
        return [{key: float(row[key]) for key in row} for row in csv.DictReader(file)]


@pytest.mark.slow
def test_collected_run_is_evaluated_with_the_weights_of_its_best_epoch(
    table: ModuleType, tmp_path: Path
) -> None:
    wanted, work, runs = training(table, "plain"), tmp_path / "work", tmp_path / "runs"
    table.export([wanted], work, None)
    (task,) = json.loads((work / "tasks.json").read_text())
    weights = np.load(work / "weights.npz")
    best = {f"best_{i}": weights[f"{task['start']}.{i}"] for i in range(len(weights.files))}
    row = {"epoch": 1, "loss": 2.0, "validation_loss": 1.5, "validation_accuracy": 0.5}
    rows = [{**row, "learning_rate": 0.001, "seconds": 0.1}]
    (work / "results").mkdir()
    np.savez(
        work / "results" / f"{wanted.place.replace('/', '.')}.npz",
        history=json.dumps(rows),
        device="none",
        shape=(*np.load(work / "features.npy").shape[1:], 1),
        classes=10,
        clips=36,
        **best,
    )
    table.collect([wanted], work, runs, None)
    run = Run(finished(wanted, runs))
    assert history(run.folder)[0]["validation_loss"] == 1.5
    for mine, theirs in zip(run.load_model().get_weights(), best.values(), strict=True):
        np.testing.assert_array_equal(mine, theirs)


def test_recipe_that_train_py_cannot_follow_is_refused(table: ModuleType, tmp_path: Path) -> None:
    grid = load_grid("mcu/streaming", "tiny")
    with pytest.raises(ConfigError, match="--only"):
        table.export([grid.training(grid.cells[0], grid.cells[0].repeats[0])], tmp_path, None)


def test_fused_first_stage_computes_what_its_layers_do(table: ModuleType) -> None:
    stages = (Stage(6, strides=(2, 2), pool=2), Stage(4))
    models = [build((21, 18, 3), 5, Design(stages, stages[1:])) for _ in range(2)]
    models[1].set_weights(models[0].get_weights())
    whole, fused = models[0], table.fused_first_stage(models[1])
    assert fused is not models[1]
    x = np.random.default_rng(0).normal(size=(7, 21, 18, 3)).astype(np.float32)
    labels, entropy = np.array([0, 1, 2, 3, 4, 0, 1]), keras.losses.SparseCategoricalCrossentropy()
    gradients = []
    for model, function in zip(models, (whole, fused), strict=True):
        with tf.GradientTape() as tape:
            loss = entropy(labels, function(x, training=True))
        gradients.append(tape.gradient(loss, model.trainable_variables))
    pairs = [*zip(*gradients, strict=True), *zip(*(m.weights for m in models), strict=True)]
    for mine, theirs in [*pairs, [function(x, training=False) for function in (whole, fused)]]:
        np.testing.assert_allclose(mine, theirs, atol=1e-6, rtol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("network", ["M3Net", "plain"])
def test_jax_trains_several_runs_as_the_trainer_does(
    table: ModuleType, tmp_path: Path, network: str
) -> None:
    pytest.importorskip("jax", reason="JAX is not installed")
    work = tmp_path / "work"
    both = [training(table, network, clips_per_class) for clips_per_class in (6, 12)]
    table.export(both, work, None)
    subprocess.run([sys.executable, FOLDER / "train.py", work], check=True, timeout=1800)
    table.collect(both, work, tmp_path / "jax", None)
    for wanted in both:
        jax, trainer = (history(finished(wanted, tmp_path / name)) for name in ("jax", "trainer"))
        for mine, theirs in zip(jax, trainer, strict=True):
            for name in ("loss", "validation_loss", "validation_accuracy", "learning_rate"):
                assert mine[name] == pytest.approx(theirs[name], abs=1e-4)


@pytest.mark.slow
def test_run_that_diverges_does_not_stop_those_beside_it(table: ModuleType, tmp_path: Path) -> None:
    pytest.importorskip("jax", reason="JAX is not installed")
    good, bad = (training(table, "plain", seed=seed) for seed in (0, 1))
    table.export([bad, good], tmp_path, None)
    with np.load(tmp_path / "weights.npz") as arrays:
        weights = {name: arrays[name] * (np.nan if "seed1" in name else 1) for name in arrays}
    np.savez(tmp_path / "weights.npz", **weights)
    command = [sys.executable, FOLDER / "train.py", tmp_path]
    done = subprocess.run(command, capture_output=True, text=True, timeout=1800, check=False)
    assert done.returncode == 1
    assert bad.place in done.stderr
    (result,) = (tmp_path / "results").iterdir()
    assert good.place.replace("/", ".") in result.name
