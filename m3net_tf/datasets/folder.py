# SPDX-License-Identifier: Apache-2.0
"""Folder: your own sounds, as class folders or as a CSV table.

Classes: the names of the folders, or of the table's column ``label``, in alphabetical order; with
    silence (below) also ``_silence_``.
Clips: every .wav, .flac, .ogg, .mp3 or .aiff file below a class folder, or every row of the table;
    nothing hidden (``.venv``).
Rate: any; delivered mono at ``sample_rate_hz`` (16 kHz, soxr) in ``clip_s`` (1 s).
Licence: yours.
Citation: none.
Size: yours.
Protocols:
    ``auto`` (default): the first of the following that the data allow.
    ``listed-split``: the table's column ``split`` (train, validation, test), or folders of these
    names above the class folders.
    ``grouped``: 6:2:2 at random, whole groups. A group is the table's column ``group``, or what
    the first bracket of the regular expression ``group_pattern`` matches in the path, such as
    ``group_pattern="(speaker[0-9]+)_"``; ``m3net data check folder --suggest`` guesses one.
    ``stratified-random``: 6:2:2 at random, class by class, whatever the groups: it LEAKS where
    files belong together (one recording, one speaker). Say which do, and use ``grouped``.

Layout: ``<class>/**/*.wav`` or ``<split>/<class>/**/*.wav`` in ``DATA_DIR``; or a table there
(``table="clips.csv"``) with the columns path, label and, if you like, split and group; paths are
relative to the table.

Silence: live detection gets silence most of its time, so it needs a class of it. Put recordings of
your background, each of ten windows or more, into ``_background_noise_/*.wav`` next to the class
folders: pieces of them become the class ``_silence_``, a tenth of the other clips in each split
(``silence_percentage``), and training mixes them into other sounds. Without such recordings
``silence_percentage=10`` makes the class of artificial noise. Classes named silence, background,
noise, unknown or other (also as ``_unknown_``) make no events in live detection.
"""

import dataclasses
import functools
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from m3net_tf.datasets import protocols
from m3net_tf.datasets.audio import FitRule
from m3net_tf.datasets.clips import SPLITS, Clip, DatasetInfo, check_number, delivered
from m3net_tf.datasets.dataset import AudioDataset
from m3net_tf.datasets.files import files_below, read_table
from m3net_tf.datasets.noise import (
    NOISE_FOLDER,
    SILENCE,
    cut_silence,
    made_silence,
    noise_parts,
    synthesise_silence,
)
from m3net_tf.datasets.protocols import UnsuitedProtocolError
from m3net_tf.datasets.registry import register
from m3net_tf.datasets.statements import UNKNOWN_GROUPS
from m3net_tf.errors import ConfigError, DataError

SUFFIXES = (".wav", ".flac", ".ogg", ".mp3", ".aiff", ".aif")
SPLIT_NAMES = {name: name for name in SPLITS} | {"val": "validation", "valid": "validation"}
SILENCE_PERCENTAGE = 10.0
_SEARCH_DEPTH = 3

INFO = DatasetInfo(
    name="folder",
    labels=(),
    sample_rate_hz=16_000,
    clip_s=1.0,
    protocols=("auto", "listed-split", "grouped", "stratified-random"),
    licence="yours",
    citation="none: your own sounds",
    url="your own folder",
    leaking_protocols=("stratified-random",),
    group="group",
    fetch_hint="put your sounds into one folder for each class",
)


