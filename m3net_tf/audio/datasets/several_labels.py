# SPDX-License-Identifier: Apache-2.0
"""Clips with several labels: files with the same bytes are one clip, with the labels of all."""

import dataclasses
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

from m3net_tf.audio.datasets.clips import Clip
from m3net_tf.audio.datasets.dataset import READERS
from m3net_tf.audio.datasets.windows import silent_files
from m3net_tf.audio.frontend.store import content_hashes
from m3net_tf.system.errors import DataError
from m3net_tf.system.progress import Log, silent, track
from m3net_tf.system.words import counted, in_words

_AT_ONCE = 256  # files between two lines on the progress


def same_content(paths: Iterable[Path], log: Log = silent) -> list[list[Path]]:
    """Files that have the same bytes, together; only files of equal size are read.

    Raises:
        DataError: a file cannot be read.
    """
    of_size: defaultdict[int, list[Path]] = defaultdict(list)
    for path in filter(Path.is_file, dict.fromkeys(paths)):
        of_size[path.stat().st_size].append(path)
    alike = [path for twins in of_size.values() if len(twins) > 1 for path in twins]
    of_content: defaultdict[str, list[Path]] = defaultdict(list)
    with track(log, "repeated sounds", len(alike), "files") as task:
        for start in range(0, len(alike), _AT_ONCE):
            hashes = content_hashes(alike[start : start + _AT_ONCE], READERS)
            for path, content in hashes.items():
                of_content[content].append(path)
                task.advance()
    return [twins for twins in of_content.values() if len(twins) > 1]


def with_all_labels(
    clips: Sequence[Clip], files: Sequence[Sequence[Path]] | None = None
) -> list[Clip]:
    """The clips, of which files with the same bytes and other labels are one clip with all labels.

    A clip's labels begin with its rarest one, by which the protocols divide a class among the
    splits: a common class has other clips for each of them. Files without sound stay apart, because
    they have the same bytes whatever they were recorded for; so do copies of the same class.

    Args:
        files: result of :func:`same_content` for the clips; None computes it.

    Raises:
        DataError: files that would be one clip are in several splits or groups, or a file cannot be
            read.
    """
    if files is None:
        files = same_content(clip.path for clip in clips if clip.path)
    silent = silent_files([twins[0] for twins in files])
    first = {path: twins[0] for twins in files if twins[0] not in silent for path in twins}
    of_content: defaultdict[Path | str, list[Clip]] = defaultdict(list)
    for clip in clips:
        of_content[first.get(clip.path, clip.path) if clip.path else clip.clip_id].append(clip)
    joined = [clip for of in of_content.values() for clip in _joined(of)]
    sizes = Counter(label for clip in joined for label in clip.labels)
    ranked = [sorted(clip.labels, key=lambda label: (sizes[label], label)) for clip in joined]
    return [
        dataclasses.replace(clip, label=labels[0], labels=tuple(labels))
        for clip, labels in zip(joined, ranked, strict=True)
    ]


def _joined(clips: Sequence[Clip]) -> list[Clip]:
    """The first of some clips of the same sound, with the labels of all; all if these are equal."""
    if len({frozenset(clip.all_labels) for clip in clips}) == 1:
        return [dataclasses.replace(clip, labels=clip.all_labels) for clip in clips]
    for part in ("split", "group"):
        names = sorted({getattr(clip, part) for clip in clips})
        if len(names) > 1:
            shown = in_words(dict.fromkeys(str(clip.path) for clip in clips))
            raise DataError(
                f"{shown}: are the same sound, but in the {part}s {in_words(map(repr, names))}: "
                "put them into one, or delete one"
            )
    labels = dict.fromkeys(label for clip in clips for label in clip.all_labels)
    return [dataclasses.replace(clips[0], labels=tuple(labels))]


def have_several(clips: Iterable[Clip]) -> list[Clip]:
    """The clips that have several labels."""
    return [clip for clip in clips if len(clip.labels) > 1]


def several_labels_line(clips: Sequence[Clip]) -> str:
    """A sentence on the clips that have several labels; '' if none has."""
    several = have_several(clips)
    if not several:
        return ""
    labels = in_words(map(repr, sorted(several[0].labels)))
    return (
        f"several labels: {len(several)} of {counted(len(clips), 'clip')}, such as "
        f"{several[0].clip_id} ({labels}): the network gets a sigmoid for each class, mAP measures "
        "it, and each class has its own threshold; if that is a mistake, remove the wrong label "
        "and run m3net init again"
    )
