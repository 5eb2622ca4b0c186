# SPDX-License-Identifier: Apache-2.0
"""Folder: your own sounds, as class folders, as a CSV table, or as annotated recordings.

Classes: the names of the folders, of the table's column ``label``, or of the annotations, in
    alphabetical order; with silence (below) also ``_silence_``.
Clips: every sound file that libsndfile reads (WAV, FLAC, OGG, Opus, MP3, AIFF, AU, CAF ...) below
    a class folder, every row of the table, or every annotated segment; hidden files and folders
    (``.venv``) are skipped.
Rate: any; delivered mono at ``sample_rate_hz`` (16 kHz, soxr) in ``clip_s`` (1 s).
Licence: yours.
Citation: none.
Size: yours.
Protocols:
    ``auto`` (default): the first of the following that the data allow.
    ``listed-split``: the table's column ``split`` (train, validation, test), or folders of such
    names above or below the class folders.
    ``grouped``: 6:2:2 at random, whole groups. A group is the table's column ``group``, a fold
    (column ``fold``, or folders ``fold1`` … above or below the class folders), or the
    match of the first parentheses of the regular expression ``group_pattern`` in the path, such as
    ``group_pattern="(speaker[0-9]+)_"``; ``m3net data check folder --suggest`` suggests patterns.
    ``stratified-random``: 6:2:2 at random, class by class, ignoring groups: it LEAKS if several
    files come from one recording or speaker. In that case give the groups and use ``grouped``.
    ``grouped-5fold``: five folds of whole groups (of files if no groups are known); ``fold`` tests,
    the next one validates.

Layout: ``<class>/**/*.wav``, ``<split>/<class>/**/*.wav`` or ``<class>/<split>/**/*.wav`` in
``DATA_DIR``; or a table there (``table="clips.csv"``) with the columns path, label and, optionally,
split, group or fold; paths are relative to the table or to ``DATA_DIR``.

Annotations: with ``annotations=true`` the folder has long recordings and tables that say what is
where in them: Audacity's label files and Raven's selection tables beside the recordings, or CSV
tables with the columns start, end and label, beside them or with a column file. Each segment
becomes a clip. A segment shorter than ``clip_s`` gets what is around it, and is in its middle.
``long_clips=windows`` takes longer ones window by window, and shorter ones at the beginning, middle
and end of windows. Parts at least 0.2 s away from all segments become the class ``_background_``,
at most as many clips as the largest class has, by its windows if there are some. Where segments of
several labels overlap, each is a clip with its own label alone. A recording is a group, so it is
on one side of the split; of two or three recordings one tests, and a fifth of the others' clips
validate.

Several labels: with ``several_labels=true`` a clip has all labels of its row: in columns such as
``label1`` and ``label2``; in one cell, as ``low;high`` or ``low|high`` (in a column ``labels`` also
``low,high``); in a column for each class, with 0 or 1 (a row of zeros is of ``_background_``); or
in several rows. Files with the same bytes in several class folders are one clip that has all of
these labels. The network has a sigmoid for each class. A random split divides the clips by their
rarest labels.

Silence: live detection gets silence most of the time, so it needs a class for it. Put background
recordings, each of ten windows or more, into the folder ``_background_noise_`` next to the class
folders. Excerpts become the class ``_silence_``, a tenth of the other clips in each split
(``silence_percentage``), and training mixes them into other sounds. Without such recordings
``silence_percentage=10`` creates the class from artificial noise. Classes named silence,
background, noise, unknown or other, and all between underscores, such as ``_unknown_``, trigger no
events in live detection.
A file without samples or of digital zero is not an example of a class, so it is left out, except in
a class for silence.
"""

import dataclasses
import functools
import re
import shlex
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

