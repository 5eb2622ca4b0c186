# SPDX-License-Identifier: Apache-2.0
"""Tables that list the clips of a folder: the user's, Edge Impulse's, or a published data set's."""

import dataclasses
import functools
import os
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NotRequired, TypedDict

from m3net_tf.audio.annotations.reading import names_recordings
from m3net_tf.audio.datasets.annotated import BACKGROUND
from m3net_tf.audio.datasets.clips import SPLITS, Clip
from m3net_tf.audio.datasets.files import files_below
from m3net_tf.audio.datasets.split_names import fold_named, folds_named, splits_named
from m3net_tf.system.artifacts import parse_json
from m3net_tf.system.errors import DataError
from m3net_tf.system.text_tables import read_lines, read_text
from m3net_tf.system.words import counted, in_words

EDGE_IMPULSE = "info.labels"
#: Columns by what they mean; the first that a table has counts. Case does not matter.
COLUMNS = {
    "path": ("path", "filename", "file", "file_name", "file_path", "slice_file_name", "fname"),
    "label": ("label", "class", "category", "class_name", "scene_label"),
    "split": ("split", "subset", "partition"),
    "group": ("group",),
    "fold": ("fold",),
}
_LISTS = ("labels", "tags", "classes")
"""Columns for several labels, between which a comma may stand, too."""
_SEPARATORS, _COMMA = "[;|]", "[;|,]"
_MARKS = {"1": True, "1.0": True, "true": True, "0": False, "0.0": False, "false": False, "": False}
"""Cells of a column that is a class."""
_REMEDY = "save it as CSV in UTF-8, with the columns path and label"
_PLACES = ("path", "split", "group", "fold")
_TABLES = (".csv", ".tsv")
_LARGEST = 50_000_000  # bytes of a table that is looked for
_COVERED = 2 / 3  # of a folder's sounds, by a table that is taken without being named


@dataclasses.dataclass(frozen=True)
class _Row:
    """A line of a table."""

    line: int
    path: str
    labels: tuple[str, ...]
    split: str
    group: str
    fold: str


class _Label(TypedDict):
    """The label of a file in Edge Impulse's list; missing if it has none, or several."""

    label: NotRequired[str]


class _File(TypedDict):
    """A file in Edge Impulse's list."""

    path: str
    category: str
    label: _Label | str


class _Files(TypedDict):
    """Edge Impulse's list."""

    files: list[_File]


def listed_clips(
    table: Path, root: Path, suffixes: Sequence[str], *, several_labels: bool = False
) -> list[Clip]:
    """The clips of a table; splits and groups are empty if it has no such column.

    A path is relative to the table or to the folder; else it is the end of one path below the
    folder. Without splits and groups, a column ``fold`` gives the groups.

    Args:
        several_labels: whether a row may have several labels: in columns such as ``label1`` and
            ``label2``; in a cell, with ``;`` or ``|`` between them (or a comma, in a column
            ``labels``); or, without such a column, in columns that are a class each and have 0 or
            1. A row of zeros is of the class :data:`.annotated.BACKGROUND`.

    Raises:
        DataError: the table is unreadable, lacks a column, or lists a file that is missing.
    """
    if not table.is_file():
        raise DataError(f"{table}: is missing; correct option table")
    rows = _rows(table, several_labels=several_labels)
    cells = dict.fromkeys(row.split for row in rows if row.split)
    splits = splits_named(cells)
    folds = folds_named(cells)
    if cells and not splits and not folds:
        raise _unknown_split(table, rows)
    folded = not any(row.group or (row.split and not folds) for row in rows)
    place = _Places(table, root, suffixes)
    clips = []
    for row in rows:
        if not row.path or not row.labels:
            raise DataError(f"{table}: line {row.line} has no path or no label; correct the table")
        if len(row.labels) > 1 and not several_labels:
            raise DataError(
                f"{table}: line {row.line} has the labels {in_words(row.labels)}; set option "
                "several_labels=true"
            )
        clip_id, path = place.of(row)
        group = row.group
        if folded and (fold := folds.get(row.split) or fold_named(f"fold {row.fold}")):
            group = fold
        clip = Clip(clip_id, row.labels[0], splits.get(row.split, ""), group, path)
        clips.append(dataclasses.replace(clip, labels=row.labels) if several_labels else clip)
    return clips


