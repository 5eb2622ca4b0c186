# SPDX-License-Identifier: Apache-2.0
"""Starts a training: checks everything possible before it loads TensorFlow."""

from pathlib import Path

from m3net_tf.audio.datasets import (
    AudioDataset,
    cut_statement,
    protocol_statement,
    silence_statement,
)
from m3net_tf.audio.datasets.remarks import shortcut_lines
from m3net_tf.audio.shards import load_sharded_dataset, open_shards, require_section
from m3net_tf.system.errors import ConfigError
from m3net_tf.system.locks import writes_into
from m3net_tf.system.processor import use_instruction_set
from m3net_tf.system.progress import Log, silent
from m3net_tf.training.added import (
    AddedClip,
    copy_added,
    find_added,
    require_unchanged,
)
from m3net_tf.training.checks import check_training, require_streamable
from m3net_tf.training.member import Member
from m3net_tf.training.recipe import Recipe, load_recipe
from m3net_tf.training.run import (
    DataSource,
    Run,
    linked_run,
    load_section,
    with_added_of,
)
from m3net_tf.training.run_metrics import RunMetrics
from m3net_tf.training.stopping import AfterEpoch


@writes_into("folder", makes=True)
def train(
    recipe: Recipe,
    folder: Path,
    data_dir: Path | None = None,
    log: Log = silent,
    devices: int = 1,
    shards: str = "",
    after_epoch: AfterEpoch | None = None,
) -> RunMetrics:
    """Train by a recipe, or resume an interrupted training.

    A new run with the same recipe and environment gives the same weights, with any number of cores.

    Args:
        data_dir: folder of the data set; None for the cache.
        devices: number of devices that share each batch; see
            :mod:`m3net_tf.training.distribution`. Batch normalisation uses the statistics of each
            device's part.
        shards: URL or folder of the data set's shards, which replace ``data_dir``; '' for none.
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
    run = Run(folder)
    prepared = prepare(recipe, run, data_dir, shards, log)
    if prepared is None:
        return run.metrics()
    from m3net_tf.system.keras import use_threads
    from m3net_tf.training.distribution import strategy_for
    from m3net_tf.training.results import write_results
    from m3net_tf.training.trainer import run_epochs

    use_threads(recipe.training.threads)
    use_instruction_set(half_precision=recipe.training.mixed_precision)
    with strategy_for(devices, recipe.training.batch_size).scope():
        return write_results(run_epochs(recipe, run, *prepared, log, after_epoch), run)


def train_member(
    recipe: Recipe,
    folder: Path,
    data_dir: Path | None,
    log: Log,
    devices: int,
    shards: str,
    member: Member,
) -> None:
    """Train to the last epoch as one of several workers; :func:`train` then writes the results.

    The process that started the workers holds the lock of the folder, and has called
    :func:`prepare`.

    Args:
        folder: run folder, on a file system that all workers share.
    """
    run = Run(folder)
    dataset, source = _data_of(recipe, run, data_dir, shards, log)
    if recipe.fine_tuning.add:
        dataset = with_added_of(recipe, dataset, folder)
    from m3net_tf.system.keras import use_threads
    from m3net_tf.training.distribution import strategy_for
    from m3net_tf.training.trainer import run_epochs

    use_threads(recipe.training.threads)
    use_instruction_set(half_precision=recipe.training.mixed_precision)
    with strategy_for(devices, recipe.training.batch_size, member).scope():
        run_epochs(recipe, run, dataset, source, log)


def prepare(
    recipe: Recipe, run: Run, data_dir: Path | None, shards: str, log: Log
) -> tuple[AudioDataset, DataSource] | None:
    """Check everything that is possible without TensorFlow; copy added clips into the run.

    Returns:
        The data set and where its clips are; None if the run is finished.

    Raises:
        M3NetError: as :func:`train`.
    """
    folder = run.folder
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
        return None
    dataset, source = _data_of(recipe, run, data_dir, shards, log)
    check_training(recipe, dataset)
    if added:
        former = linked_run(recipe.fine_tuning.run)
        copy_added(
            added,
            dataset,
            folder,
            former.folder,
            log,
            windows=recipe.dataset.in_windows,
            hold_out=recipe.fine_tuning.hold_out,
        )
        dataset = with_added_of(recipe, dataset, folder)
    log(f"{dataset.info.name}: {protocol_statement(dataset)}")
    for statement in (silence_statement(dataset), cut_statement(dataset)):
        if statement:
            log(statement)
    if recipe.dataset.fold in (None, 1):  # the files of the other folds are the same
        for statement in shortcut_lines(dataset, log):
            log(statement)
    return dataset, source


def _data_of(
    recipe: Recipe, run: Run, data_dir: Path | None, shards: str, log: Log
) -> tuple[AudioDataset, DataSource]:
    """The data set, from shards or from its folder."""
    opened = open_shards(shards) if shards else None
    if not shards and data_dir is None:
        opened = run.shards()  # a stopped training continues with them
    if opened:
        require_section(opened, recipe.to_dict()["dataset"])
        require_streamable(recipe)
        return load_sharded_dataset(opened), DataSource(shards=opened)
    data_dir = run.data_folder(data_dir)
    return load_section(recipe.dataset, data_dir, log), DataSource(data_dir)


def _added_clips(recipe: Recipe, run: Run, log: Log) -> list[AddedClip]:
    """The clips that a recipe adds, which must not have changed since the run was started."""
    settings = recipe.fine_tuning
    if not settings.add:
        return []
    former = linked_run(settings.run)
    labels = former.metrics().dataset.labels
    group_pattern = str(recipe.dataset.options.get("group_pattern", ""))
    clips = find_added(settings.add, former.folder, labels, group_pattern, log)
    require_unchanged(clips, run.folder)
    return clips
