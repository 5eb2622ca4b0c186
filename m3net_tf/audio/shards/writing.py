# SPDX-License-Identifier: Apache-2.0
"""Writes the shards of a data set; a stopped call continues with the missing ones."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from m3net_tf.audio.datasets import AudioDataset, Clip
from m3net_tf.audio.datasets.audio import fit_length, to_pcm16
from m3net_tf.audio.datasets.clips import SPLITS
from m3net_tf.audio.shards.files import Shard, is_local
from m3net_tf.audio.shards.index import INDEX, NOISE, ShardEntry, Shards, index_of, open_shards
from m3net_tf.system.artifacts import file_sha256, parse_json, sha256_of
from m3net_tf.system.errors import ConfigError, DataError
from m3net_tf.system.keras import tf
from m3net_tf.system.locks import in_use, scratch_folder
from m3net_tf.system.progress import Log, Task, silent, track
from m3net_tf.system.threads import WORKERS, map_ahead
from m3net_tf.system.unfinished import unfinished_prefix
from m3net_tf.system.urls import absolute_url, open_url, reaching, small_file

CLIPS_PER_SHARD = 1024
_PCM = npt.NDArray[np.int16]


def write_shards(
    dataset: AudioDataset,
    section: Mapping[str, object],
    url: str,
    clips_per_shard: int = CLIPS_PER_SHARD,
    log: Log = silent,
) -> Shards:
    """Write a data set as shards; undamaged ones that exist are kept.

    The clips of a split are shuffled first, so that each shard has clips of all classes.

    Args:
        clips_per_shard: clips in each shard; the last one of a split may have fewer.

    Raises:
        ConfigError: ``clips_per_shard`` is below 1, or the folder has shards of another data set.
        DataError: a clip cannot be read, or the folder cannot be written.
    """
    if clips_per_shard < 1:
        raise ConfigError(f"clips per shard are {clips_per_shard}: give 1 or more")
    folder = _Folder(url)
    with in_use(folder.local) if folder.local else contextlib.nullcontext():
        plan = list(_plan(dataset, clips_per_shard))
        folder.require_only({f"{name}.json" for name, _, _ in plan})
        digest = dataset.clip_list_digest()
        facts = index_of(section, dataset.info, digest, ())
        key = sha256_of(json.dumps([facts, clips_per_shard], sort_keys=True).encode())
        with track(log, "shards", sum(len(clips) for _, _, clips in plan), "clips") as task:
            shards = []
            for name, split, clips in plan:
                shard = folder.finished(name, split, key)
                if shard:
                    task.advance(len(clips))
                else:
                    shard = _write(folder, dataset, name, split, clips, key, task)
                shards.append(shard)
        index = index_of(section, dataset.info, digest, shards)
        folder.put(INDEX, _json(index))
    return open_shards(url)


def _plan(dataset: AudioDataset, size: int) -> Iterator[tuple[str, str, Sequence[Clip]]]:
    """Name, split and clips of each shard."""
    splits = {name: dataset.split(name) for name in SPLITS} | {NOISE: dataset.noise}
    for split, clips in splits.items():
        order = np.random.default_rng(0).permutation(len(clips))
        count = math.ceil(len(clips) / size)
        for number in range(count):
            chosen = [clips[i] for i in order[number * size : (number + 1) * size]]
            yield f"{split}-{number:05d}-of-{count:05d}.tfrecord", split, chosen


def _write(
    folder: _Folder,
    dataset: AudioDataset,
    name: str,
    split: str,
    clips: Sequence[Clip],
    key: str,
    task: Task,
) -> Shard:
    """Write one shard, then its list, which marks it as finished."""

    def decode(clip: Clip) -> tuple[Clip, _PCM, int]:
        sound = dataset.read(clip)
        fitted = sound
        if split != NOISE:
            fitted = fit_length(sound, dataset.info.clip_samples, dataset.info.fit)
        return clip, to_pcm16(fitted), sound.size

    rows = []
    with folder.writing(name) as path:
        try:
            with tf.io.TFRecordWriter(str(path)) as writer:
                for clip, pcm, samples in map_ahead(decode, iter(clips), WORKERS):
                    writer.write(_record(clip, pcm, samples))
                    rows.append(_row(clip, samples))
                    task.advance()
        except tf.errors.OpError as error:  # TensorFlow's own files raise no OSError
            reason = str(error.message).rpartition("; ")[2]
            raise DataError(
                f"{folder.url}/{name} cannot be written ({reason}): free some space, or choose "
                "another --out"
            ) from None
        size = path.stat().st_size
        digest = file_sha256(path)
    entry = {"key": key, "bytes": size, "sha256": digest, "clips": rows}
    content = _json(entry)
    folder.put(f"{name}.json", content)
    return Shard(name, split, len(rows), size, digest, sha256_of(content))


def _record(clip: Clip, pcm: _PCM, samples: int) -> bytes:
    """A clip as TensorFlow's ``Example``."""

    def texts(*values: str) -> tf.train.Feature:
        return tf.train.Feature(
            bytes_list=tf.train.BytesList(value=[value.encode() for value in values])
        )

    features = {
        "audio": tf.train.Feature(
            bytes_list=tf.train.BytesList(value=[pcm.astype("<i2").tobytes()])
        ),
        "clip_id": texts(clip.clip_id),
        "labels": texts(*clip.all_labels),
        "samples": tf.train.Feature(int64_list=tf.train.Int64List(value=[samples])),
    }
    example = tf.train.Example(features=tf.train.Features(feature=features))
    return bytes(example.SerializeToString(deterministic=True))


