# SPDX-License-Identifier: Apache-2.0
"""Speed of shards: from sound files to shards, and from shards to sound and to features."""

from __future__ import annotations

import dataclasses
import os
import tempfile
import time
from pathlib import Path

import numpy as np

from m3net_tf.audio.datasets import load_dataset
from m3net_tf.audio.frontend import frontend_preset
from m3net_tf.audio.shards.files import file_sha256
from m3net_tf.audio.shards.index import NOISE
from m3net_tf.audio.shards.stream import clip_stream
from m3net_tf.audio.shards.writing import write_shards
from m3net_tf.lab.studies.machine import load_average
from m3net_tf.system.artifacts import Provenance, provenance
from m3net_tf.system.keras import tf
from m3net_tf.system.progress import Log, silent
from m3net_tf.training.sections import DatasetSection
from m3net_tf.training.waves import feature_stream

_BATCH = 64


class ShardSpeed(Provenance):
    """Speed of shards on a local disk.

    Attributes:
        dataset: name of the data set.
        clips: number of clips; all are written, and the training clips read.
        clip_s: length of a clip in seconds.
        cores: processor cores.
        load_average: load average over 1, 5 and 15 minutes before the timing.
        bytes_per_clip: size of the clips' shards divided by the clips.
        clips_per_s: clips per second of ``write``, ``check`` (SHA-256), ``read`` (in a shuffled
            order) and ``features`` (the same, through the front end of the boards).
    """

    dataset: str
    clips: int
    clip_s: float
    cores: int | None
    load_average: list[float]
    bytes_per_clip: float
    clips_per_s: dict[str, float]


def run_bench_shards(
    name: str, data_dir: Path | None = None, *, clips_per_shard: int = 256, log: Log = silent
) -> ShardSpeed:
    """Write a data set as shards into a temporary folder, and read its training clips.

    Args:
        name: data set.
        data_dir: its folder.
        clips_per_shard: clips in each shard.
        log: receives progress.

    Raises:
        DataError: the data are missing or broken.
    """
    dataset, before = load_dataset(name, data_dir), load_average()
    config = frontend_preset("mcu", sample_rate_hz=dataset.info.sample_rate_hz)
    trained, samples = len(dataset.split("train")), dataset.info.clip_samples
    seconds = {}
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        section = dataclasses.asdict(DatasetSection(name))
        shards = write_shards(dataset, section, folder, clips_per_shard, log)
        clips = sum(shard.clips for shard in shards.files)
        of_clips = [shard for shard in shards.files if shard.split != NOISE]
        seconds["write"] = (time.perf_counter() - start) / clips
        start = time.perf_counter()
        for shard in shards.files:
            file_sha256(Path(folder) / shard.file)
        seconds["check"] = (time.perf_counter() - start) / clips
        waves = clip_stream(shards, samples, np.ones(trained, np.int64), seed=[0, 0])
        features = feature_stream(waves, dataset, config, None, tf.constant([0, 0]), _BATCH)
        for route, stream in (("read", waves.batch(_BATCH)), ("features", features)):
            seconds[route] = _seconds_per_batch(stream, max(1, trained // _BATCH)) / _BATCH
    return {
        "dataset": name,
        "clips": clips,
        "clip_s": dataset.info.clip_s,
        "cores": os.cpu_count(),
        "load_average": before,
        "bytes_per_clip": round(sum(shard.bytes for shard in of_clips) / len(dataset.clips), 1),
        "clips_per_s": {route: round(1 / value, 1) for route, value in seconds.items()},
        **provenance(),
    }


def _seconds_per_batch(stream: tf.data.Dataset, batches: int) -> float:
    """Seconds of a batch after the first one, which fills the buffers."""
    rows = iter(stream.take(batches + 1))
    next(rows)
    start = time.perf_counter()
    count = sum(1 for _ in rows)
    return (time.perf_counter() - start) / count