def _unknown_split(table: Path, rows: Sequence[_Row]) -> DataError:
    for row in rows:
        if row.split and not splits_named(["train", row.split]):
            return DataError(
                f"{table}: line {row.line} has the unknown split {row.split!r}; splits are "
                f"{', '.join(SPLITS)}"
            )
    return DataError(f"{table}: no line has the split train; correct the table")


def _rows(table: Path, *, several_labels: bool) -> list[_Row]:
    if table.name == EDGE_IMPULSE:
        return _edge_impulse_rows(table)
    header, lines = read_lines(table, _REMEDY)
    names = _meanings(header)
    labels = _label_columns(header, [row for _, row in lines], several_labels=several_labels)
    for meaning, found in (("path", "path" in names), ("label", labels is not None)):
        if not found:
            raise DataError(
                f"{table}: has no column {meaning!r} but {', '.join(map(repr, header))}; {_REMEDY}"
            )
    assert labels is not None
    if names.get("split", "split").casefold() != "split":
        cells = {row[names["split"]].strip() for _, row in lines}
        if not (splits_named(cells) or folds_named(cells)):
            del names["split"]  # such as a subset of another kind

    def cell(row: Mapping[str, str], meaning: str) -> str:
        return row[names[meaning]].strip() if meaning in names else ""

    return [
        _Row(line, labels=labels.of(row), **{key: cell(row, key) for key in _PLACES})
        for line, row in lines
    ]


@dataclasses.dataclass(frozen=True)
class _LabelColumns:
    """The columns of a table that give the labels of a row.

    Attributes:
        names: columns of names, each with the pattern that separates several; '' for one name.
        marks: columns that are a class each, with 0 or 1.
    """

    names: Mapping[str, str]
    marks: tuple[str, ...] = ()

    def of(self, row: Mapping[str, str]) -> tuple[str, ...]:
        """The labels of a row, each once."""
        if self.marks:
            marked = [name for name in self.marks if _MARKS[row[name].strip().casefold()]]
            return tuple(marked) or (BACKGROUND,)
        labels = [
            label.strip()
            for name, pattern in self.names.items()
            for label in (re.split(pattern, row[name]) if pattern else [row[name]])
        ]
        return tuple(dict.fromkeys(filter(None, labels)))


def _label_columns(
    header: Sequence[str], rows: Sequence[Mapping[str, str]], *, several_labels: bool
) -> _LabelColumns | None:
    """The columns for labels; None without any."""
    one = _meanings(header).get("label")
    if one and not several_labels:
        return _LabelColumns({one: ""})
    kinds = "|".join(map(re.escape, COLUMNS["label"]))
    names = {one: _SEPARATORS} if one else {}
    for name in header:
        if re.fullmatch(f"({kinds})[ _.-]?[0-9]+", name.casefold()):
            names[name] = _SEPARATORS
        elif name.casefold() in _LISTS:
            names[name] = _COMMA
    if names:
        return _LabelColumns(names)
    known = set(_meanings(header).values())
    marks = [
        name
        for name in header
        if name
        and name not in known
        and (cells := {row[name].strip().casefold() for row in rows}) <= _MARKS.keys()
        and len({_MARKS[cell] for cell in cells}) == 2  # one value tells nothing, such as a length
    ]
    return _LabelColumns({}, tuple(marks)) if len(marks) > 1 else None


def _meanings(header: Sequence[str]) -> dict[str, str]:
    """The column of a table for each key of :data:`COLUMNS` that it has."""
    found = {name.casefold(): name for name in reversed(header)}
    return {
        meaning: found[next(name for name in names if name in found)]
        for meaning, names in COLUMNS.items()
        if any(name in found for name in names)
    }


def _edge_impulse_rows(table: Path) -> list[_Row]:
    remedy = "export the data again"
    try:
        files: _Files = parse_json(read_text(table, remedy), _Files, most_bytes=_LARGEST)
    except ValueError as error:
        raise DataError(f"{table}: is not a list of Edge Impulse ({error}); {remedy}") from None
    rows = []
    for number, file in enumerate(files["files"], start=1):
        label = file["label"]
        label = label if isinstance(label, str) else label.get("label", "")
        if not label:
            raise DataError(
                f"{table}: {file['path']} does not have one label; label it, and export again"
            )
        labels = tuple(filter(None, [label.strip()]))
        rows.append(_Row(number, file["path"], labels, file["category"], "", ""))
    return rows


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # the name is too long
        return False


