# SPDX-License-Identifier: Apache-2.0
"""Starts a training: checks everything possible before it loads TensorFlow."""

from pathlib import Path

from m3net_tf.audio.datasets import (
    cut_statement,
    protocol_statement,
    silence_statement,
)
from m3net_tf.audio.datasets.remarks import shortcut_lines
from m3net_tf.system.errors import ConfigError
from m3net_tf.system.locks import writes_into
from m3net_tf.system.progress import Log, silent
from m3net_tf.training.clips.added import (
    AddedClip,
    copy_added,
    find_added,
    require_unchanged,
)
from m3net_tf.training.clips.checks import check_training
from m3net_tf.training.clips.source import Clips, Source, open_clips
from m3net_tf.training.loop.member import Member
from m3net_tf.training.loop.stopping import AfterEpoch
from m3net_tf.training.recipe import Recipe, load_recipe
from m3net_tf.training.run import Run, linked_run
from m3net_tf.training.run.metrics import RunMetrics


@writes_into("folder", makes=True)
def train(
    recipe: Recipe,
    folder: Path,
    source: Source = None,
    log: Log = silent,
    devices: int = 1,
    after_epoch: AfterEpoch | None = None,
) -> RunMetrics:
    """Train by a recipe, or resume an interrupted training.

    A new run with the same recipe and environment gives the same weights, with any number of cores.

    Args:
        source: folder or shards of the data set; None for the run's own, or for the cache.
        devices: number of devices that share each batch; see
            :mod:`m3net_tf.training.loop.distribution`. Batch normalisation uses the statistics of
            each device's part.
        after_epoch: is called after each saved epoch, and may stop the training.

    Raises:
        InUseError: another process writes into the folder.
        ConfigError: the folder contains a run of another recipe, of other added clips or of a
            preset that has changed, the recipe does not match the data or the runs that it
            names, or TensorFlow already computes with another number of threads.
        DataError: the data set is missing, broken or too small to be split, or an added clip
            cannot be used.
        ModelError: a saved state, or a run that the recipe names, is damaged or unfinished.
        TrainingStoppedError: ``after_epoch`` has stopped it.
    """
    clips = prepare(recipe, folder, source, log)
    run = Run(folder)
    if clips is None:
        return run.metrics()
    from m3net_tf.training.loop.distribution import devices_in_use
    from m3net_tf.training.loop.results import write_results
    from m3net_tf.training.loop.trainer import train_network

    with devices_in_use(recipe.training, devices) as share:
        return write_results(train_network(recipe, run, clips, share, log, after_epoch), run)


def train_member(
    recipe: Recipe, folder: Path, source: Source, log: Log, devices: int, member: Member
) -> None:
    """Train to the last epoch as one of several workers; :func:`train` then writes the results.

    The process that started the workers holds the lock of the folder, and has called
    :func:`prepare`.

    Args:
        folder: run folder, on a file system that all workers share.
    """
    clips = open_clips(recipe, folder, source, log).with_added(recipe, folder)
    from m3net_tf.training.loop.distribution import devices_in_use
    from m3net_tf.training.loop.trainer import train_network

    with devices_in_use(recipe.training, devices, member) as share:
        train_network(recipe, Run(folder), clips, share, log)


def prepare(recipe: Recipe, folder: Path, source: Source, log: Log) -> Clips | None:
    """Check everything that is possible without TensorFlow; copy added clips into the run.

    Returns:
        The clips of the training; None if the run is finished.

    Raises:
        M3NetError: as :func:`train`.
    """
    run = Run(folder)
    if run.recipe_path.exists() and load_recipe(run.recipe_path) != recipe:
        raise ConfigError(
            f"{folder} contains a run of another recipe: choose another name, or delete it"
        )
    added = _added_clips(recipe, run, log) if recipe.fine_tuning.add else []
    if run.finished:
        if run.outdated:
            raise ConfigError(
                f"{folder} was trained with another version of {recipe.model.name} "
                f"{recipe.model.preset}: choose another name, or delete it"
            )
        log(f"{folder} is already trained")
        return None
    clips = open_clips(recipe, folder, source, log)
    check_training(recipe, clips.dataset)
    if added:
        former = linked_run(recipe.fine_tuning.run)
        copy_added(
            added,
            clips.dataset,
            folder,
            former.folder,
            log,
            windows=recipe.dataset.in_windows,
            hold_out=recipe.fine_tuning.hold_out,
        )
        clips = clips.with_added(recipe, folder)
    dataset = clips.dataset
    log(f"{dataset.info.name}: {protocol_statement(dataset)}")
    for statement in (silence_statement(dataset), cut_statement(dataset)):
        if statement:
            log(statement)
    if recipe.dataset.fold in (None, 1):  # the files of the other folds are the same
        for statement in shortcut_lines(dataset, log):
            log(statement)
    return clips


def _added_clips(recipe: Recipe, run: Run, log: Log) -> list[AddedClip]:
    """The clips that a recipe adds, which must not have changed since the run was started."""
    settings = recipe.fine_tuning
    former = linked_run(settings.run)
    labels = former.metrics().dataset.labels
    group_pattern = str(recipe.dataset.options.get("group_pattern", ""))
    clips = find_added(settings.add, former.folder, labels, group_pattern, log)
    require_unchanged(clips, run.folder)
    return clips
