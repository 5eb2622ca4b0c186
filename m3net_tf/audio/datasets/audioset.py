# SPDX-License-Identifier: Apache-2.0
"""AudioSet: 527 kinds of sound in ten-second excerpts of videos; a clip may have several.

Classes: 527, in the order of ``class_labels_indices.csv``; multi-label, scored by mean average
    precision.
Clips: 22 160 in the balanced training list, 2 041 789 in the unbalanced one, 20 371 in the
    evaluation list; fewer exist today because videos are removed.
Rate: as your files have it; delivered mono at 16 kHz (soxr).
Licence: CC BY 4.0 for the lists and labels; the videos' owners hold the rights to the sounds.
Citation: J. F. Gemmeke et al., "Audio Set: An ontology and human-labeled dataset for audio
    events", ICASSP 2017.
Size: the publisher gives lists only; 10 s at 16 kHz and 16 bit are 320 kB.
Protocol: ``official-split``: the training lists of ``subset`` train, the evaluation list tests. The
    publisher has no validation split: a tenth of the training videos, drawn by a hash of their
    names and the seed, validates. Group = video.
Download: by hand; the program downloads nothing from video sites. Figures hold for your copy only:
    the protocol's name says how many of the listed clips it contains.

Layout: ``class_labels_indices.csv``, ``balanced_train_segments.csv``,
``unbalanced_train_segments.csv`` (for ``subset="unbalanced"`` or ``"both"``) and
``eval_segments.csv`` in ``DATA_DIR``, and sound files anywhere below it, named after the video:
``<id>``, ``Y<id>`` or either with ``_<start>`` (and ``_<end>``) in seconds or milliseconds, ending
in .wav, .flac, .ogg or .mp3. A file contains only the listed excerpt.
"""

import csv
import dataclasses
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from m3net_tf.audio.datasets.clips import Clip, DatasetInfo, counted_copy
from m3net_tf.audio.datasets.dataset import AudioDataset
from m3net_tf.audio.datasets.files import SUFFIXES, files_below, find_root
from m3net_tf.audio.datasets.protocols import rank
from m3net_tf.audio.datasets.registry import register
from m3net_tf.system.errors import DataError
from m3net_tf.system.text_tables import read_table

CLASSES, VALIDATION_SHARE = 527, 0.1
VOCABULARY = "class_labels_indices.csv"
LISTS = {
    "balanced": "balanced_train_segments.csv",
    "unbalanced": "unbalanced_train_segments.csv",
    "evaluation": "eval_segments.csv",
}
SUBSETS = {
    "balanced": ("balanced",),
    "unbalanced": ("unbalanced",),
    "both": ("balanced", "unbalanced"),
}
STEM = re.compile(r"Y?(?P<video>[\w-]{11})(?:_(?P<start>[\d.]+))?(?:_[\d.]+)?")

INFO = DatasetInfo(
    name="audioset",
    labels=(),
    sample_rate_hz=16_000,
    clip_s=10.0,
    protocols=("official-split",),
    licence="CC BY 4.0 (lists and labels)",
    citation="J. F. Gemmeke et al., Audio Set: An ontology and human-labeled dataset for audio "
    "events, ICASSP 2017",
    url="https://research.google.com/audioset/download.html",
    clips=2_084_320,
    group="video",
    multi_label=True,
    class_count=CLASSES,
    fetch_hint="download the four CSV lists from the site and collect the clips yourself",
)


@register(INFO, adjustable=("fit", "sample_rate_hz"))
def build(
    info: DatasetInfo,
    root: Path,
    seed: int,
    *,
    subset: Literal["balanced", "unbalanced", "both"] = "balanced",
) -> AudioDataset:
    """List the clips.

    Options:
        subset: training lists, ``balanced``, ``unbalanced`` or ``both``.
    """
    root = find_root(root, VOCABULARY)
    vocabulary = read_table(root / VOCABULARY, ("mid", "display_name"))
    name_of = {row["mid"]: row["display_name"] for row in vocabulary}
    files = _files(root)
    clips, listed = [], 0
    for part in (*SUBSETS[subset], "evaluation"):
        for video, start_s, mids, location in _segments(root / LISTS[part]):
            listed += 1
            path = files.get((video, round(start_s))) or files.get((video, None))
            if path is None:
                continue
            unknown = [mid for mid in mids if mid not in name_of]
            if unknown:
                raise DataError(
                    f"{location} has the class {unknown[0]!r}, which is not in "
                    f"{VOCABULARY}; fetch both lists again"
                )
            labels = tuple(name_of[mid] for mid in mids)
            draw = int(rank((seed, video))[:8], 16) / 16**8
            split = "validation" if draw < VALIDATION_SHARE else "train"
            split = "test" if part == "evaluation" else split
            clip_id, group = f"{video}_{start_s:g}", f"video {video}"
            clips.append(Clip(clip_id, labels[0], split, group, path, labels=labels))
    if not clips:
        raise DataError(
            f"{root}: has no sound file of the listed videos; "
            "put the clips, named by their video, into this folder"
        )
    info = dataclasses.replace(
        info,
        protocol=f"{info.protocol} ({subset})",
        labels=tuple(name_of.values()),
        notes=("validation: a tenth of the training videos",),
    )
    info = counted_copy(info, len(clips), listed)
    return AudioDataset(info, tuple(clips))


def _files(root: Path) -> dict[tuple[str, int | None], Path]:
    """Map (video, start in seconds or None) to the sound file below the folder."""
    files: dict[tuple[str, int | None], Path] = {}
    for path in files_below(root, SUFFIXES):
        match = STEM.fullmatch(path.stem)
        if match is None:
            continue
        start = match["start"]
        if start is None:
            files[match["video"], None] = path
            continue
        seconds = float(start)
        if "." not in start and seconds >= 1000:  # milliseconds
            seconds /= 1000
        files[match["video"], round(seconds)] = path
    return files


def _segments(path: Path) -> Iterator[tuple[str, float, list[str], str]]:
    """Video, start in seconds, class ids and location of each line of a list."""
    if not path.is_file():
        raise DataError(f"{path}: list of clips is missing; download it from {INFO.url}")
    with path.open(encoding="utf-8", errors="replace", newline="") as file:
        for line, row in enumerate(csv.reader(file, skipinitialspace=True), start=1):
            if not row or row[0].startswith("#"):
                continue
            location = f"{path}: line {line}"
            try:
                video, start, _, mids = row
                yield video, float(start), mids.split(","), location
            except ValueError:
                raise DataError(
                    f"{location} is not: video, start, end, classes; download the list again"
                ) from None