class _Places:
    """Finds the files of a table."""

    def __init__(self, table: Path, root: Path, suffixes: Sequence[str]) -> None:
        self._table, self._root, self._suffixes = table, root, suffixes

    def of(self, row: _Row) -> tuple[str, Path]:
        """The name and the file of a row."""
        for cell in dict.fromkeys((row.path, row.path.replace("\\", "/"))):
            for folder in (self._table.parent, self._root):
                if _is_file(folder / cell):
                    return cell, folder / cell
            ends = [
                path
                for path in self._by_name.get(Path(cell).name, ())
                if path.as_posix().endswith(f"/{cell}")
            ]
            if len(ends) == 1:
                return ends[0].relative_to(self._root).as_posix(), ends[0]
        raise DataError(
            f"{self._table.parent / row.path}: is in {self._table.name} but missing; correct the "
            "table"
        )

    @functools.cached_property
    def _by_name(self) -> Mapping[str, list[Path]]:
        paths = defaultdict(list)
        for path in files_below(self._root, self._suffixes):
            paths[path.name].append(path)
        return paths


def find_table(root: Path, suffixes: Sequence[str]) -> tuple[str, list[str]]:
    """A table in a folder, or in a folder of it, that lists its clips and says more than folders.

    A table counts if all of its files are there, each once, and most sounds of the folder are among
    them. It must give splits, groups, folds or several labels, or the classes of files that are not
    in class folders.

    Returns:
        Its path in the folder, or '', and sentences on the tables that are not taken.
    """
    sounds = len(files_below(root, suffixes))
    taken, refused = [], []
    for table in _tables(root):
        name = table.relative_to(root).as_posix()
        try:
            if table.name != EDGE_IMPULSE and not _has_columns(table):
                continue
            clips = listed_clips(table, root, suffixes, several_labels=True)
        except DataError as error:
            refused.append(f"{name} is not read: {error}")
            continue
        if not all(_is_inside(clip, root) for clip in clips):
            refused.append(f"{name} is not read: it lists files outside of the folder")
        elif table.name == EDGE_IMPULSE:
            return name, refused
        elif Counter((clip.path, clip.labels) for clip in clips).most_common(1)[0][1] > 1:
            refused.append(f"{name} is not read: it lists a file several times")
        elif (listed := len({clip.path for clip in clips})) < _COVERED * sounds:
            refused.append(
                f"{name} is not read: it lists only {listed} of {counted(sounds, 'sound')}"
            )
        elif _in_class_folders(clips, root):
            several = listed < len(clips) or any(len(clip.labels) > 1 for clip in clips)
            if several or any(clip.split or clip.group for clip in clips):
                taken.append(name)
        elif _without_class_folders(clips):
            taken.append(name)
        else:
            refused.append(f"{name} is not read: its classes are not the folders")
    if len(taken) > 1:
        refused.append(f"{' and '.join(taken)} are not read: join them into one table")
    return (taken[0] if len(taken) == 1 else ""), refused


def _has_columns(table: Path) -> bool:
    """Whether a table lists clips: paths and labels, and no parts of recordings."""
    header, lines = read_lines(table, _REMEDY)
    if not lines or "path" not in _meanings(header) or names_recordings(header):
        return False
    return _label_columns(header, [row for _, row in lines], several_labels=True) is not None


def _tables(root: Path) -> Iterator[Path]:
    if (root / EDGE_IMPULSE).is_file():
        yield root / EDGE_IMPULSE
    for pattern in ("*", "*/*"):
        for path in sorted(root.glob(pattern)):
            visible = not any(part.startswith(".") for part in path.relative_to(root).parts)
            if not visible or path.suffix.lower() not in _TABLES or not path.is_file():
                continue
            if path.stat().st_size < _LARGEST and os.access(path, os.R_OK):
                yield path


def _is_inside(clip: Clip, root: Path) -> bool:
    """Whether a clip's path leads below a folder; a table from elsewhere may name any file."""
    path = Path(str(clip.path))
    return path.is_relative_to(root) and ".." not in path.relative_to(root).parts


def _in_class_folders(clips: Sequence[Clip], root: Path) -> bool:
    """Whether each clip is in a folder of its class's name, or of one of its classes."""
    return all(
        {*clip.all_labels} & {*Path(str(clip.path)).relative_to(root).parts} for clip in clips
    )


def _without_class_folders(clips: Sequence[Clip]) -> bool:
    """Whether the clips are in one folder, or in folders of splits or folds."""
    names = {Path(str(clip.path)).parent.name for clip in clips}
    return len(names) == 1 or bool(splits_named(names) or folds_named(names))
