# SPDX-License-Identifier: Apache-2.0
"""The commands ``m3net data …``."""

import shlex
from pathlib import Path
from typing import Annotated

import typer

from m3net_tf.cli.app import data_app
from m3net_tf.cli.options import AsJson, DataDir
from m3net_tf.cli.output import print_lines, print_table, progress_beside, say, say_json
from m3net_tf.system.progress import Log
from m3net_tf.system.words import counted

DataOptions = Annotated[
    list[str] | None,
    typer.Option(
        "--option",
        metavar="NAME=VALUE",
        help="Option of the data set, such as clip_s=2; repeatable.",
    ),
]
DatasetName = Annotated[str, typer.Argument(help="Data set, one of m3net data list.")]
Protocol = Annotated[str | None, typer.Option(help="Protocol; default: the data set's own.")]
Fold = Annotated[int | None, typer.Option(help="Test fold.")]
Seed = Annotated[int, typer.Option(help="Seed of random splits.")]
SkipBroken = Annotated[bool, typer.Option(help="Leave out files that cannot be decoded.")]


@data_app.command("list")
def data_list(as_json: AsJson = False) -> None:
    """List the data sets."""
    from m3net_tf.audio.datasets import tables

    if as_json:
        say_json(tables.list_facts())
    else:
        print_table(tables.list_table())