from m3net_tf.audio.datasets import protocols
from m3net_tf.audio.datasets.annotated import (
    AnnotatedFolder,
    annotated_clips,
    annotation_lines,
    read_annotated,
)
from m3net_tf.audio.datasets.clip_tables import EDGE_IMPULSE, listed_clips
from m3net_tf.audio.datasets.clips import SPLITS, Clip, DatasetInfo
from m3net_tf.audio.datasets.dataset import AudioDataset
from m3net_tf.audio.datasets.files import SUFFIXES, USUAL, files_below, is_visible
from m3net_tf.audio.datasets.grouping import ODD_SHARE, given_groups
from m3net_tf.audio.datasets.layouts import (
    ClassName,
    chosen_names,
    of_classes,
    what_is_taken,
    with_parts_below,
)
from m3net_tf.audio.datasets.noise import (
    NOISE_FOLDER,
    Percentage,
    noise_parts,
    silence_clips,
    synthesise_silence,
)
from m3net_tf.audio.datasets.protocols import UnsuitedProtocolError
from m3net_tf.audio.datasets.registry import register
from m3net_tf.audio.datasets.several_labels import with_all_labels
from m3net_tf.audio.datasets.split_names import folds_named, is_fold, splits_named
from m3net_tf.audio.datasets.statements import UNKNOWN_GROUPS
from m3net_tf.audio.datasets.unused import conversion
from m3net_tf.audio.datasets.windows import in_windows, silent_files
from m3net_tf.audio.labels import is_silence
from m3net_tf.system.errors import ConfigError, DataError
from m3net_tf.system.progress import Log
from m3net_tf.system.words import counted, in_words

FOLDED = "grouped-5fold"
DRAWN = ("grouped", "stratified-random")
"""Protocols that draw a split at random."""
RECORDING = "recording"
"""The group of annotated segments."""
_SEARCH_DEPTH = 3

INFO = DatasetInfo(
    name="folder",
    labels=(),
    sample_rate_hz=16_000,
    clip_s=1.0,
    protocols=("auto", "listed-split", "grouped", "stratified-random", FOLDED),
    folds={FOLDED: 5},
    licence="yours",
    citation="none: your own sounds",
    url="your own folder",
    leaking_protocols=("stratified-random",),
    group="group",
    fetch_hint="put your sounds into one folder for each class",
)


def sounds_below(folder: Path) -> list[Path]:
    """Sound files anywhere below a folder, sorted.

    Raises:
        DataError: there is none.
    """
    files = files_below(folder, SUFFIXES)
    if not files:
        raise DataError(f"{folder}: has no sound files: name a folder of sounds")
    return files


