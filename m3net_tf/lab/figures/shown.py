# SPDX-License-Identifier: Apache-2.0
"""The contents of a figure: cells of a grid with their clips and finished runs."""

import dataclasses
import functools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from m3net_tf.audio.datasets import AudioDataset, Clip, split_facts
from m3net_tf.audio.frontend import dequantize_features
from m3net_tf.lab import RESULTS
from m3net_tf.lab.many.scheduling import run_trainings
from m3net_tf.lab.studies.grid import Grid
from m3net_tf.lab.studies.table_plan import plan_table
from m3net_tf.system.errors import ConfigError, DataError, ModelError
from m3net_tf.system.progress import Log
from m3net_tf.training.clips.features import FeatureSet
from m3net_tf.training.clips.source import load_section
from m3net_tf.training.cluster.data import DataFolders, local_folder, require_data, source_of
from m3net_tf.training.recipe import Recipe
from m3net_tf.training.run import Run


def recorded(dataset: AudioDataset) -> Iterator[Clip]:
    """The clips that were not cut from other recordings, as silence was."""
    return (clip for clip in dataset.clips if not (clip.synthetic and clip.path))


def maps_of(test: FeatureSet, chosen: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
    """Feature maps of some clips as a network's input, float32, shape (clips, bins, frames, 1)."""
    return dequantize_features(test.features[np.zeros_like(chosen), chosen])[..., None]


@dataclasses.dataclass(frozen=True)
class Shown:
    """One recipe of a figure.

    Attributes:
        labels: axis of the figure -> label.
        run: the finished run; None where nothing is trained.
        clip: the clip to show, see :meth:`find_clip`.
        kept: the part of ``metrics.json`` that a written table keeps, for a run without a folder.
    """

    labels: Mapping[str, str]
    recipe: Recipe
    data_dir: Path | None = None
    run: Run | None = None
    clip: str | None = None
    kept: Mapping[str, object] | None = None

    @property
    def title(self) -> str:
        """The labels in one line."""
        return ", ".join(self.labels.values())

    @property
    def first_label(self) -> str:
        """The label of the first axis."""
        return next(iter(self.labels.values()))

    @property
    def kept_every(self) -> int:
        """Step of the frames that a network with ``method: change_hop`` keeps; 1 for others."""
        arguments = self.recipe.model.arguments
        changed = arguments.get("method") == "change_hop"
        return round(1 / (1 - float(arguments["reduction"]))) if changed else 1

    @property
    def hop_ms(self) -> float:
        """Time from one frame of the network to the next."""
        config = self.recipe.frontend
        return 1000 * self.kept_every * config.hop_samples / config.sample_rate_hz

    @property
    def trained(self) -> Run:
        """The finished run.

        Raises:
            ConfigError: the figure's grid trains none.
        """
        if self.run is None:
            raise ConfigError(f"{self.title} has no run: remove metric data from its grid")
        return self.run

    @property
    def metrics(self) -> Mapping[str, Any]:
        """``metrics.json`` of the run, or what a written table keeps of it.

        Raises:
            ConfigError: the figure's grid trains no run.
        """
        return self.trained.metrics().values if self.kept is None else self.kept

    @functools.cached_property
    def dataset(self) -> AudioDataset:
        """The data set, split by the recipe's protocol."""
        if self.run is not None:
            return self.run.dataset(self.data_dir)
        return load_section(self.recipe.dataset, self.data_dir)

    def find_clip(self) -> Clip:
        """The clip to show: the one of this name, or the first one with this label.

        A number n takes the first clip of the n-th class; nothing, of the first class.

        Raises:
            DataError: the data set has neither such a clip nor such a class.
        """
        wanted, labels = self.clip or "1", self.dataset.info.labels
        clips = list(recorded(self.dataset))
        named = [clip for clip in clips if wanted in (clip.clip_id, Path(clip.clip_id).stem)]
        named = named or [clip for clip in clips if wanted in clip.all_labels]
        if not named and wanted.isdecimal() and 1 <= int(wanted) <= len(labels):
            named = [clip for clip in clips if labels[int(wanted) - 1] in clip.all_labels]
        if not named:
            raise DataError(
                f"{self.dataset.info.name} has no clip or class {wanted!r}: choose one of "
                f"{', '.join(labels[:20])}"
            )
        return min(named, key=lambda clip: clip.clip_id)

    def data_facts(self) -> Mapping[str, object]:
        """Facts of the data set, as in ``metrics.json``."""
        if self.run is not None:
            return self.run.metrics().dataset.facts
        info = self.dataset.info
        hashes = self.dataset.clip_list_hash()
        return {**split_facts(self.dataset), "labels": info.labels, "clip_list_sha256": hashes}


def facts_of(shown: Sequence[Shown]) -> dict[str, object]:
    """Cells of a figure for its JSON, with their recipes, data, and the commits of their runs."""
    cells = []
    for cell in shown:
        facts = {"labels": dict(cell.labels), "recipe_sha256": cell.recipe.fingerprint()}
        if cell.run is not None or cell.kept is not None:
            facts["run_git_commit"] = str(cell.metrics.get("git_commit", ""))
        cells.append(facts)
    recipes = {cell.recipe.fingerprint(): cell for cell in shown}
    return {
        "cells": cells,
        "recipes": {
            key: {"recipe": cell.recipe.to_dict(), "dataset": cell.data_facts()}
            for key, cell in recipes.items()
        },
    }


def shown_cells(
    name: str,
    scale: str,
    runs_folder: Path,
    data_folders: DataFolders,
    log: Log,
    kept_in: Path | None = None,
) -> tuple[Grid, list[Shown]]:
    """Cells of a figure's grid; runs that are missing are trained first.

    Args:
        kept_in: folder of written tables, whose results replace runs that ``runs_folder`` lacks;
            None trains these.

    Returns:
        The grid, and each cell with each of its runs; a run that several metrics share counts once.

    Raises:
        ConfigError: the grid or one of its recipes is wrong.
        DataError: data or written tables are missing; nothing was trained.
        ModelError: a training failed.
    """
    out = kept_in or RESULTS
    table = plan_table(name, scale, runs_folder=runs_folder, out=out, keep_results=bool(kept_in))
    grid, runs = table.grid, table.runs
    untrained = [cell for cell in grid.cells if cell.metric == "data"]
    recipes = [training.recipe for training in runs.waiting]
    recipes += [grid.recipe(cell) for cell in untrained]
    require_data(recipes, data_folders, f"{name} at {scale} scale")
    outcomes = run_trainings(runs, data_folders, log=log) if runs.runs else {}

    def folder(recipe: Recipe) -> Path | None:
        return local_folder(source_of(recipe, data_folders), log)

    shown: dict[Any, Shown] = {}
    for (index, repeat), training in table.trainings.items():
        cell, recipe = grid.cells[index], training.recipe
        entry = Shown({**cell.labels, "run": repeat.name}, recipe, folder(recipe), clip=cell.clip)
        if outcome := outcomes.get(training.key):
            if outcome.error:
                raise ModelError(f"{training.place}: {outcome.error}: repeat the command")
            entry = dataclasses.replace(entry, run=Run(outcome.folder))
        else:
            kept = table.kept[training.key][cell.metric]["metrics"]
            entry = dataclasses.replace(entry, kept=kept)
        shown.setdefault(training.key if not cell.clip else (training.key, cell.clip), entry)
    for cell in untrained:
        recipe = grid.recipe(cell)
        shown[cell.slug] = Shown(cell.labels, recipe, folder(recipe), None, cell.clip)
    return grid, list(shown.values())
