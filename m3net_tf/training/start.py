# SPDX-License-Identifier: Apache-2.0
"""Starts a training: checks everything possible before it loads TensorFlow."""

from __future__ import annotations

from pathlib import Path

from m3net_tf.datasets import cut_statement, protocol_statement
from m3net_tf.errors import ConfigError
from m3net_tf.locks import writes_into
from m3net_tf.progress import Log, silent
from m3net_tf.training.added import (
    AddedClip,
    copy_added,
    find_added,
    require_unchanged,
    with_added,
)
from m3net_tf.training.checks import check_training
from m3net_tf.training.recipe import Recipe, load_recipe
from m3net_tf.training.run import Run, linked_run, load_recipe_dataset
from m3net_tf.training.run_metrics import RunMetrics
from m3net_tf.training.stopping import AfterEpoch


@writes_into("folder", makes=True)
def train(
    recipe: Recipe,
    folder: Path,
    data_dir: Path | None = None,
    log: Log = silent,
    devices: int = 1,
    after_epoch: AfterEpoch | None = None,
) -> RunMetrics:
    """Train by a recipe, or resume an interrupted training.

    Args:
        recipe: recipe of the training.
        folder: run folder, created if needed. A finished run of the same recipe is not changed.
        data_dir: folder of the data set, if it consists of files; recorded in the run.
        log: receives progress lines.
        devices: number of devices that share each batch; see :mod:`m3net_tf.training.devices`.
            Batch normalisation uses the statistics of each device's part.
        after_epoch: is called after each saved epoch, and may stop the training.

    Returns:
        The metrics, as in ``metrics.json``.

    Raises:
        InUseError: another process writes into the folder.
        ConfigError: the folder contains a run of another recipe, of other added clips or of a
            preset that has changed, or the recipe does not match the data or the runs that it
            names.
        DataError: the data set is missing, broken or too small to be split, or an added clip
            cannot be used.
        ModelError: a saved state, or a run that the recipe names, is damaged or unfinished.
        TrainingStoppedError: ``after_epoch`` has stopped it.
    """
    run = Run(folder)
    if run.recipe_path.exists() and load_recipe(run.recipe_path) != recipe:
        raise ConfigError(
            f"{folder} contains a run of another recipe: choose another name, or delete it"
        )
    added = _added_clips(recipe, run, log)
    if run.finished:
        if run.outdated:
            raise ConfigError(
                f"{folder} was trained with another version of {recipe.model.name} "
                f"{recipe.model.preset}: choose another name, or delete it"
            )
        log(f"{folder} is already trained")
        return run.metrics()
    data_dir = run.data_folder(data_dir)
    dataset = load_recipe_dataset(recipe, data_dir)
    check_training(recipe, dataset)
    if added:
        copy_added(added, dataset, folder, linked_run(recipe.fine_tuning.run).folder, log)
        dataset = with_added(dataset, folder)
    log(f"{dataset.info.name}: {protocol_statement(dataset)}")
    if cut := cut_statement(dataset):
        log(cut)
    from m3net_tf.training.devices import strategy_for
    from m3net_tf.training.trainer import run_training

    with strategy_for(devices, recipe.training.batch_size).scope():
        return run_training(recipe, run, dataset, data_dir, log, after_epoch)


def _added_clips(recipe: Recipe, run: Run, log: Log) -> list[AddedClip]:
    """The clips that a recipe adds, which must be those with which the run was started."""
    settings = recipe.fine_tuning
    if not settings.add:
        return []
    former = linked_run(settings.run)
    labels = former.metrics().dataset.labels
    group_pattern = str(recipe.dataset.options.get("group_pattern", ""))
    clips = find_added(settings.add, former.folder, labels, group_pattern, log)
    require_unchanged(clips, run.folder)
    return clips