@register(INFO, adjustable=("fit", "sample_rate_hz", "clip_s"))
def build(
    info: DatasetInfo,
    root: Path,
    seed: int,
    log: Log,
    *,
    table: str = "",
    annotations: bool = False,
    classes: ClassName | tuple[ClassName, ...] = (),
    group_pattern: str = "",
    group_pattern_guessed: bool = False,
    silence_percentage: Percentage | None = None,
    long_clips: Literal["cut", "windows"] = "cut",
    several_labels: bool = False,
) -> AudioDataset:
    """List the clips.

    Options:
        table: CSV file in the folder, or Edge Impulse's ``info.labels``; empty lists the class
            folders.
        annotations: the clips are the segments that tables annotate in long recordings.
        classes: names of the classes to use, such as ``[yes, no]``; empty means all.
        group_pattern: regular expression with one pair of parentheses, searched in each path.
        group_pattern_guessed: nobody has confirmed the pattern: every figure says so.
        silence_percentage: silence clips, in percent of the others; default: 10 with a folder
            ``_background_noise_``, else none.
        long_clips: ``cut`` fits clips longer than ``clip_s`` to it by ``fit``; ``windows`` replaces
            them by half-overlapping windows, without the silent ones in training.
        several_labels: a clip may have several labels; a network then has a sigmoid for each class.
    """
    names = classes if isinstance(classes, tuple) else (classes,)
    if annotations:
        _require_alone(table, group_pattern, several_labels=several_labels)
        found = annotated_folder(root)
        segments = annotated_clips(found.recordings, info.clip_s, long_clips == "windows")
        clips, told = of_classes(segments, names, root), annotation_lines(found)
    else:
        clips, told = list_clips(root, table, names, several_labels=several_labels), []
    if not clips:
        raise DataError(
            f"{root / table}: has no clips; put sound files ({USUAL}) into one "
            f"folder for each class{_hint(root)}"
        )
    taken = "" if annotations else what_is_taken(clips, table)
    guess = ""
    odd = list[Clip]()
    if group_pattern:
        clips, odd = grouped(clips, group_pattern)
        if group_pattern_guessed:
            examples = given_groups(clips, odd, group_pattern).shown_examples
            guess = f"group_pattern {group_pattern}, as in {examples}"
    exceptions = (
        f"no group for {counted(len(odd), 'clip')}, such as {odd[0].clip_id}" if odd else ""
    )
    remarks = (*told, taken, guess and f"groups are a guess: {guess}", exceptions)
    folds = all(is_fold(clip.group) for clip in clips)
    clips, silent = _with_sound(clips, root, log)
    protocol, groups_known = _chosen_protocol(clips, info.protocol, root / table)
    clips = [c if c.group else dataclasses.replace(c, group=c.clip_id) for c in clips]
    notes: tuple[str, ...] = ()
    if annotations and protocol == "grouped":
        clips, exceptions = protocols.balanced_split(clips, seed)
        notes += (exceptions,) * bool(exceptions)
    else:
        clips, notes = _split(clips, protocol, seed, info.fold, odd, groups_known=groups_known)
    if protocol in DRAWN:
        _require_every_class(clips, root, protocol, seed, annotated=annotations)
    if not groups_known:
        protocol += f" {UNKNOWN_GROUPS}"
    if long_clips == "windows":
        clips = in_windows(clips, info.clip_s, log)
    noise = noise_parts(root / NOISE_FOLDER, info.sample_rate_hz, info.clip_samples)
    silence = silence_clips(clips, noise, silence_percentage, seed, info)
    labels = tuple(sorted({label for clip in (*clips, *silence) for label in clip.all_labels}))
    info = dataclasses.replace(
        info,
        protocol=protocol,
        labels=labels,
        notes=(*filter(None, remarks), *notes),
        group="fold" if folds else RECORDING if annotations else info.group,
        groups_known=groups_known,
        group_guess=guess,
        group_exceptions=exceptions,
        multi_label=several_labels,
    )
    return AudioDataset(
        info,
        (*clips, *silence),
        synthesise=functools.partial(synthesise_silence, info.clip_samples),
        noise=tuple(clip for clip in noise if clip.split == "train"),
        silent=silent,
    )


def _require_alone(table: str, group_pattern: str, *, several_labels: bool) -> None:
    """Refuse options beside annotations that give classes or groups, too, or several labels."""
    if several_labels:
        raise ConfigError(
            "folder: an annotated segment is a clip with its own label alone: leave out "
            "several_labels"
        )
    for name, value in (("table", table), ("group_pattern", group_pattern)):
        if value:
            raise ConfigError(
                f"folder: annotations give the classes, and the recordings are the groups: leave "
                f"out {name}"
            )


def annotated_folder(root: Path) -> AnnotatedFolder:
    """The annotated recordings below a folder, at least one.

    Raises:
        DataError: there is none, or as :func:`.annotated.read_annotated`.
    """
    found = read_annotated(root)
    if not found.recordings:
        raise DataError(
            "; ".join(
                [
                    f"{root}: has no annotated recording; put a label file with a recording's name "
                    "beside it, such as field1.txt beside field1.wav",
                    *found.remarks,
                ]
            )
        )
    return found


def _with_sound(clips: list[Clip], root: Path, log: Log) -> tuple[list[Clip], tuple[str, ...]]:
    """The clips without digital zero, unless that is their class, and the names of the others."""
    named = [clip.path for clip in clips if clip.path and not is_silence(clip.label)]
    zero = silent_files(named, log)
    kept = [clip for clip in clips if clip.path not in zero]
    labels = {label for clip in clips for label in clip.all_labels}
    for label in sorted(labels - {label for clip in kept for label in clip.all_labels}):
        raise DataError(
            f"{root}: all clips of class {label!r} are digital zero: replace their files, or "
            "remove the class"
        )
    return kept, tuple(clip.clip_id for clip in clips if clip.path in zero)


