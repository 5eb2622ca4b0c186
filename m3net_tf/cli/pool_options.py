# SPDX-License-Identifier: Apache-2.0
"""Options of commands that train many runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:  # a light command does not need the room
    from m3net_tf.training.cluster.pools import PoolOptions

Jobs = Annotated[
    int,
    typer.Option(min=0, help="Runs at once.  [default: 1; on a cluster as many as fit]"),
]
Address = Annotated[
    str, typer.Option(help="Ray cluster: auto, HOST:PORT or ray://HOST:10001.  [default: none]")
]
Cpus = Annotated[
    int | None, typer.Option(min=1, help="Cores of each run.  [default: the grid's, or 1]")
]
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
    from m3net_tf.training.cluster.resources import Resources

    values = {"cpus": cpus, "gpus": gpus, "memory": memory}
    return PoolOptions(
        jobs=jobs,
        address=address,
        resources=Resources.parse(values, "in the options"),
        cache=None if cache is None else folder_or_url(cache),
        retries=retries,
    )
