# SPDX-License-Identifier: Apache-2.0
"""Makes the folder of a subset from the complete data set, so that its figures can be repeated."""

import contextlib
import csv
import os
import shutil
from pathlib import Path

from m3net_tf.audio.datasets.files import find_root
from m3net_tf.audio.datasets.registry import data_folder
from m3net_tf.audio.datasets.subset_lists import (
    MARKER,
    Subset,
    find_subset,
    marker_text,
    read_subset,
)
from m3net_tf.system.artifacts import naming, update_text
from m3net_tf.system.errors import DataError
from m3net_tf.system.locks import LOCK_NAME, locked
from m3net_tf.system.progress import Log, silent, track


def make_subset(
    name: str, target: Path, data_dir: str | Path | None = None, *, log: Log = silent
) -> Subset:
    """Make the folder of a subset.

    Files are hard links where the file system allows them, otherwise copies. They are gathered in a
    hidden folder beside the target, which takes its name at the end. A second call after a stop
    keeps the files that are there, and a call on a finished folder adds the deleted ones.

    Args:
        target: folder to make; it must be missing, empty or made by this function.
        data_dir: the complete data set, as for :func:`.registry.load_dataset`.

    Raises:
        ConfigError: unknown name.
        DataError: the list was changed, files are missing, or the target has other files.
        InUseError: another process makes the same folder.
    """
    subset = find_subset(name)
    target = target.expanduser().absolute()
    source = find_root(_existing(subset, data_dir), subset.files[0].split("/")[0])
    _check_source(subset, source)
    finished = _check_target(subset, target)
    target.parent.mkdir(parents=True, exist_ok=True)
    with locked(target.parent / f".{target.name}{LOCK_NAME}", str(target)):
        unfinished = target.parent / f".{target.name}.{subset.name}.partial"
        folder = target if finished else unfinished
        _fill(subset, source, folder, log)
        if not finished:
            with naming(target):
                folder.replace(target)
    return subset


def _existing(subset: Subset, data_dir: str | Path | None) -> Path:
    folder = data_folder(subset.dataset, data_dir)
    if not folder.is_dir():
        raise DataError(
            f"{folder}: folder of data set {subset.dataset} does not exist; correct --from, or "
            f"run m3net data fetch {subset.dataset}"
        )
    return folder


def _check_source(subset: Subset, source: Path) -> None:
    """Require all files before the first one is copied."""
    missing = subset.missing_from(source)
    if missing:
        raise DataError(
            f"{source / missing[0]}: is missing, the first of {len(missing)} of the "
            f"{len(subset.files)} files of subset {subset.name}; correct --from, or fetch the "
            "complete data set"
        )
    for path in (*subset.tables, *subset.folders):
        if not (source / path).exists():
            raise DataError(f"{source / path}: is missing; fetch the complete data set")


def _check_target(subset: Subset, target: Path) -> bool:
    """Whether the target is a finished folder of this subset; it may also be missing or empty."""
    if not target.exists() or (target.is_dir() and not any(target.iterdir())):
        return False
    marker = target / MARKER
    if not marker.is_file() or read_subset(marker).sha256 != subset.sha256:
        raise DataError(
            f"{target}: exists and is not subset {subset.name}; choose another folder for --to"
        )
    return True


def _fill(subset: Subset, source: Path, folder: Path, log: Log) -> None:
    """Put all files of a subset into a folder, its marker last."""
    with track(log, subset.name, len(subset.files), "files") as task:
        for name in subset.files:
            _link_or_copy(source / name, folder / name)
            task.advance()
    for name in subset.folders:
        for path in sorted((source / name).iterdir()):
            if path.is_file():
                _link_or_copy(path, folder / name / path.name)
    for name in subset.tables:
        update_text(folder / name, _cut_table(source / name, subset))
    for split, name in subset.split_lists.items():
        update_text(folder / name, subset.split_list_text(split))
    update_text(folder / MARKER, marker_text(subset))


def _link_or_copy(source: Path, target: Path) -> None:
    """Hard link or copy a file unless it is there; a stopped copy leaves no file of its name."""
    if target.exists():
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(OSError):  # another file system, or one without links
        os.link(source.resolve(), target)
        return
    partial = target.with_name(f".{target.name}.partial")
    with naming(target):
        shutil.copyfile(source, partial)
        partial.replace(target)


def _cut_table(path: Path, subset: Subset) -> str:
    """Header and the rows of a CSV table that name a listed file, as they are written there."""
    listed = {name.rsplit("/", 1)[-1] for name in subset.files}
    text = path.read_text(encoding="utf-8-sig", errors="replace")
    header, *lines = text.splitlines() or [""]
    kept = [header]
    named = set()
    for line in lines:
        names = listed.intersection(next(csv.reader([line]), []))
        if names:
            kept.append(line)
            named |= names
    if missing := sorted(listed - named):
        raise DataError(
            f"{path}: has no row of {missing[0]}, the first of {len(missing)} files of subset "
            f"{subset.name}; fetch the complete data set"
        )
    return "".join(f"{line}\n" for line in kept)
