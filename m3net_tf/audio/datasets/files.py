# SPDX-License-Identifier: Apache-2.0
"""Finds files in the folder of a data set."""

import os
from collections.abc import Collection
from pathlib import Path

from m3net_tf.system.errors import DataError

SUFFIXES = (
    *(".wav", ".wave", ".bwf", ".rf64", ".w64", ".flac", ".ogg", ".oga", ".opus", ".mp3"),
    *(".aiff", ".aif", ".aifc", ".au", ".snd", ".caf", ".voc", ".sph", ".nist", ".paf", ".avr"),
)
"""Sound files that libsndfile reads."""
USUAL = "WAV, FLAC, OGG, Opus, MP3, AIFF"
"""The best known of them, for messages."""
_RESOURCES = "__MACOSX"  # the folder that macOS adds to archives


def is_visible(name: str) -> bool:
    """Whether a file or folder belongs to the user's, rather than to a program's own ones."""
    return not name.startswith(".") and name != _RESOURCES


def find_root(folder: Path, marker: str) -> Path:
    """The folder if the glob ``marker`` matches in it, else its only subfolder with a match."""
    if any(folder.glob(marker)):
        return folder
    folders = [p for p in sorted(folder.iterdir()) if p.is_dir() and not p.name.startswith(".")]
    matching = [path for path in folders if any(path.glob(marker))]
    return matching[0] if len(matching) == 1 else folder


def files_below(folder: Path, suffixes: Collection[str]) -> list[Path]:
    """Visible files with one of these suffixes (lower case) anywhere below a folder, sorted.

    Nesting may be arbitrarily deep; links to folders are not followed.
    """
    files: list[Path] = []
    folders = [str(folder)] if folder.is_dir() else []
    while folders:
        with os.scandir(folders.pop()) as entries:
            for entry in entries:
                if not is_visible(entry.name):
                    continue
                if entry.is_dir(follow_symlinks=False):
                    folders.append(entry.path)
                elif Path(entry.name).suffix.lower() in suffixes:
                    files.append(Path(entry.path))
    return sorted(files)


def unknown_entry(table: Path, line: int, entry: str) -> DataError:
    """The error of a line of a table with an entry that is not in the published data."""
    return DataError(f"{table}: line {line} has the unknown {entry}; fetch the data again")
