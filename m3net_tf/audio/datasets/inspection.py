# SPDX-License-Identifier: Apache-2.0
"""What is in a folder of the user's own sounds, before anything is trained on it."""

import dataclasses
import shlex
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from m3net_tf.audio.datasets import protocols
from m3net_tf.audio.datasets.annotated import (
    AnnotatedFolder,
    annotation_lines,
    rare_labels,
    read_annotated,
    segments,
)
from m3net_tf.audio.datasets.audio import is_empty
from m3net_tf.audio.datasets.checking import read_headers
from m3net_tf.audio.datasets.clip_tables import find_table
from m3net_tf.audio.datasets.clips import Clip
from m3net_tf.audio.datasets.files import SUFFIXES, USUAL
from m3net_tf.audio.datasets.folder import grouped, listed_files
from m3net_tf.audio.datasets.grouping import Suggestion, given_groups, suggest_groups
from m3net_tf.audio.datasets.layouts import nested_folders, what_is_taken
from m3net_tf.audio.datasets.noise import NOISE_FOLDER, noise_files
from m3net_tf.audio.datasets.several_labels import (
    have_several,
    same_content,
    several_labels_line,
    with_all_labels,
)
from m3net_tf.audio.datasets.tables import Table
from m3net_tf.audio.datasets.unused import similar_names, unused_lines
from m3net_tf.system.errors import ConfigError, DataError
from m3net_tf.system.progress import Log, silent
from m3net_tf.system.words import counted, in_words

_SHOWN = 3
_LONG_S = 30.0
UNEVEN = 3.0


@dataclasses.dataclass(frozen=True)
class ClassSounds:
    """Sounds of one class.

    Attributes:
        clips: number of its clips, the unreadable ones included.
        lengths_s: shortest, median and longest length of the readable files.
    """

    clips: int
    unreadable: int
    lengths_s: tuple[float, float, float]
    total_s: float


@dataclasses.dataclass(frozen=True)
class FolderSounds:
    """A folder of class folders, or of annotated recordings.

    Attributes:
        clips: number of clips; one of several labels is in each of their classes.
        several_labels: number of clips with several labels.
        length_95_s: length that 95 % of the readable files do not exceed.
        unreadable: reasons why files cannot be read, each of which names its file.
        repeated: names of files with the same content, together.
        groups: speakers or recordings as given, or as guessed from the names; None without a guess.
        noise: whether there are background recordings.
        split: whether folders or a table divide the clips.
        table: table in the folder that lists the clips; '' if folders name the classes.
        listed: whether folders or a table give splits, folds or groups.
        rare: labels of annotated recordings that are too rare to train, validate and test.
        rest_s: seconds of annotated recordings between the annotations; None for other folders.
        taken: sentences on how folders and tables are understood.
        remarks: sentences on files that are not used, similar names and long recordings.
    """

    folder: Path
    clips: int
    several_labels: int
    classes: dict[str, ClassSounds]
    length_95_s: float
    longest_s: float
    rates_hz: dict[int, int]
    unreadable: tuple[str, ...]
    repeated: tuple[tuple[str, ...], ...]
    groups: Suggestion | None
    noise: bool
    split: bool
    table: str
    listed: bool
    rest_s: float | None
    rare: tuple[str, ...]
    taken: tuple[str, ...]
    remarks: tuple[str, ...]

    @property
    def imbalance(self) -> float:
        """Clips of the largest class per clip of the smallest one."""
        counts = [sounds.clips for sounds in self.classes.values()]
        return max(counts) / min(counts)

    def to_dict(self) -> dict[str, object]:
        """Plain values, for JSON."""
        return {**dataclasses.asdict(self), "folder": str(self.folder)}


