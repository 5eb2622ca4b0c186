# SPDX-License-Identifier: Apache-2.0
"""What a folder of sounds holds that is not used, and why."""

import os
import shlex
from collections import Counter
from collections.abc import Collection, Mapping
from pathlib import Path

from m3net_tf.audio.datasets.files import SUFFIXES, is_visible
from m3net_tf.system.words import counted

_CONVERTED = (
    *(".m4a", ".m4b", ".mp4", ".aac", ".wma", ".amr", ".3gp", ".webm", ".mka", ".mkv", ".mov"),
    *(".ac3", ".ape", ".wv", ".tta", ".spx", ".mp2", ".ra", ".dsf"),
)
_SHOWN = 5


def unused_lines(root: Path, used: Collection[Path]) -> list[str]:
    """One sentence for each reason why files below a folder are not used."""
    unread: Counter[str] = Counter()
    others: Counter[str] = Counter()
    hidden = list[str]()
    outside = list[str]()
    links = list[str]()
    parents = {parent for path in used for parent in path.parents}
    for folder, folders, names in os.walk(root):
        folders.sort()
        inside = Path(folder).relative_to(root)
        links += [
            (inside / name).as_posix()
            for name in folders
            if (link := Path(folder, name)).is_symlink() and link not in parents
        ]
        for name in sorted(names):
            path = inside / name
            suffix = Path(name).suffix.lower()
            if root / path in used:
                continue
            if not all(map(is_visible, path.parts)):
                hidden.append(path.as_posix())
            elif suffix in _CONVERTED:
                unread[suffix] += 1
            elif suffix in SUFFIXES:
                outside.append(path.as_posix())
            else:
                others[suffix or "without a suffix"] += 1
    lines = []
    if outside:
        lines.append(
            f"not used: {counted(len(outside), 'sound file')} outside the class folders, such as "
            f"{outside[0]}: move them into one"
        )
    if unread:
        lines.append(f"not used: {_counts(unread)} cannot be read; {conversion(root)}")
    if others:
        lines.append(f"not used: {counted(others.total(), 'other file')}: {_counts(others)}")
    if hidden:
        lines.append(f"not used: {counted(len(hidden), 'hidden file')}, such as {hidden[0]}")
    if links:
        lines.append(f"not used: {counted(len(links), 'linked folder')}, such as {links[0]}")
    return lines


def conversion(folder: Path) -> str:
    """How to convert the recordings below a folder that cannot be read; empty if there are none."""
    suffixes = sorted(
        {
            suffix
            for _, _, names in os.walk(folder)
            for name in names
            if (suffix := Path(name).suffix.lower()) in _CONVERTED and is_visible(name)
        }
    )
    if not suffixes:
        return ""
    tests = " -o ".join(f"-iname '*{suffix}'" for suffix in suffixes)
    if len(suffixes) > 1:
        tests = rf"\( {tests} \)"
    command = rf"find {shlex.quote(str(folder))} {tests} -exec ffmpeg -i {{}} {{}}.wav \;"
    return f"convert them by {command}"


def _counts(counts: Mapping[str, int]) -> str:
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    shown = [f"{count} {suffix}" for suffix, count in ordered[:_SHOWN]]
    return ", ".join(shown) + ", ..." * (len(counts) > _SHOWN)


def similar_names(labels: Collection[str]) -> list[str]:
    """One sentence for classes whose names differ only in capitals, spaces, ``-`` and ``_``."""
    alike: dict[str, list[str]] = {}
    for label in labels:
        word = "".join(character for character in label.casefold() if character not in " -_")
        alike.setdefault(word, []).append(label)
    return [
        f"classes: {' and '.join(map(repr, names))} are different classes: put them into one "
        "folder if they are the same"
        for names in alike.values()
        if len(names) > 1
    ]