@register(INFO)
def build(
    root: Path,
    *,
    protocol: str,
    fold: int | None,
    seed: int,
    table: str = "",
    classes: Sequence[str] = (),
    group_pattern: str = "",
    silence_percentage: float | None = None,
    fit: FitRule = "pad",
    sample_rate_hz: int = 16_000,
    clip_s: float = 1.0,
) -> AudioDataset:
    """List the clips.

    Options:
        table: CSV file in the folder; empty lists the class folders.
        classes: names of the class folders, as ``[yes, no]``; empty takes all folders.
        group_pattern: regular expression with one bracket, searched in each clip's path.
        silence_percentage: silence clips, in percent of the others; by default 10 where there is
            a folder ``_background_noise_``, else none.
        fit: ``pad``, ``loop`` or ``crop`` to ``clip_s``.
        sample_rate_hz: rate of delivery.
        clip_s: length of delivery.
    """
    info = delivered(INFO, fit=fit, sample_rate_hz=sample_rate_hz, clip_s=clip_s)
    clips = list(_table(root / table) if table else _folders(root, _class_names(classes)))
    if not clips:
        raise DataError(
            f"{root / table}: has no clips; put sound files ({', '.join(SUFFIXES)}) into one "
            f"folder for each class{_hint(root)}"
        )
    if group_pattern:
        clips = _grouped(clips, group_pattern)
    protocol, groups_known = _chosen_protocol(clips, protocol, root / table)
    clips = [c if c.group else dataclasses.replace(c, group=c.clip_id) for c in clips]
    clips, notes = _split(clips, protocol, seed, groups_known=groups_known)
    if protocol != "listed-split":
        _require_every_class(clips, root, protocol, seed)
    if not groups_known:
        protocol += f" {UNKNOWN_GROUPS}"
    noise = noise_parts(root / NOISE_FOLDER, info.sample_rate_hz, info.clip_samples)
    silence = _silence(clips, noise, silence_percentage, seed, info)
    labels = tuple(sorted({clip.label for clip in (*clips, *silence)}))
    info = dataclasses.replace(
        info, protocol=protocol, labels=labels, notes=notes, groups_known=groups_known
    )
    return AudioDataset(
        info,
        (*clips, *silence),
        synthesise=functools.partial(synthesise_silence, info.clip_samples),
        noise=tuple(clip for clip in noise if clip.split == "train"),
    )


def _chosen_protocol(clips: list[Clip], protocol: str, source: Path) -> tuple[str, bool]:
    """The protocol, in place of ``auto`` one that suits the clips, and whether groups are known."""
    listed = _column_is_full(clips, "split", source) if protocol == "auto" else None
    if listed is None:
        listed = all(clip.split for clip in clips)
    groups_known = _column_is_full(clips, "group", source)
    if protocol == "auto":
        protocol = "listed-split" if listed else "grouped" if groups_known else "stratified-random"
    if protocol == "listed-split" and not listed:
        unlisted = next(clip.clip_id for clip in clips if not clip.split)
        raise UnsuitedProtocolError(
            f"{source}: clip {unlisted} has no split; give a column split or folders train, "
            "validation and test"
        )
    if protocol == "grouped" and not groups_known:
        raise UnsuitedProtocolError(
            f"folder: protocol grouped needs groups, but {source} gives none; "
            "add a column group or set group_pattern"
        )
    return protocol, groups_known


def _split(
    clips: list[Clip], protocol: str, seed: int, *, groups_known: bool
) -> tuple[list[Clip], tuple[str, ...]]:
    """The clips with the splits of a protocol that suits them, and notes on how."""
    unknown = (
        "groups unknown: clips of one speaker or recording may be on both sides; set group_pattern "
        "to rule it out (m3net data check folder --suggest guesses it)",
    )
    notes = () if groups_known else unknown
    if protocol == "grouped":
        return protocols.grouped_split(clips, seed), notes
    if protocol == "stratified-random":
        if groups_known:
            notes = ("stratified-random leaks: clips of one group are on both sides",)
        return protocols.stratified_split(clips, seed), notes
    if not any(clip.split == "validation" for clip in clips):
        clips = protocols.hold_out_validation(clips, seed, protocols.HELD_OUT_SHARE)
        notes = ("validation: about a fifth of the training groups", *notes)
    return clips, notes