def inspect_folder(folder: Path, group_pattern: str = "", log: Log = silent) -> FolderSounds:
    """Read the names and headers of all sounds below a folder of class folders.

    Raises:
        DataError: the folder is missing or has no class folders with sounds, or the pattern finds
            no group in a name.
        ConfigError: the pattern is not a regular expression with a group.
    """
    if not folder.is_dir():
        raise DataError(f"{folder}: is not a folder; name one that has a folder for each class")
    found, refused = _annotated(folder)
    if found:
        table, taken = "", [*annotation_lines(found), *_rare_lines(found)]
        clips = segments(found.recordings)
    else:
        table, taken = find_table(folder, SUFFIXES)
        taken += [line for line in refused if not table or not line.startswith(f"{table} ")]
        clips = _listed(folder, table, taken)
    noise = set(noise_files(folder / NOISE_FOLDER))
    used = {Path(str(clip.path)) for clip in clips} | noise | ({folder / table} if table else set())
    used |= set(found.tables) if found else set()
    clips, empty = _with_samples(clips)
    several = 0
    files = same_content((Path(str(clip.path)) for clip in clips), log)
    if not found and have_several(labelled := with_all_labels(clips, files)):
        clips, several = labelled, len(have_several(labelled))
        taken.append(several_labels_line(clips))
    headers, unreadable = read_headers(clips, log)
    if not headers:
        raise DataError(f"{next(iter(unreadable.values()))}; none of the {len(clips)} can be read")
    header_of = {clip.path: headers[clip.clip_id] for clip in clips if clip.clip_id in headers}
    readable = [clip for clip in clips if clip.path in header_of]
    lengths_s = {
        clip.clip_id: header_of[clip.path].duration if clip.duration_s is None else clip.duration_s
        for clip in readable
    }
    classes = {
        label: _class_sounds([clip for clip in clips if label in clip.all_labels], lengths_s)
        for label in sorted({label for clip in clips for label in clip.all_labels})
    }
    inner = "" if table or found else nested_folders(clips)
    listed = all(clip.split for clip in clips) or all(clip.group for clip in clips)
    groups = None if listed else _guess(clips)
    if group_pattern and found:
        raise ConfigError("--group-pattern: annotated recordings are the groups; leave it out")
    if group_pattern:
        groups = given_groups(*grouped(clips, group_pattern), group_pattern)
    return FolderSounds(
        folder=folder,
        clips=len(clips),
        several_labels=several,
        classes=classes,
        length_95_s=float(np.percentile([*lengths_s.values()], 95, method="higher")),
        longest_s=max(lengths_s.values()),
        rates_hz=dict(Counter(int(header.samplerate) for header in headers.values()).most_common()),
        unreadable=tuple(unreadable.values()),
        repeated=_repeated(readable, files),
        groups=groups,
        noise=bool(noise),
        split=all(clip.split for clip in clips),
        table=table,
        listed=listed,
        rest_s=found.rest_s if found else None,
        rare=tuple(rare_labels(found.recordings)) if found else (),
        taken=tuple(filter(None, [*taken, "" if found else what_is_taken(clips, table), inner])),
        remarks=(
            *empty,
            *unused_lines(folder, used | _without(found)),
            *similar_names(classes),
            *_one_recording(clips, classes, lengths_s),
        ),
    )


def _annotated(folder: Path) -> tuple[AnnotatedFolder | None, list[str]]:
    """The annotated recordings, if they are most of the sounds, or the only way to read them.

    Returns:
        None if they are not taken, and sentences on tables that are not read.
    """
    try:
        found = read_annotated(folder)
    except DataError as error:
        if not _is_listed_otherwise(folder):
            raise
        return None, [f"annotations are not read: {error}"]
    few = len(found.recordings) < len(found.without)
    if not found.recordings:
        return None, [*found.remarks]
    if few and _is_listed_otherwise(folder):
        return None, [
            f"annotations of {counted(len(found.recordings), 'sound')}, such as "
            f"{found.recordings[0].name}, are not read: {len(found.without)} sounds have none"
        ]
    return found, []


def _is_listed_otherwise(folder: Path) -> bool:
    """Whether class folders or a table list the sounds of a folder."""
    try:
        table = find_table(folder, SUFFIXES)[0]
        return bool(listed_files(folder, table, several_labels=bool(table)))
    except DataError:
        return False


def _rare_lines(found: AnnotatedFolder) -> list[str]:
    """A sentence on the labels that are too rare; none where all are, which loading reports."""
    rare = rare_labels(found.recordings)
    if not rare or len(rare) == len({e.label for of in found.recordings for e in of.events}):
        return []
    shown = [f"{label!r} ({numbers})" for label, numbers in rare.items()][:_SHOWN]
    return [
        f"rare: {counted(len(rare), 'label')}, such as {in_words(shown)}, left out by option "
        "classes: annotate eight segments or more in three recordings or more, and run init again"
    ]


def _without(found: AnnotatedFolder | None) -> set[Path]:
    """Recordings without annotations, on which there is a sentence."""
    return set(found.without) if found else set()


def _listed(folder: Path, table: str, taken: Sequence[str]) -> list[Clip]:
    """The clips of a table or of class folders, at least one."""
    try:
        clips = listed_files(folder, table, several_labels=bool(table))
    except DataError as error:
        raise DataError("; ".join([str(error), *taken])) from None
    if not clips:
        said = (
            f"{folder}: has no sounds; put sound files ({USUAL}) into one folder for each class, "
            "or label files beside long recordings"
        )
        raise DataError("; ".join([said, *taken]))
    return clips


def _guess(clips: Sequence[Clip]) -> Suggestion | None:
    """The best guess of the groups; a weak one only if its groups leave enough for training."""
    for guess in suggest_groups(clips)[:1]:
        members, odd = grouped(clips, guess.pattern)
        shortage = protocols.training_shortage(protocols.grouped_split(members, seed=0))
        if guess.likely or not shortage:
            return given_groups(members, odd, guess.pattern, guess.score)
    return None


