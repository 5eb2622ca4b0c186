# SPDX-License-Identifier: Apache-2.0
"""The way into a training: what can be checked without TensorFlow is, then TensorFlow is loaded."""

from __future__ import annotations

from pathlib import Path

from m3net_tf.datasets import cut_statement, protocol_statement
from m3net_tf.errors import ConfigError
from m3net_tf.locks import writes_into
from m3net_tf.progress import Log, silent
from m3net_tf.training.checks import check_training
from m3net_tf.training.recipe import Recipe, load_recipe
from m3net_tf.training.run import Run, load_recipe_dataset
from m3net_tf.training.run_metrics import RunMetrics


@writes_into("folder", makes=True)
def train(
    recipe: Recipe,
    folder: Path,
    data_dir: Path | None = None,
    log: Log = silent,
    devices: int = 1,
) -> RunMetrics:
    """Train by a recipe, or resume where an earlier call stopped.

    Args:
        recipe: what to do.
        folder: run folder; made if needed. A finished run of the same recipe is left as it is.
        data_dir: where the data set lies, if it is one of files; the run remembers it.
        log: takes lines of progress.
        devices: how many devices share each batch; see :mod:`m3net_tf.training.devices`. Batch
            normalisation takes the statistics of each device's part.

    Returns:
        The metrics, as they stand in ``metrics.json``.

    Raises:
        InUseError: another process writes into the folder.
        ConfigError: the folder holds a run of another recipe, or of a preset that has changed
            since; or the recipe does not fit the data or the runs that it names.
        DataError: the data set is missing, broken or too small to be split.
        ModelError: the saved state of a stopped run, or a run that the recipe names, is damaged
            or unfinished.
    """
    run = Run(folder)
    if run.recipe_path.exists() and load_recipe(run.recipe_path) != recipe:
        raise ConfigError(
            f"{folder} holds a run of another recipe: choose another name, or delete it"
        )
    if run.finished:
        if run.outdated:
            raise ConfigError(
                f"{folder} holds a network that this version of {recipe.model.name} "
                f"{recipe.model.preset} is not: choose another name, or delete it"
            )
        log(f"{folder} is already trained")
        return run.metrics()
    data_dir = run.data_folder(data_dir)
    dataset = load_recipe_dataset(recipe, data_dir)
    check_training(recipe, dataset)
    log(f"{dataset.info.name}: {protocol_statement(dataset)}")
    if cut := cut_statement(dataset):
        log(cut)
    from m3net_tf.training.devices import strategy_for
    from m3net_tf.training.trainer import run_training

    with strategy_for(devices, recipe.training.batch_size).scope():
        return run_training(recipe, run, dataset, data_dir, log)