def _row(clip: Clip, samples: int) -> dict[str, object]:
    return {
        "id": clip.clip_id,
        "labels": list(clip.all_labels),
        "group": clip.group,
        "synthetic": clip.synthetic,
        "samples": samples,
        **({"whole": clip.whole, "start_s": clip.start_s} if clip.whole else {}),
    }


def _json(value: Any) -> bytes:
    return (json.dumps(value, sort_keys=True, separators=(",", ":")) + "\n").encode()


@dataclasses.dataclass
class _Folder:
    """The folder of the shards, here or at a URL."""

    url: str

    def __post_init__(self) -> None:
        self.url = absolute_url(self.url)
        self.system, self.root = open_url(self.url)
        self.local = Path(self.root) if is_local(self.system) else None

    def require_only(self, lists: set[str]) -> None:
        """Require that there are no lists but these."""
        with self._reaching("read"):
            try:
                names = {
                    path.rpartition("/")[2] for path in self.system.ls(self.root, detail=False)
                }
            except FileNotFoundError:
                return
        if any(name.endswith(".tfrecord.json") for name in names - lists):
            raise self._of_others()

    def _of_others(self) -> ConfigError:
        return ConfigError(
            f"{self.url} has shards of another data set, protocol or size: choose another --out, "
            "or delete them"
        )

    def finished(self, name: str, split: str, key: str) -> Shard | None:
        """A shard that is there and undamaged; None if it is to be written."""
        content = self._content(f"{name}.json")
        if content is None:
            return None
        try:
            entry: ShardEntry = parse_json(content, ShardEntry)
        except ValueError:
            return None  # damaged
        shard = Shard(name, split, len(entry["clips"]), entry["bytes"], entry["sha256"], "")
        if entry["key"] != key:
            raise self._of_others()
        if self._sha256(name) != shard.sha256:
            return None
        return dataclasses.replace(shard, list_sha256=sha256_of(content))

    @contextlib.contextmanager
    def writing(self, name: str) -> Iterator[Path]:
        """A new file, which gets its name at the end, or is copied to the URL."""
        with scratch_folder(unfinished_prefix(name), self.local) as scratch:
            path = scratch / name
            yield path
            with path.open("rb") as file:
                os.fsync(file.fileno())
            if self.local:
                path.replace(self.local / name)
                return
            with self._reaching("written"):
                self.system.makedirs(self.root, exist_ok=True)
                self.system.put_file(str(path), f"{self.root}/{name}")

    def put(self, name: str, content: bytes) -> None:
        """Write a small file unless it has this content."""
        if self._content(name) == content:
            return
        with self.writing(name) as path:
            path.write_bytes(content)

    def _content(self, name: str) -> bytes | None:
        with self._reaching("read"):
            return small_file(self.system, f"{self.root}/{name}")

    def _sha256(self, name: str) -> str:
        """Checksum of a file; '' if it is missing."""
        with self._reaching("read"):
            try:
                with self.system.open(f"{self.root}/{name}", "rb") as file:
                    return hashlib.file_digest(file, "sha256").hexdigest()
            except FileNotFoundError:
                return ""

    def _reaching(self, verb: str) -> contextlib.AbstractContextManager[None]:
        """Errors of a server in one line; errors of this computer's disk pass through."""
        return contextlib.nullcontext() if self.local else reaching(self.url, verb)