def _with_samples(clips: Sequence[Clip]) -> tuple[list[Clip], list[str]]:
    """The clips whose files have samples, and a sentence on the others."""
    empty = [clip for clip in clips if is_empty(Path(str(clip.path)))]
    kept = [clip for clip in clips if clip not in empty]
    if not kept:
        raise DataError(f"{empty[0].path}: has no samples, like all {counted(len(clips), 'file')}")
    lines = [
        f"empty: {counted(len(empty), 'file')} without samples, such as {clip.clip_id}: left out"
        for clip in empty[:1]
    ]
    return kept, lines


def _one_recording(
    clips: Sequence[Clip], classes: dict[str, ClassSounds], lengths_s: dict[str, float]
) -> list[str]:
    """Sentences on classes of which most is in one long file."""
    lines = []
    for label, of in classes.items():
        longest_s = of.lengths_s[-1]
        if longest_s < _LONG_S or longest_s < of.total_s / 2:
            continue
        name = next(
            clip.clip_id
            for clip in clips
            if label in clip.all_labels and lengths_s.get(clip.clip_id) == longest_s
        )
        lines.append(
            f"one recording: {name} has {100 * longest_s / of.total_s:.0f} % of class {label!r} "
            f"({longest_s / 60:.1f} minutes). Its pieces cannot both train and test: record the "
            "class again, at another time and place"
        )
    return lines


def _class_sounds(clips: Sequence[Clip], lengths_s: dict[str, float]) -> ClassSounds:
    lengths = np.array([lengths_s[c.clip_id] for c in clips if c.clip_id in lengths_s] or [0.0])
    return ClassSounds(
        clips=len(clips),
        unreadable=sum(clip.clip_id not in lengths_s for clip in clips),
        lengths_s=(float(lengths.min()), float(np.median(lengths)), float(lengths.max())),
        total_s=float(lengths.sum()),
    )


def _repeated(
    clips: Sequence[Clip], files: Sequence[Sequence[Path]]
) -> tuple[tuple[str, ...], ...]:
    """Names of clips whose files have the same bytes.

    Args:
        files: result of :func:`.same_content`.
    """
    names = {clip.path: clip.clip_id for clip in clips}
    alike = (tuple(names[path] for path in twins if path in names) for twins in files)
    return tuple(twins for twins in alike if len(twins) > 1)


def sounds_table(sounds: FolderSounds) -> Table:
    """One row for each class."""
    rows = [
        (
            label,
            str(of.clips),
            f"{100 * of.clips / sounds.clips:.0f} %",
            f"{of.total_s / 60:.1f}",
            *(f"{length:.2f}" for length in of.lengths_s),
            str(of.unreadable),
        )
        for label, of in sounds.classes.items()
    ]
    columns = ("class", "clips", "share", "minutes", "shortest", "median", "longest", "unreadable")
    return Table(columns, tuple(rows))


def sounds_lines(sounds: FolderSounds) -> list[str]:
    """Sentences below :func:`sounds_table`: lengths, rates, balance, repetitions and leaks."""
    rates = ", ".join(f"{rate} Hz ({count})" for rate, count in sounds.rates_hz.items())
    lines = [
        f"{counted(sounds.clips, 'clip')}: 95 % last at most {sounds.length_95_s:.2f} s, the "
        "longest lasts "
        f"{sounds.longest_s:.2f} s",
        f"sample rates: {rates}",
    ]
    if sounds.imbalance > UNEVEN:
        lines.append(
            f"uneven: the largest class has {sounds.imbalance:.1f} times the clips of the smallest"
        )
    for names in sounds.repeated[:_SHOWN]:
        lines.append(f"same content: {', '.join(names[:_SHOWN])}: keep one of them")
    if len(sounds.repeated) > _SHOWN:
        lines.append(f"{len(sounds.repeated) - _SHOWN} more files are repeated")
    lines += sounds.remarks
    lines += [f"unreadable: {reason}" for reason in sounds.unreadable[:_SHOWN]]
    lines += sounds.taken
    if sounds.groups or not sounds.listed:
        lines.append(_leaks_line(sounds.groups))
    if sounds.groups and sounds.groups.odd:
        odd = sounds.groups.odd
        lines.append(
            f"{len(odd)} names do not fit this pattern, such as {', '.join(odd[:_SHOWN])}: each "
            "counts as a group of its own"
        )
    return lines


def _leaks_line(groups: Suggestion | None) -> str:
    """What the file names say about speakers or recordings."""
    unknown = (
        "leaks: the file names do not identify speakers or recordings. If several files come from "
        "the same one, the measured figures will be too high; give --group-pattern"
    )
    if groups is None:
        return unknown
    example = " -> ".join(groups.example)
    if groups.given:
        return f"groups: {groups.groups} by --group-pattern, as in {example}"
    if not groups.likely:
        return f"{unknown} {shlex.quote(groups.pattern)} if it is right that {example}"
    return (
        f"leaks: the file names seem to identify {groups.groups} speakers or recordings, as in "
        f"{groups.shown_examples}: check this guess, or give --group-pattern"
    )
