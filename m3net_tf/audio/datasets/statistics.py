# SPDX-License-Identifier: Apache-2.0
"""Statistics of a data set: clips per class and split, lengths and formats of the files."""

from collections import Counter
from pathlib import Path
from typing import Any, TypedDict

import numpy as np

from m3net_tf.audio.datasets.checking import read_headers
from m3net_tf.audio.datasets.clips import SPLITS
from m3net_tf.audio.datasets.dataset import AudioDataset
from m3net_tf.audio.datasets.registry import load_dataset


class FileFacts(TypedDict):
    """The clips' files; ``length_s`` has ``min``, ``median`` and ``max``."""

    count: int
    bytes: int
    hours: float
    length_s: dict[str, float]
    rates_hz: Counter[int]
    channels: Counter[int]
    formats: Counter[str]
    broken: list[str]


class Delivered(TypedDict):
    """A clip as it is delivered: its length, the rule that fits it to that, and its rate."""

    clip_s: float
    fit: str
    sample_rate_hz: int


class Statistics(TypedDict):
    """Statistics of a data set under a protocol.

    Attributes:
        classes: clips per split, by class.
        files: the files; None if the program generates the clips.
    """

    name: str
    protocol: str
    fold: int | None
    notes: tuple[str, ...]
    classes: dict[str, dict[str, int]]
    clips: dict[str, int]
    group: str
    groups: dict[str, int]
    delivered: Delivered
    files: FileFacts | None


def stats(
    name: str,
    data_dir: str | Path | None = None,
    *,
    protocol: str | None = None,
    fold: int | None = None,
    seed: int = 0,
    **options: Any,
) -> Statistics:
    """Clips per class and split, and the files' lengths, rates, channels and formats."""
    dataset = load_dataset(name, data_dir, protocol=protocol, fold=fold, seed=seed, **options)
    info = dataset.info
    counts = dataset.counts()
    splits = {split: dataset.split(split) for split in SPLITS} | {"all": dataset.clips}
    return {
        "name": name,
        "protocol": info.protocol,
        "fold": info.fold,
        "notes": info.notes,
        "classes": {label: {s: counts[s][label] for s in SPLITS} for label in info.labels},
        "clips": {split: len(clips) for split, clips in splits.items()},
        "group": info.group,
        "groups": {split: len({clip.group for clip in clips}) for split, clips in splits.items()},
        "delivered": {
            "clip_s": info.clip_s,
            "fit": info.fit,
            "sample_rate_hz": info.sample_rate_hz,
        },
        "files": _file_facts(dataset),
    }


def _file_facts(dataset: AudioDataset) -> FileFacts | None:
    """Lengths, rates, channels and formats of the clips' files, from their headers."""
    paths = {clip.path for clip in dataset.clips if clip.path}
    if not paths:
        return None
    readable, bad = read_headers(dataset.clips)
    headers = readable.values()
    lengths_s = np.array([header.duration for header in headers] or [0.0])
    return {
        "count": len(paths),
        "bytes": sum(path.stat().st_size for path in paths),
        "hours": float(lengths_s.sum() / 3600),
        "length_s": {
            "min": float(lengths_s.min()),
            "median": float(np.median(lengths_s)),
            "max": float(lengths_s.max()),
        },
        "rates_hz": Counter(header.samplerate for header in headers),
        "channels": Counter(header.channels for header in headers),
        "formats": Counter(f"{header.format} {header.subtype}" for header in headers),
        "broken": list(bad.values()),
    }
