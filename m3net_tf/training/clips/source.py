# SPDX-License-Identifier: Apache-2.0
"""Where the clips of a training are: one source for a folder, shards and clips that were added."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import TypedDict

from m3net_tf.audio.datasets import AudioDataset, dataset_info, load_dataset
from m3net_tf.audio.datasets.selection import with_training_share
from m3net_tf.audio.shards import Shards, load_sharded_dataset, open_shards, require_section
from m3net_tf.system.artifacts import read_json, write_json
from m3net_tf.system.errors import DataError
from m3net_tf.system.progress import Log, silent
from m3net_tf.training.clips.added import with_added
from m3net_tf.training.clips.checks import require_streamable
from m3net_tf.training.recipe import Recipe
from m3net_tf.training.recipe.sections import DatasetSection

DATA_RECORD = "data.json"
"""File in a run, or beside a recipe, that names the source. It is no part of a result."""

Source = Path | Shards | None
"""Folder or shards of a data set; None for the recorded ones, or for the cache without a record."""


class _Record(TypedDict, total=False):
    """Content of ``data.json``."""

    folder: str
    shards: str


@dataclasses.dataclass(frozen=True)
class Clips:
    """The clips of a training.

    Attributes:
        dataset: the data set as the recipe splits it.
        source: where it is; None for the cache, and if it needs no folder.
    """

    dataset: AudioDataset
    source: Source = None

    @property
    def folder(self) -> Path | None:
        """Folder of the data set; None for the cache, and for shards."""
        return self.source if isinstance(self.source, Path) else None

    @property
    def shards(self) -> Shards | None:
        """Shards of the data set; None for a folder."""
        return self.source if isinstance(self.source, Shards) else None

    def with_added(self, recipe: Recipe, run: Path) -> Clips:
        """These clips with those that were added to a run, with the settings of its recipe."""
        dataset = with_added(
            self.dataset,
            run,
            windows=recipe.dataset.in_windows,
            times=recipe.fine_tuning.add_times,
        )
        return dataclasses.replace(self, dataset=dataset)


def open_clips(recipe: Recipe, run: Path, source: Source = None, log: Log = silent) -> Clips:
    """The clips of a recipe's data set, without those that were added to a run.

    Args:
        run: folder whose record says where the data set is if ``source`` is None.

    Raises:
        ConfigError: the shards have another data set, or the recipe needs files.
        DataError: the data set is missing or damaged.
    """
    if source is None:
        source = recorded_shards(run) or recorded_data_folder(run)
    if isinstance(source, Shards):
        require_section(source, recipe.to_dict()["dataset"])
        require_streamable(recipe)
        return Clips(load_sharded_dataset(source), source)
    return Clips(load_section(recipe.dataset, source, log), source)


def load_section(section: DatasetSection, data_dir: Path | None, log: Log = silent) -> AudioDataset:
    """The data set that a recipe's section names, split by its protocol."""
    dataset = load_dataset(
        section.name,
        data_dir,
        protocol=section.protocol,
        fold=section.fold,
        seed=section.seed,
        log=log,
        **section.options,
    )
    return with_training_share(dataset, section.training_share, section.seed)


def record_source(folder: Path, dataset: str, source: Source) -> None:
    """Record in a run where its data set is, for later commands without ``--data-dir``."""
    if isinstance(source, Shards):
        write_json(folder / DATA_RECORD, {"shards": source.url})
    elif source is not None and dataset_info(dataset).needs_folder:
        write_json(folder / DATA_RECORD, {"folder": str(source.expanduser().resolve())})


def recorded_shards(folder: Path) -> Shards | None:
    """The shards that ``data.json`` in a run names; None without.

    Raises:
        DataError: they can no longer be read.
    """
    url = _record(folder).get("shards")
    return open_shards(url) if url else None


def recorded_data_folder(folder: Path) -> Path | None:
    """Folder of the data set that ``data.json`` in a run or beside a recipe names; None without.

    Raises:
        DataError: it no longer exists.
    """
    recorded = _record(folder).get("folder")
    if recorded is None:
        return None
    data = Path(str(recorded))
    if not os.path.isdir(data):  # noqa: PTH112  # Path.is_dir raises for a long name
        raise DataError(
            f"{data}: {folder / DATA_RECORD} names this folder, which no longer exists: give the "
            "new one by --data-dir or DATA_DIR"
        )
    return data


def _record(folder: Path) -> _Record:
    path = folder / DATA_RECORD
    return read_json(path, _Record) if path.exists() else {}
