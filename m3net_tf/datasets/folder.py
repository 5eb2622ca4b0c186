# SPDX-License-Identifier: Apache-2.0
"""Folder: your own sounds, as class folders or as a CSV table.

Classes: the names of the folders, or of the table's column ``label``, in alphabetical order.
Clips: every .wav, .flac, .ogg, .mp3 or .aiff file below a class folder, or every row of the table.
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
    ``group_pattern="(speaker[0-9]+)_"``.
    ``stratified-random``: 6:2:2 at random, class by class, whatever the groups: it LEAKS where
    files belong together (one recording, one speaker). Say which do, and use ``grouped``.

Layout: ``<class>/**/*.wav`` or ``<split>/<class>/**/*.wav`` in ``DATA_DIR``; or a table there
(``table="clips.csv"``) with the columns path, label and, if you like, split and group; paths are
relative to the table.
"""

import dataclasses
import re
from collections.abc import Iterator
from pathlib import Path

from m3net_tf.datasets import protocols
from m3net_tf.datasets.audio import FitRule
from m3net_tf.datasets.base import (
    SPLITS,
    AudioDataset,
    Clip,
    DatasetInfo,
    delivered,
    files_below,
    read_table,
    register,
)
from m3net_tf.errors import ConfigError, DataError

SUFFIXES = (".wav", ".flac", ".ogg", ".mp3", ".aiff", ".aif")
SPLIT_NAMES = {name: name for name in SPLITS} | {"val": "validation", "valid": "validation"}

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
    group="column group or group_pattern",
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
    group_pattern: str = "",
    fit: FitRule = "pad",
    sample_rate_hz: int = 16_000,
    clip_s: float = 1.0,
) -> AudioDataset:
    """List the clips.

    Options:
        table: CSV file in the folder; empty lists the class folders.
        group_pattern: regular expression with one bracket, searched in each clip's path.
        fit: ``pad``, ``loop`` or ``crop`` to ``clip_s``.
        sample_rate_hz: rate of delivery.
        clip_s: length of delivery.
    """
    info = delivered(INFO, fit=fit, sample_rate_hz=sample_rate_hz, clip_s=clip_s)
    clips = list(_table(root / table) if table else _folders(root))
    if not clips:
        raise DataError(
            f"{root / table}: has no clips; put sound files ({', '.join(SUFFIXES)}) into one "
            "folder for each class"
        )
    if group_pattern:
        clips = _grouped(clips, group_pattern)
    listed = all(clip.split for clip in clips)
    known = all(clip.group for clip in clips)
    if protocol == "auto":
        protocol = "listed-split" if listed else "grouped" if known else "stratified-random"
    clips = [c if c.group else dataclasses.replace(c, group=c.clip_id) for c in clips]
    notes: tuple[str, ...] = ()
    if protocol == "listed-split":
        if not listed:
            raise DataError(
                f"{root / table}: clip {next(c.clip_id for c in clips if not c.split)} has no "
                "split; give a column split or folders train, validation and test"
            )
        if not any(clip.split == "validation" for clip in clips):
            clips = protocols.hold_out_validation(clips, seed, protocols.HELD_OUT_SHARE)
            notes = ("validation: about a fifth of the training groups",)
    elif protocol == "grouped":
        if not known:
            raise ConfigError(
                f"folder: protocol grouped needs groups, but {root / table} gives none; "
                "add a column group or set group_pattern"
            )
        clips = protocols.grouped_split(clips, seed)
    else:
        clips = protocols.stratified_split(clips, seed)
        if known:
            notes = ("leaks: clips of one group are on both sides of this random split",)
    if not known:
        protocol += " (groups unknown)"
        notes += (
            "groups unknown: pieces of one recording may be on both sides; give groups to rule "
            "it out",
        )
    labels = tuple(sorted({clip.label for clip in clips}))
    info = dataclasses.replace(info, protocol=protocol, labels=labels, notes=notes)
    return AudioDataset(info, tuple(clips))


def _folders(root: Path) -> Iterator[Clip]:
    """Clips of class folders; the split is empty unless folders of splits stand above them."""
    folders = [path for path in sorted(root.iterdir()) if _visible(path) and path.is_dir()]
    if folders and all(folder.name in SPLIT_NAMES for folder in folders):
        for folder in folders:
            for clip in _folders(folder):
                clip_id = f"{folder.name}/{clip.clip_id}"
                yield dataclasses.replace(clip, clip_id=clip_id, split=SPLIT_NAMES[folder.name])
        return
    for folder in folders:
        files = [path for path in files_below(folder, SUFFIXES) if _visible(path)]
        if not files:
            raise DataError(
                f"{folder}: class has no sound file; add some ({', '.join(SUFFIXES)}) or remove "
                "the folder"
            )
        for path in files:
            yield Clip(path.relative_to(root).as_posix(), folder.name, "", "", path)


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
    found = []
    for clip in clips:
        match = expression.search(clip.clip_id)
        if match is None or not match[1]:
            raise DataError(
                f"{clip.path}: group_pattern {pattern!r} finds no group in {clip.clip_id!r}; "
                "correct the pattern or the name"
            )
        found.append(dataclasses.replace(clip, group=match[1]))
    return found


def _visible(path: Path) -> bool:
    return not path.name.startswith(".")