def _chosen_protocol(clips: list[Clip], protocol: str, source: Path) -> tuple[str, bool]:
    """The protocol, with ``auto`` resolved, and whether groups are known."""
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
    clips: list[Clip],
    protocol: str,
    seed: int,
    fold: int | None,
    odd: Sequence[Clip],
    *,
    groups_known: bool,
) -> tuple[list[Clip], tuple[str, ...]]:
    """The clips with the splits of a suitable protocol, and notes on the split.

    Clips with odd names train: held out, they would take the places of whole groups.
    """
    unknown = (
        "groups unknown: clips of one speaker or recording may be on both sides; set group_pattern "
        "to rule it out (m3net data check folder --suggest guesses it)",
    )
    notes = () if groups_known else unknown
    if protocol == "grouped":
        if all(is_fold(clip.group) for clip in clips):
            return _split_by_folds(clips, seed), notes
        names = {clip.clip_id for clip in odd}
        split = protocols.grouped_split([c for c in clips if c.clip_id not in names], seed)
        rest = [dataclasses.replace(c, split="train") for c in clips if c.clip_id in names]
        return [*split, *rest], notes
    if protocol == FOLDED:
        return protocols.grouped_fold_split(clips, fold or 1, INFO.folds[FOLDED], seed), notes
    if protocol == "stratified-random":
        if groups_known:
            notes = ("stratified-random leaks: clips of one group are on both sides",)
        return protocols.stratified_split(clips, seed), notes
    if not any(clip.split == "validation" for clip in clips):
        clips = protocols.hold_out_validation(clips, seed, protocols.HELD_OUT_SHARE)
        notes = ("validation: about a fifth of the training groups", *notes)
    return clips, notes


def _split_by_folds(clips: list[Clip], seed: int) -> list[Clip]:
    """Test and validate on a fifth of the listed folds each, at least on one.

    With two or three folds, training would lose too much: its clips then validate.
    """
    folds = len({clip.group for clip in clips})
    fifths = min(folds, INFO.folds[FOLDED])
    clips = protocols.grouped_fold_split(clips, 1 + seed % fifths, fifths, seed)
    if folds > 3:
        return clips
    trained = [c if c.split == "test" else dataclasses.replace(c, split="train") for c in clips]
    return protocols.validated_by_clips(trained, seed)


def _require_every_class(
    clips: list[Clip], root: Path, protocol: str, seed: int, *, annotated: bool
) -> None:
    """Refuse a random split in which a class lacks training, validation or test clips."""
    for label in sorted({label for clip in clips for label in clip.all_labels}):
        members = [clip for clip in clips if label in clip.all_labels]
        counts = {split: sum(clip.split == split for clip in members) for split in SPLITS}
        if all(counts.values()):
            continue
        groups = len({clip.path if annotated else clip.group for clip in members})
        by_group = protocol == "grouped"
        size = counted(len(members), "clip")
        if by_group:
            size += f" of {counted(groups, RECORDING if annotated else 'group')}"
        enough = groups > 3 if by_group else len(members) > 3
        remedy = (
            "try another dataset.seed"
            if enough
            else f"add more{' groups' if by_group else ''} (at least 4), or remove it"
        )
        if annotated:
            remedy = "annotate it in more recordings, or name the other classes by option classes"
        numbers = ", ".join(f"{count} {split}" for split, count in counts.items())
        raise DataError(
            f"{root}: class {label!r} has {size}, which gives {numbers} under protocol "
            f"{protocol}, seed {seed}: {remedy}"
        )


def _column_is_full(clips: list[Clip], column: str, source: Path) -> bool:
    """Whether all clips have a split or group; refuse a partly filled column."""
    lacking = [clip for clip in clips if not getattr(clip, column)]
    if lacking and len(lacking) < len(clips):
        raise DataError(
            f"{source}: has no {column} for {len(lacking)} of {counted(len(clips), 'clip')}, "
            f"such as {lacking[0].clip_id}; fill the column {column}, or leave it out"
        )
    return not lacking