def _require_every_class(clips: list[Clip], root: Path, protocol: str, seed: int) -> None:
    """Refuse a drawn split in which a class is trained but not tested, or the other way round."""
    for label in sorted({clip.label for clip in clips}):
        own = [clip for clip in clips if clip.label == label]
        counts = {split: sum(clip.split == split for clip in own) for split in SPLITS}
        if all(counts.values()):
            continue
        groups = len({clip.group for clip in own})
        by_group = protocol == "grouped"
        having = f"{len(own)} clips" + (f" of {groups} groups" if by_group else "")
        enough = groups > 3 if by_group else len(own) > 3
        remedy = (
            "try another dataset.seed"
            if enough
            else f"give it more{' groups' if by_group else ''} (4 at least), or remove it"
        )
        numbers = ", ".join(f"{count} {split}" for split, count in counts.items())
        raise DataError(
            f"{root}: class {label!r} has {having}, which leaves {numbers} under protocol "
            f"{protocol}, seed {seed}: {remedy}"
        )


def _silence(
    clips: list[Clip], noise: list[Clip], percentage: float | None, seed: int, info: DatasetInfo
) -> list[Clip]:
    """The class ``_silence_``: cut out of the noise files, made where there are none."""
    if percentage is None:
        percentage = SILENCE_PERCENTAGE if noise else 0.0
    check_number("folder", "silence_percentage", percentage, 0, 1000, whole=False)
    if percentage and any(clip.label == SILENCE for clip in clips):
        raise ConfigError(
            f"folder: there is a class {SILENCE} already; set silence_percentage to 0, or rename "
            "that class"
        )
    silence: list[Clip] = []
    for split in SPLITS:
        count = round(sum(clip.split == split for clip in clips) * percentage / 100)
        salt = seed if split == "train" else 0  # what is held out is the same for every seed
        if noise:
            silence += cut_silence(noise, split, count, salt, info.sample_rate_hz, info.clip_s)
        else:
            silence += made_silence(split, count, salt)
    return silence


def _column_is_full(clips: list[Clip], column: str, where: Path) -> bool:
    """Whether all clips have a split or group; some is a mistake that would pass unseen."""
    lacking = [clip for clip in clips if not getattr(clip, column)]
    if lacking and len(lacking) < len(clips):
        raise DataError(
            f"{where}: {len(lacking)} of {len(clips)} clips have no {column}, such as "
            f"{lacking[0].clip_id}; fill the column {column}, or leave it out"
        )
    return not lacking


def _class_names(classes: Sequence[str]) -> tuple[str, ...]:
    names = [classes] if isinstance(classes, str) else classes
    if not isinstance(names, list | tuple) or not all(isinstance(name, str) for name in names):
        raise ConfigError(f"folder: classes is {classes!r}; give names of folders, as [yes, 'no']")
    return tuple(name for name in names if name)


def _folders(root: Path, classes: tuple[str, ...] = ()) -> Iterator[Clip]:
    """Clips of class folders; the split is empty unless folders of splits stand above them."""
    folders = _subfolders(root)
    if folders and all(folder.name in SPLIT_NAMES for folder in folders):
        for folder in folders:
            for clip in _class_folders(folder, _subfolders(folder), classes):
                clip_id = f"{folder.name}/{clip.clip_id}"
                yield dataclasses.replace(clip, clip_id=clip_id, split=SPLIT_NAMES[folder.name])
        return
    if not classes:
        _require_class_folders(root, folders)
    yield from _class_folders(root, folders, classes)


def _class_folders(root: Path, folders: list[Path], classes: tuple[str, ...]) -> Iterator[Clip]:
    missing = set(classes) - {folder.name for folder in folders}
    if missing:
        raise DataError(f"{root}: has no class folder {min(missing)!r}; correct option classes")
    for folder in folders:
        if classes and folder.name not in classes:
            continue
        files = _sounds(folder)
        if not files:
            raise DataError(
                f"{folder}: class has no sound file; add some ({', '.join(SUFFIXES)}), remove the "
                f"folder, or name the class folders by option classes{_hint(root)}"
            )
        for path in files:
            yield Clip(path.relative_to(root).as_posix(), folder.name, "", "", path)


def _subfolders(folder: Path) -> list[Path]:
    """Folders in a folder that may be classes, sorted."""
    return [
        path
        for path in sorted(folder.iterdir())
        if _visible(path) and path.is_dir() and path.name != NOISE_FOLDER
    ]


