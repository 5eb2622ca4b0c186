# SPDX-License-Identifier: Apache-2.0
"""Folders of data sets: on this computer, or at a URL that each computer fetches once."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path

from m3net_tf.audio.datasets import data_folder, dataset_info
from m3net_tf.system.errors import DataError, M3NetError, one_line
from m3net_tf.system.progress import Log, silent
from m3net_tf.training.clips.source import load_section
from m3net_tf.training.cluster.fetching import RemoteFolder, fetch_folder, require_reachable
from m3net_tf.training.recipe import Recipe

DataFolders = Mapping[str, Path | RemoteFolder]
"""Folders of data sets, by name."""
ANY_DATA = ""
"""Key of :data:`DataFolders` for all data sets without a folder of their own."""


def require_data(recipes: Iterable[Recipe], data_folders: DataFolders, owner: str) -> None:
    """Require the data of all runs before any is started.

    Raises:
        DataError: data are missing; the message names each data set and the option for it.
    """
    if missing := missing_data(recipes, data_folders):
        raise DataError(f"{owner} needs data that are missing: {'; '.join(missing)}")


def missing_data(recipes: Iterable[Recipe], data_folders: DataFolders) -> list[str]:
    """Problems with the data of recipes, a line for each data set; empty if there are none."""
    reasons: dict[str, str] = {}
    sections = {json.dumps(recipe.to_dict()["dataset"]): recipe for recipe in recipes}
    for recipe in sections.values():
        name = recipe.dataset.name
        if name not in reasons and (reason := _why_no_data(recipe, data_folders)):
            reasons[name] = f"{name}: {reason}"
    return list(reasons.values())


def _why_no_data(recipe: Recipe, data_folders: DataFolders) -> str:
    name = recipe.dataset.name
    info = dataset_info(name)
    given = source_of(recipe, data_folders)
    option = f"give --data-dir {name}=FOLDER"
    if isinstance(given, RemoteFolder):
        try:
            require_reachable(given)
        except DataError as error:
            return str(error)
        return ""  # the computers that train fetch it
    if info.needs_folder and not (folder := data_folder(name, given)).is_dir():
        if given is not None:
            return f"{folder} does not exist; {option}"
        return f"{option}{f' or run m3net data fetch {name}' if info.archives else ''}"
    try:
        load_section(recipe.dataset, given)
    except M3NetError as error:
        return f"{one_line(error)}{f' ({option})' if info.needs_folder else ''}"
    return ""


def source_of(recipe: Recipe, data_folders: DataFolders) -> Path | RemoteFolder | None:
    """Folder or URL of the data set of a recipe; None for the data set's own folder."""
    source = data_folders.get(recipe.dataset.name, data_folders.get(ANY_DATA))
    if isinstance(source, RemoteFolder) and not dataset_info(recipe.dataset.name).needs_folder:
        return None
    return source


def local_folder(source: Path | RemoteFolder | None, log: Log = silent) -> Path | None:
    """The folder on this computer; one at a URL is copied first, unless that has been done.

    Raises:
        DataError: the URL cannot be read.
    """
    return fetch_folder(source, log=log) if isinstance(source, RemoteFolder) else source