@data_app.command("info")
def data_info(name: DatasetName, data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """Describe a data set and how to fetch it; with its folder, also the clips in it."""
    from m3net_tf.audio.datasets import tables

    if as_json:
        say_json(tables.info_facts(name, data_dir))
        return
    for line in tables.info_lines(name, data_dir):
        say(line)


@data_app.command("fetch")
def data_fetch(
    name: Annotated[
        str,
        typer.Argument(
            help="Data set, one of m3net data list (speech_commands also for wake words); "
            "librispeech or musan, for wake words; or yamnet, a teacher."
        ),
    ],
    data_dir: DataDir = None,
    url: Annotated[
        str | None, typer.Option(help="Mirror: an archive, or a folder of them ending in /.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Download, check and unpack a data set; resumes after a stop.

    Recordings for wake words and a network of another publisher go to the user's cache.
    """
    from m3net_tf.audio.datasets.fetch import fetch
    from m3net_tf.audio.datasets.networks import NETWORKS
    from m3net_tf.audio.datasets.recordings import RECORDINGS

    log = progress_beside(as_json)
    if name in NETWORKS:
        _fetch_network(name, url, log, as_json=as_json)
        return
    if name in RECORDINGS:
        _fetch_recordings(name, url, log, as_json=as_json)
        return
    folder = fetch(name, data_dir, url=url, log=log)
    if as_json:
        say_json({"name": name, "folder": str(folder), "exists": folder.exists()})
    elif folder.exists():
        say(f"{folder}: now run m3net data check {name}")


def _fetch_recordings(name: str, url: str | None, log: Log, *, as_json: bool) -> None:
    from m3net_tf.audio.datasets.recordings import RECORDINGS, fetch_recordings

    recordings = RECORDINGS[name]
    folder = fetch_recordings(name, url=url, log=log)
    facts = {"name": name, "folder": str(folder), "licence": recordings.licence}
    lines = (
        f"{folder}: {recordings.about}",
        f"licence: {recordings.licence}",
        "m3net wake uses them from now on",
    )
    print_lines(facts, as_json, lambda _: lines)


def _fetch_network(name: str, url: str | None, log: Log, *, as_json: bool) -> None:
    from m3net_tf.audio.datasets.networks import NETWORKS, fetch_network
    from m3net_tf.system.artifacts import file_sha256

    network = NETWORKS[name]
    path = fetch_network(name, url=url, log=log)
    facts = {
        "name": name,
        "file": str(path),
        "sha256": file_sha256(path),
        "licence": network.licence,
    }
    lines = (
        f"{path}: {network.about}",
        f"licence: {network.licence}",
        f"now name it in a recipe: distillation: {{teacher: {name}}}",
    )
    print_lines(facts, as_json, lambda _: lines)


@data_app.command("subset")
def data_subset(
    name: Annotated[str, typer.Argument(help="Subset, a file of experiments/subsets.")],
    to: Annotated[Path, typer.Option(help="Folder to make.")],
    data_dir: Annotated[
        Path | None,
        typer.Option("--from", envvar="DATA_DIR", help="Folder of the complete data set."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Make the folder of a subset that results were measured on; resumes after a stop."""
    from m3net_tf.audio.datasets.subset_copy import make_subset

    subset = make_subset(name, to, data_dir, log=progress_beside(as_json))
    files = len(subset.files)
    sha256 = subset.sha256
    facts = {"name": subset.name, "dataset": subset.dataset, "folder": str(to)}
    lines = (
        f"{to}: {counted(files, 'file')}, SHA-256 of their list's lines {sha256}",
        f"now run m3net data check {subset.dataset} --data-dir {shlex.quote(str(to))}",
    )
    print_lines({**facts, "files": files, "sha256": sha256}, as_json, lambda _: lines)


@data_app.command("shard")
def data_shard(
    name: Annotated[str, typer.Argument(help="Data set, or a recipe that names one.")],
    out: Annotated[str, typer.Option(help="Folder or URL of the shards.")],
    clips_per_shard: Annotated[int, typer.Option(min=1, help="Clips in each file.")] = 1024,
    data_dir: DataDir = None,
    protocol: Protocol = None,
    fold: Fold = None,
    seed: Seed = 0,
    option: DataOptions = None,
    as_json: AsJson = False,
) -> None:
    """Write a data set as TFRecord files for m3net train --shards; resumes after a stop."""
    import dataclasses

    from m3net_tf.audio.datasets.tables import parse_options
    from m3net_tf.training.clips.source import load_section, recorded_data_folder
    from m3net_tf.training.recipe import load_recipe
    from m3net_tf.training.recipe.sections import DatasetSection

    section = DatasetSection(name, protocol, fold, seed, parse_options(option or []))
    if name.endswith((".yaml", ".yml")):
        if protocol or fold or seed or option:
            raise typer.BadParameter("the recipe has protocol, fold, seed and options: omit them")
        section = load_recipe(Path(name)).dataset
        data_dir = data_dir or recorded_data_folder(Path(name).parent)
    dataset = load_section(section, data_dir)
    from m3net_tf.audio.shards.writing import write_shards  # loads TensorFlow

    values = dataclasses.asdict(section)
    shards = write_shards(dataset, values, out, clips_per_shard, progress_beside(as_json))
    clips = sum(shard.clips for shard in shards.files)
    facts = {"shards": len(shards.files), "clips": clips, "bytes": shards.bytes}
    lines = (
        f"{shards.url}: {counted(clips, 'clip')} in {counted(len(shards.files), 'shard')}, "
        f"{shards.bytes / 1e6:.0f} MB, index SHA-256 {shards.sha256}",
        f"now run m3net train RECIPE --shards {shlex.quote(shards.url)}",
    )
    print_lines({"url": shards.url, **facts, "sha256": shards.sha256}, as_json, lambda _: lines)


@data_app.command("check")
def data_check(
    name: DatasetName,
    data_dir: DataDir = None,
    decode: Annotated[bool, typer.Option(help="Decode every file, not only its header.")] = False,
    seed: Seed = 0,
    option: DataOptions = None,
    skip_broken: SkipBroken = False,
    suggest: Annotated[
        bool, typer.Option("--suggest", help="Guess group_pattern from the names of a folder.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Check that no group (speaker, recording) is in two splits and that all files can be read."""
    from m3net_tf.audio.datasets import checking, tables
    from m3net_tf.system.errors import DataError

    options = tables.parse_options(option or [])
    checked = checking.check(
        name,
        data_dir,
        decode=decode,
        seed=seed,
        log=progress_beside(as_json),
        skip_broken=skip_broken,
        **options,
    )
    suggested = tables.suggestions(name, data_dir, seed=seed, **options) if suggest else (None, [])
    if as_json:
        facts = checked.to_dict()
        say_json({**facts, "suggestions": suggested[1]} if suggest else facts)
    else:
        print_table(tables.check_table(checked))
        for line in tables.check_lines(checked):
            say(line)
        if suggested[0]:
            print_table(suggested[0])
        for line in suggested[1]:
            say(line)
    if not checked.passed:
        raise DataError(f"{name}: the check did not pass; fix what is listed above")


@data_app.command("stats")
def data_stats(
    name: DatasetName,
    data_dir: DataDir = None,
    protocol: Protocol = None,
    fold: Fold = None,
    seed: Seed = 0,
    option: DataOptions = None,
    skip_broken: SkipBroken = False,
    as_json: AsJson = False,
) -> None:
    """Count the clips of each class and split; show lengths, rates, channels and formats."""
    from m3net_tf.audio.datasets import statistics, tables

    options = tables.parse_options(option or [])
    facts = statistics.stats(
        name,
        data_dir,
        protocol=protocol,
        fold=fold,
        seed=seed,
        skip_broken=skip_broken,
        **options,
    )
    if as_json:
        say_json(facts)
        return
    print_table(tables.stats_table(facts))
    for line in tables.stats_lines(facts):
        say(line)
