# SPDX-License-Identifier: Apache-2.0
"""The index of a folder of shards, and the data set that it describes; no TensorFlow."""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Annotated, Any, NotRequired, TypedDict, get_type_hints

from msgspec import Meta

from m3net_tf.audio.datasets import AudioDataset, Clip, dataset_info
from m3net_tf.audio.datasets.audio import from_pcm16
from m3net_tf.audio.datasets.clips import DatasetInfo
from m3net_tf.audio.datasets.registry import checked_protocol
from m3net_tf.audio.shards.files import Shard, read_pcm
from m3net_tf.system.artifacts import parse_json, sha256_of
from m3net_tf.system.conversion import from_plain
from m3net_tf.system.errors import DAMAGED, ConfigError, DataError, one_line
from m3net_tf.system.urls import absolute_url, open_url, reaching, small_file

FORMAT = 1
INDEX = "index.json"
NOISE = "noise"
"""The split of the background recordings, which augmentation mixes in; they keep their length."""

#: Facts of a data set that are not in the registry but come from its folder or its options.
_INFO = (
    "labels sample_rate_hz clip_s protocol fold fit notes group groups_known group_guess "
    "group_exceptions multi_label held_out_may_share subset subset_sha256"
).split()
_OTHER_FORM: tuple[type[Exception], ...] = (*DAMAGED, ConfigError)


@dataclasses.dataclass(frozen=True)
class Shards:
    """A folder of shards.

    Attributes:
        sha256: checksum of the index, which stands for all of the content.
        info: facts of the data set that are not in the registry.
    """

    sha256: str
    url: str = dataclasses.field(repr=False)  # repr identifies the content: see _sound_keys
    section: Mapping[str, Any] = dataclasses.field(repr=False)
    info: Mapping[str, Any] = dataclasses.field(repr=False)
    files: tuple[Shard, ...] = dataclasses.field(repr=False)

    def of_split(self, split: str) -> tuple[Shard, ...]:
        """The shards of a split, in the order of its clips."""
        return tuple(shard for shard in self.files if shard.split == split)

    @property
    def bytes(self) -> int:
        """Size of all shards."""
        return sum(shard.bytes for shard in self.files)


class Row(TypedDict):
    """A clip in the list of a shard; a part of a clip names the whole and its start."""

    id: str
    labels: Annotated[list[str], Meta(min_length=1)]
    group: str
    synthetic: bool
    samples: int
    whole: NotRequired[str]
    start_s: NotRequired[float]


class ShardEntry(TypedDict):
    """Content of the list of a shard; ``key`` stands for all that decides its bytes."""

    key: str
    bytes: int
    sha256: str
    clips: list[Row]


class _Section(TypedDict):
    """What is read of the recipe's section before the rest."""

    name: str
    protocol: str | None
    fold: int | None


_HINTS = get_type_hints(DatasetInfo, include_extras=True)
_Info = TypedDict("_Info", {key: _HINTS[key] for key in _INFO}, total=False)  # type: ignore[misc]
"""Older versions lack some."""


class _Index(TypedDict):
    """What is read of ``index.json`` in each format."""

    format: int
    dataset: _Section
    info: _Info
    shards: list[dict[str, Any]]


def index_of(
    section: Mapping[str, object], info: DatasetInfo, digest: str, shards: Sequence[Shard]
) -> dict[str, object]:
    """Content of ``index.json``.

    Args:
        digest: hash of its lists of clips.
    """
    return {
        "format": FORMAT,
        "dataset": dict(section),
        "info": {key: getattr(info, key) for key in _INFO},
        "clip_list_sha256": digest,
        "shards": [dataclasses.asdict(shard) for shard in shards],
    }


