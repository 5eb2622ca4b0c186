# SPDX-License-Identifier: Apache-2.0
"""Lists of files that define a subset of a data set.

A list begins with comments. Some have the form ``# Key: value``: ``Data set``, ``Licence``,
``Files`` (their number), ``SHA-256 of the lines below``, and where the data set has them ``Tables``
(CSV files to cut to the listed files), ``Split lists`` (``split=file`` pairs to write) and ``Whole
folders`` (copied with all their files, and no part of the hash). Then each line has a file's path
below the data set's folder, with its split before it if the list defines the splits.

:mod:`.subset_copy` leaves a copy of the list in each folder that it makes. The loaders read it, so
that results carry the subset's name and hash.
"""

import dataclasses
import re
from pathlib import Path

from m3net_tf.audio.datasets.clips import SPLITS
from m3net_tf.audio.datasets.dataset import AudioDataset
from m3net_tf.system.artifacts import sha256_of
from m3net_tf.system.checkout import require_sources
from m3net_tf.system.errors import ConfigError, DataError

MARKER = ".m3net-subset.txt"
_HASH_KEY = "SHA-256 of the lines below"
_KEYS = ("Data set", "Licence", "Files", _HASH_KEY)
_HEADER = re.compile(r"# ([A-Z][^:]*): (.*)")


@dataclasses.dataclass(frozen=True)
class Subset:
    """A subset of a data set.

    Attributes:
        sha256: hash of the lines without the comments.
        files: paths below the data set's folder, with ``/``.
        splits: split of each file; empty if the list defines none.
        tables: CSV files to cut to the listed files.
        split_lists: file to write for each of these splits.
        folders: folders to copy whole.
    """

    name: str
    dataset: str
    text: str
    sha256: str
    files: tuple[str, ...]
    splits: tuple[str, ...]
    tables: tuple[str, ...]
    split_lists: dict[str, str]
    folders: tuple[str, ...]

    def missing_from(self, folder: Path) -> list[str]:
        """The listed files that a folder lacks."""
        return [name for name in self.files if not (folder / name).is_file()]

    def split_list_text(self, split: str) -> str:
        """The file of ``split_lists`` for a split: its files, one a line."""
        pairs = zip(self.splits, self.files, strict=True)
        return "".join(f"{name}\n" for own, name in pairs if own == split)


def subset_names() -> tuple[str, ...]:
    """Names of all lists."""
    return tuple(sorted(path.stem for path in _lists_folder().glob("*.txt")))


def find_subset(name: str) -> Subset:
    """Read the list of a subset.

    Raises:
        ConfigError: unknown name, or the lists are missing.
        DataError: the list was changed.
    """
    if name not in subset_names():
        raise ConfigError(f"subset {name!r} is unknown; choose from {', '.join(subset_names())}")
    return read_subset(_lists_folder() / f"{name}.txt", name)


def _lists_folder() -> Path:
    return require_sources("experiments") / "subsets"


def read_subset(path: Path, name: str = "") -> Subset:
    """Read a list.

    Args:
        name: the subset's name; empty to take it from the comment ``Subset`` of a marker.

    Raises:
        DataError: a comment is missing, or the lines do not match their number or hash.
    """
    text = path.read_text(encoding="utf-8", errors="replace")
    try:
        return _parsed(text, name)
    except ValueError as fault:
        remedy = "restore the list" if name else "restore or delete the file"
        raise DataError(f"{path}: {fault}; {remedy}") from None


def _parsed(text: str, name: str) -> Subset:
    """The subset of a list; ValueError says what is wrong with the list."""
    header, rows = _parts(text)
    if name:
        header["Subset"] = name
    for key in ("Subset", *_KEYS):
        if key not in header:
            raise ValueError(f"has no comment {key!r}")
    sha256 = sha256_of("".join(f"{' '.join(row)}\n" for row in rows).encode())
    if (str(len(rows)), sha256) != (header["Files"], header[_HASH_KEY]):
        raise ValueError(f"its {len(rows)} lines do not match the number or SHA-256 in its header")
    splits = tuple(row[0] for row in rows if len(row) == 2 and row[0] in SPLITS)
    if splits and len(splits) != len(rows):
        raise ValueError("only some of its lines have a split")
    return Subset(
        name=header["Subset"],
        dataset=header["Data set"],
        text=text,
        sha256=sha256,
        files=tuple(row[1] if splits else " ".join(row) for row in rows),
        splits=splits,
        tables=tuple(header.get("Tables", "").split()),
        split_lists=dict(
            pair.split("=", 1) for pair in header.get("Split lists", "").split() if "=" in pair
        ),
        folders=tuple(header.get("Whole folders", "").split()),
    )


def _parts(text: str) -> tuple[dict[str, str], list[list[str]]]:
    """The comments of the form ``# Key: value``, and the words of each line, at most two."""
    lines = text.splitlines()
    matches = (_HEADER.fullmatch(line) for line in lines if line.startswith("#"))
    header = {match[1]: match[2] for match in matches if match}
    return header, [line.split(" ", 1) for line in lines if line and not line.startswith("#")]


def marker_text(subset: Subset) -> str:
    """Content of the marker in a subset's folder: the list, with the subset's name before it."""
    return f"# Subset: {subset.name}\n{subset.text}"


def with_subset(dataset: AudioDataset, root: Path) -> AudioDataset:
    """The data set with the subset that its folder's marker names; unchanged without a marker.

    Raises:
        DataError: the folder lacks a file of the subset, has a clip that is not in it, or has
            another split, so results would carry a wrong hash.
    """
    marker = root / MARKER
    if not marker.is_file():
        return dataset
    subset = read_subset(marker)
    missing = subset.missing_from(root)
    if missing:
        raise DataError(
            f"{root / missing[0]}: is missing, the first of {len(missing)} files of subset "
            f"{subset.name}; run m3net data subset {subset.name} again, or delete {marker}"
        )
    for split, name in subset.split_lists.items():
        if (root / name).read_text() != subset.split_list_text(split):
            raise DataError(
                f"{root / name}: is not the list of subset {subset.name}; run m3net data subset "
                f"{subset.name} again, or delete {marker}"
            )
    listed = {root / name for name in subset.files}
    for clip in dataset.clips:
        if clip.path is not None and not clip.synthetic and clip.path not in listed:
            raise DataError(
                f"{clip.path}: is not in subset {subset.name} of {marker}; move the file away, "
                f"or delete {marker}"
            )
    info = dataclasses.replace(
        dataset.info,
        subset=subset.name,
        subset_sha256=subset.sha256,
        notes=(*dataset.info.notes, f"subset {subset.name} (SHA-256 {subset.sha256})"),
    )
    return dataclasses.replace(dataset, info=info)
