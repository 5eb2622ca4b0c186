# SPDX-License-Identifier: Apache-2.0
"""Options that several of the lab's commands have."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from m3net_tf.lab import RESULTS
from m3net_tf.system.errors import ConfigError

if TYPE_CHECKING:  # a light command does not need the room
    from m3net_tf.training.cluster.fetching import RemoteFolder
    from m3net_tf.training.cluster.pools import PoolOptions

TableName = Annotated[str, typer.Argument(help="<paper>/<table>, or the path of its YAML file.")]
TableScale = Annotated[str, typer.Option(help="tiny, small or paper.")]
Overlay = Annotated[
    Path | None,
    typer.Option(exists=True, dir_okay=False, help="YAML with recipe keys for all cells."),
]
TableData = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME=FOLDER", help="Folder of a data set; FOLDER alone for all others (DATA_DIR)."
    ),
]
TableOut = Annotated[
    Path | None,
    typer.Option(
        help="Folder of the written tables; default: experiments/results; tiny: runs/tables."
    ),
]
TableRuns = Annotated[Path, typer.Option(help="Folder of the runs of all tables.")]
KeepResults = Annotated[
    bool,
    typer.Option("--keep-results", help="Keep results in written tables whose runs --runs lacks."),
]


def results_folder(out: Path | None, scale: str, runs: Path) -> Path:
    """The given folder, else the folder of results; a tiny result goes beside its runs."""
    return out or (runs if scale == "tiny" else RESULTS)


def parse_data_folders(texts: Sequence[str]) -> dict[str, Path | RemoteFolder]:
    """Folders of data sets from ``NAME=FOLDER``, and the default from ``FOLDER`` or ``DATA_DIR``.

    A folder may be a URL.

    Raises:
        ConfigError: there is no data set of a given name.
    """
    from m3net_tf.audio.datasets import dataset_names
    from m3net_tf.system.urls import is_url
    from m3net_tf.training.cluster.data import ANY_DATA
    from m3net_tf.training.cluster.fetching import folder_or_url

    folders: dict[str, Path | RemoteFolder] = {}
    if default := os.environ.get("DATA_DIR"):
        folders[ANY_DATA] = folder_or_url(default)
    for text in texts:
        name, equals, folder = ("", "", "") if is_url(text) else text.partition("=")
        if equals and name not in dataset_names():
            raise ConfigError(
                f"--data-dir {text}: there is no data set {name!r}: choose from "
                f"{', '.join(dataset_names())}"
            )
        folders[name if equals else ANY_DATA] = folder_or_url(folder if equals else text)
    return folders


Jobs = Annotated[
    int,
    typer.Option(
        min=0,
        help="Runs at once.  [default: 1; on a cluster as many as fit]",
        show_default=False,
    ),
]
Cpus = Annotated[int | None, typer.Option(min=1, help="Cores of each run.  [default: 1]")]
Gpus = Annotated[float | None, typer.Option(min=0, help="GPUs of each run, such as 1 or 0.5.")]
Memory = Annotated[str | None, typer.Option(help="Memory of each run, such as 4GB.")]
Retries = Annotated[
    int, typer.Option(min=0, help="New attempts for a run whose worker or computer was lost.")
]
Cache = Annotated[
    str | None,
    typer.Option(
        help="Cache of the workers: a shared folder, or the URL of a folder of feature maps."
    ),
]


def pool_options(
    jobs: int,
    address: str,
    cpus: int | None,
    gpus: float | None,
    memory: str | None,
    retries: int,
    cache: str | None,
) -> PoolOptions:
    """The options of a pool, as typed.

    Raises:
        ConfigError: the resources are not possible.
    """
    from m3net_tf.training.cluster.fetching import folder_or_url
    from m3net_tf.training.cluster.pools import PoolOptions
    from m3net_tf.training.cluster.resources import Resources, memory_bytes

    return PoolOptions(
        jobs=jobs,
        address=address,
        resources=Resources(cpus, gpus, memory_bytes(memory, "--memory") if memory else None),
        cache=None if cache is None else folder_or_url(cache),
        retries=retries,
    )