def require_enough_training(dataset: AudioDataset) -> None:
    """Refuse a split of the user's own sounds, drawn at random, that leaves too few for training.

    Splits and folds that the user lists are the user's decision.

    Raises:
        DataError: fewer than half of the clips train, or fewer than five of a class.
    """
    info = dataset.info
    if info.name != INFO.name or info.protocol_name not in DRAWN or info.group == "fold":
        return
    clips = {clip.whole or clip.clip_id: clip for clip in dataset.clips if not clip.synthetic}
    # Of two recordings one tests, so that half of the clips may.
    least = 0.0 if info.group == RECORDING else protocols.LEAST_SHARE
    shortage = protocols.training_shortage([*clips.values()], least)
    if not shortage:
        return
    remedy = "add clips: a class needs eight or more"
    if info.group == RECORDING:
        remedy = "annotate more of it, or remove its annotations"
    elif info.protocol_name == "grouped":
        remedy = (
            "the groups are too few or too uneven: give smaller ones by group_pattern, add "
            "recordings, or try another dataset.seed"
        )
    raise DataError(f"{info.name}: {shortage} under protocol {info.protocol}: {remedy}")


def list_clips(
    root: Path,
    table: str = "",
    classes: Sequence[ClassName] = (),
    *,
    several_labels: bool = False,
) -> list[Clip]:
    """The clips of a table, or of class folders; splits and groups are empty if none are listed.

    Raises:
        DataError: as :func:`listed_files` and :func:`.several_labels.with_all_labels`.
        ConfigError: as :func:`listed_files`.
    """
    files = listed_files(root, table, classes, several_labels=several_labels)
    return with_all_labels(files) if several_labels else files


def listed_files(
    root: Path,
    table: str = "",
    classes: Sequence[ClassName] = (),
    *,
    several_labels: bool = False,
) -> list[Clip]:
    """:func:`list_clips` before files with the same bytes become one clip.

    Raises:
        DataError: as :func:`.clip_tables.listed_clips` and :func:`_list_folders`.
        ConfigError: ``classes`` names a folder that is not there.
    """
    if table:
        return listed_clips(root / table, root, SUFFIXES, several_labels=several_labels)
    return list(_list_folders(root, tuple(name for name in classes if name != "")))


def _list_folders(root: Path, classes: tuple[ClassName, ...]) -> Iterator[Clip]:
    """Clips of class folders, with the splits or folds of folders above or below them.

    Raises:
        DataError: a class has no sound file, or the folder contains data sets.
    """
    folders = _subfolders(root)
    filled = [folder for folder in folders if _sounds(folder)]
    names = [folder.name for folder in filled]
    splits = splits_named(names)
    folds = folds_named(names)
    if (splits or folds) and not set(classes) & set(names):
        for folder in filled:
            inside = _subfolders(folder)
            if not any(_sounds(path) for path in inside):
                raise DataError(
                    f"{folder}: names a split or a fold, but has no class folders: put its sounds "
                    "into one folder for each class, move it away, or list them in a table "
                    f"(columns path, label, split){_hint(root)}"
                )
            for clip in _class_folders(folder, inside, classes):
                yield dataclasses.replace(
                    clip,
                    clip_id=f"{folder.name}/{clip.clip_id}",
                    split=splits.get(folder.name, ""),
                    group=folds.get(folder.name, ""),
                )
        return
    if not classes:
        _require_one_kind(filled)
        if not _split_below(filled):
            _require_class_folders(root, folders)
    yield from with_parts_below([*_class_folders(root, folders, classes)])


def _require_one_kind(folders: list[Path]) -> None:
    """Refuse folders of splits beside others: they would all be classes."""
    inside = {
        folder: {path.name for path in _subfolders(folder) if _sounds(path, deep=False)}
        for folder in folders
        if not _sounds(folder, deep=False)
    }
    named = [folder for folder in inside if splits_named(["train", folder.name])]
    if len(named) < 2 or not set.intersection(*(inside[folder] for folder in named)):
        return
    names = in_words(folder.name for folder in named)
    for other in folders:
        if other not in named:
            raise DataError(
                f"{other}: is beside {names}, which name splits: move its sounds into them, or away"
            )
    raise DataError(f"{folders[0].parent}: {names} name splits, but none is for training: add it")


def _split_below(folders: list[Path]) -> bool:
    """Whether the folders in class folders name splits or folds, and have all of the sounds."""
    if any(_sounds(folder, deep=False) for folder in folders):
        return False
    names = {path.name for folder in folders for path in _subfolders(folder) if _sounds(path)}
    return len(names) > 1 and bool(splits_named(names) or folds_named(names))