def open_shards(url: str) -> Shards:
    """Read the index of a folder of shards.

    Raises:
        DataError: there is none, it cannot be reached, is damaged or of another format.
    """
    url = absolute_url(url)
    content = _read(url, INDEX)
    if content is None:
        raise DataError(f"{url} has no {INDEX}: write the shards by m3net data shard, or check it")
    try:
        values = parse_json(content, _Index)
        if values["format"] != FORMAT:
            raise DataError(
                f"{url}/{INDEX} has format {values['format']}, this m3net_tf reads {FORMAT}: write "
                "the shards again, or install the version that wrote them"
            )
        files = tuple(from_plain(Shard, row, "shards") for row in values["shards"])
        names = [PurePosixPath(shard.file).name == shard.file for shard in files]
        if not files or not all(names):
            raise ValueError
        return Shards(sha256_of(content), url, values["dataset"], values["info"], files)
    except DataError:
        raise
    except _OTHER_FORM as error:
        raise DataError(
            f"{url}/{INDEX} is damaged ({type(error).__name__}): delete it and run m3net data "
            "shard again, which keeps the finished shards"
        ) from None


def load_sharded_dataset(shards: Shards) -> AudioDataset:
    """The data set of the shards; its clips have no files of their own.

    Raises:
        DataError: a list of clips is missing or damaged.
    """
    stored = {key: shards.info[key] for key in _INFO if key in shards.info}
    for key in {"labels", "notes"} & stored.keys():
        stored[key] = tuple(stored[key])
    info = dataclasses.replace(dataset_info(shards.section["name"]), **stored)
    clips: dict[str, tuple[int, int]] = {}
    rows: dict[bool, list[Clip]] = {True: [], False: []}
    for number, shard in enumerate(shards.files):
        for row, clip in enumerate(_clips(shards, shard, info)):
            clips[clip.clip_id] = number, row
            rows[shard.split == NOISE].append(clip)
    places = _Places(shards, clips)
    read = functools.partial(_read_clip, places)
    return AudioDataset(info, tuple(rows[False]), synthesise=read, noise=tuple(rows[True]))


@dataclasses.dataclass(frozen=True)
class _Places:
    """Where the clips are: (shard, row) by clip ID."""

    shards: Shards
    of_clips: Mapping[str, tuple[int, int]] = dataclasses.field(repr=False)


def _read_clip(places: _Places, clip: Clip) -> Any:
    """The sound of a clip."""
    number, row = places.of_clips[clip.clip_id]
    shard = places.shards.files[number]
    return from_pcm16(read_pcm(places.shards.url, places.shards.sha256, shard, row))


def _clips(shards: Shards, shard: Shard, info: DatasetInfo) -> list[Clip]:
    """The clips of a shard, in its order."""
    name = f"{shard.file}.json"
    remedy = "delete it and run m3net data shard again, which keeps the other shards"
    content = _read(shards.url, name)
    if content is None or sha256_of(content) != shard.list_sha256:
        state = "missing" if content is None else "damaged"
        raise DataError(f"{shards.url}/{name} is {state}: {remedy}")
    try:
        rows = parse_json(content, ShardEntry)["clips"]
    except ValueError as error:
        raise DataError(f"{shards.url}/{name} is damaged ({one_line(error)}): {remedy}") from None
    split = "train" if shard.split == NOISE else shard.split
    return [
        Clip(
            row["id"],
            row["labels"][0],
            split,
            row["group"],
            start_s=row.get("start_s", 0.0),
            duration_s=row["samples"] / info.sample_rate_hz,
            synthetic=row["synthetic"],
            labels=tuple(row["labels"]) if info.multi_label else (),
            whole=row.get("whole", ""),
        )
        for row in rows
    ]


def require_section(shards: Shards, section: Mapping[str, object]) -> None:
    """Require that shards have the data set of a recipe.

    Raises:
        ConfigError: they have another one; the message names the key.
    """
    have, needed = _resolved(shards.section), _resolved(section)
    for key, value in needed.items():
        if have[key] != value:
            raise ConfigError(
                f"{shards.url} has dataset.{key} {have[key]!r}, the recipe {value!r}: write shards "
                "of this recipe by m3net data shard"
            )


def _resolved(section: Mapping[str, Any]) -> dict[str, object]:
    """A data set's section with the protocol and the fold that are in use.

    Shards of older versions have no ``training_share``: they have all clips.
    """
    info = dataset_info(section["name"])
    protocol, fold = checked_protocol(info, section["protocol"], section["fold"])
    return {"training_share": 1.0, **section, "protocol": protocol, "fold": fold}


def _read(url: str, name: str) -> bytes | None:
    """Content of a small file of the folder; None if it is missing."""
    system, root = open_url(url)
    with reaching(url):
        return small_file(system, f"{root}/{name}")