def _sounds(folder: Path, *, deep: bool = True) -> list[Path]:
    """Sound files of a folder and those below it, nothing hidden, sorted."""
    if not deep:
        return [p for p in sorted(folder.iterdir()) if p.suffix.lower() in SUFFIXES and _visible(p)]
    return [
        path
        for path in files_below(folder, SUFFIXES)
        if not any(part.startswith(".") for part in path.relative_to(folder).parts)
    ]


def _require_class_folders(root: Path, folders: list[Path]) -> None:
    """Refuse a folder that holds data sets, whose classes would be taken for one class each.

    Class folders without a file of their own hold folders of speakers or recordings, whose names
    come again from class to class. Where they do not, the folder is probably one level too high.
    """
    if any(_sounds(folder, deep=False) for folder in folders):
        return
    inside = [
        {path.name for path in _subfolders(folder) if _sounds(path, deep=False)}
        for folder in folders
    ]
    names = Counter(name for part in inside for name in part)
    shared = sum(count for count in names.values() if count > 1)
    if all(inside) and shared >= names.total() / 2:
        return
    candidates = _data_sets_below(root)
    if candidates:
        raise DataError(
            f"{root}: is not a folder of class folders: none of them has sounds of its own. "
            f"{_named(candidates)} to be the data set: give DATA_DIR={candidates[0]}; or, if the "
            "folders here are the classes, name them by option classes"
        )


def _data_sets_below(root: Path) -> list[Path]:
    """Folders below a folder that look like data sets: two folders or more with sounds in them."""
    level, candidates = [root], []
    for _ in range(_SEARCH_DEPTH):
        level = [path for folder in level for path in _subfolders(folder)]
        candidates += [
            folder
            for folder in level
            if sum(bool(_sounds(path, deep=False)) for path in _subfolders(folder)) > 1
        ]
    return candidates


def _hint(root: Path) -> str:
    candidates = _data_sets_below(root)
    if not candidates:
        return ""
    return f"; {_named(candidates)} to be a data set: DATA_DIR={candidates[0]}"


def _named(folders: list[Path]) -> str:
    shown = " and ".join(map(str, folders[:3])) + (" and others" if len(folders) > 3 else "")
    return f"{shown} {'seems' if len(folders) == 1 else 'seem'}"


def _table(path: Path) -> Iterator[Clip]:
    """Clips of a table; split and group are empty where it has no such column."""
    for line, row in enumerate(read_table(path, ("path", "label")), start=2):
        split = row.get("split", "")
        if not row["path"] or not row["label"] or (split and split not in SPLIT_NAMES):
            raise DataError(
                f"{path}: line {line} has no path, no label or an unknown split {split!r}; "
                f"splits are {', '.join(SPLITS)}"
            )
        file_path = path.parent / row["path"]
        if not file_path.is_file():
            raise DataError(f"{file_path}: is in {path.name} but missing; correct the table")
        split = SPLIT_NAMES.get(split, "")
        yield Clip(row["path"], row["label"], split, row.get("group", ""), file_path)


def _grouped(clips: list[Clip], pattern: str) -> list[Clip]:
    """The clips with the groups that a regular expression finds in their names."""
    try:
        expression = re.compile(pattern)
    except re.error as error:
        raise ConfigError(
            f"folder: group_pattern {pattern!r} is no regular expression ({error}); correct it"
        ) from None
    if expression.groups < 1:
        raise ConfigError(
            f"folder: group_pattern {pattern!r} has no brackets; put them around what names the "
            "group"
        )
    grouped = []
    for clip in clips:
        match = expression.search(clip.clip_id)
        if match is None or not match[1]:
            raise DataError(
                f"{clip.path}: group_pattern {pattern!r} finds no group in {clip.clip_id!r}; "
                "correct the pattern or the name"
            )
        grouped.append(dataclasses.replace(clip, group=match[1]))
    return grouped


def _visible(path: Path) -> bool:
    return not path.name.startswith(".")