def _class_folders(
    root: Path, folders: list[Path], classes: tuple[ClassName, ...]
) -> Iterator[Clip]:
    chosen = chosen_names([folder.name for folder in folders], classes, root)
    for folder in folders:
        if classes and folder.name not in chosen:
            continue
        files = _sounds(folder)
        if not files:
            raise DataError(
                f"{folder}: class has no sound file; {conversion(folder) or f'add some ({USUAL})'}"
                f", remove the folder, or name the class folders by option classes{_hint(root)}"
            )
        for path in files:
            yield Clip(path.relative_to(root).as_posix(), folder.name, "", "", path)


def _subfolders(folder: Path) -> list[Path]:
    """Subfolders that may be classes, sorted."""
    return [
        path
        for path in sorted(folder.iterdir())
        if is_visible(path.name) and path.is_dir() and path.name != NOISE_FOLDER
    ]


def _sounds(folder: Path, *, deep: bool = True) -> list[Path]:
    """Sound files in a folder and its subfolders, without hidden ones, sorted."""
    if deep:
        return files_below(folder, SUFFIXES)
    return [
        p for p in sorted(folder.iterdir()) if p.suffix.lower() in SUFFIXES and is_visible(p.name)
    ]


def _require_class_folders(root: Path, folders: list[Path]) -> None:
    """Refuse a folder that contains data sets, each of which would become one class.

    Class folders without sound files contain folders of speakers or recordings, whose names occur
    in several classes. If they do not, the folder is probably one level too high.
    """
    if any(_sounds(folder, deep=False) for folder in folders):
        return
    names_inside = [
        {path.name for path in _subfolders(folder) if _sounds(path, deep=False)}
        for folder in folders
    ]
    counts = Counter(name for names in names_inside for name in names)
    shared = sum(count for count in counts.values() if count > 1)
    if all(names_inside) and shared >= counts.total() / 2:
        return
    candidates = _data_sets_below(root)
    if candidates:
        raise DataError(
            f"{root}: is not a folder of class folders: none of them contains sounds directly. "
            f"{_named(candidates)}; or, if these folders are the classes, name them by option "
            "classes"
        )


def _data_sets_below(root: Path) -> list[Path]:
    """Folders below a folder that look like data sets: with two or more folders of sounds."""
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
    if (root / EDGE_IMPULSE).is_file():
        return f"; or read {EDGE_IMPULSE} by the option table={EDGE_IMPULSE}"
    candidates = _data_sets_below(root)
    if not candidates:
        return ""
    return f"; {_named(candidates)}"


def _named(folders: list[Path]) -> str:
    shown = " and ".join(map(str, folders[:3])) + (" and others" if len(folders) > 3 else "")
    seem = "seems to be the data set" if len(folders) == 1 else "seem to be data sets"
    return f"{shown} {seem}: name that one instead (DATA_DIR={shlex.quote(str(folders[0]))})"


def grouped(clips: Sequence[Clip], pattern: str) -> tuple[list[Clip], list[Clip]]:
    """The clips with groups that a regular expression extracts from their names.

    A few odd names, at most a tenth, may have no group: each of them is its own.

    Returns:
        All clips, and those with odd names.

    Raises:
        ConfigError, DataError: it is not a regular expression, or finds no group in a name.
    """
    try:
        expression = re.compile(pattern)
    except re.error as error:
        raise ConfigError(
            f"folder: group_pattern '{pattern}' is not a regular expression ({error}); correct it"
        ) from None
    if expression.groups < 1:
        raise ConfigError(
            f"folder: group_pattern '{pattern}' has no parentheses; put them around the group's "
            "name"
        )
    matches = [expression.search(clip.clip_id) for clip in clips]
    names = [match[1] if match else None for match in matches]
    odd = [clip for clip, name in zip(clips, names, strict=True) if not name]
    if len(odd) > ODD_SHARE * len(clips):
        raise DataError(
            f"{odd[0].path}: group_pattern '{pattern}' finds no group in {odd[0].clip_id!r}; "
            "correct the pattern or the name"
        )
    pairs = zip(clips, names, strict=True)
    return [dataclasses.replace(clip, group=name or clip.clip_id) for clip, name in pairs], odd
