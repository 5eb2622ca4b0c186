# SPDX-License-Identifier: Apache-2.0
"""How the folders of the user's own sounds are understood: splits and folds, classes, others."""

import dataclasses
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from m3net_tf.audio.datasets.annotated import BACKGROUND
from m3net_tf.audio.datasets.clips import SPLITS, Clip
from m3net_tf.audio.datasets.split_names import folds_named, is_fold, splits_named
from m3net_tf.system.errors import ConfigError, DataError
from m3net_tf.system.words import in_words
from m3net_tf.system.yaml_files import parse_yaml

ClassName = str | int | float | bool
"""The name of a class, as YAML reads it."""


def with_parts_below(clips: list[Clip]) -> Iterator[Clip]:
    """The clips with the splits or folds that folders in the class folders name."""
    parts = {clip.clip_id: clip.clip_id.split("/")[1:-1][:1] for clip in clips}
    names = {part[0] for part in parts.values() if part}
    splits = splits_named(names)
    folds = folds_named(names)
    if len(names) < 2 or not all(parts.values()):
        splits, folds = {}, {}
    for clip in clips:
        name = parts[clip.clip_id][0] if splits or folds else ""
        yield dataclasses.replace(clip, split=splits.get(name, ""), group=folds.get(name, ""))


def chosen_names(names: Sequence[str], classes: tuple[ClassName, ...], root: Path) -> set[str]:
    """The folders that ``classes`` names; YAML reads names such as ``yes`` and ``01`` as values."""
    chosen = set()
    for name in classes:
        found = [text for text in names if text == name or _is_value(name, text)]
        if not found and not isinstance(name, str):
            raise ConfigError(
                f"dataset.options.classes: no folder's name is read as {name!r} from YAML: put the "
                "names into quotation marks"
            )
        if not found:
            raise DataError(f"{root}: has no class {name!r}; correct option classes")
        if len(found) > classes.count(name):
            raise ConfigError(
                f"dataset.options.classes: {name!r} may mean {in_words(found)}: put the names into "
                "quotation marks"
            )
        chosen |= set(found)
    return chosen


def of_classes(clips: Sequence[Clip], classes: tuple[ClassName, ...], root: Path) -> list[Clip]:
    """The clips of the classes that are named, and what is between annotations; all without names.

    Raises:
        ConfigError, DataError: as :func:`chosen_names`.
    """
    names = tuple(name for name in classes if name != "")
    if not names:
        return [*clips]
    chosen = chosen_names(sorted({clip.label for clip in clips}), names, root) | {BACKGROUND}
    return [clip for clip in clips if clip.label in chosen]


def _is_value(value: ClassName, text: str) -> bool:
    """Whether YAML reads a folder's name as this value."""
    if isinstance(value, str):
        return False
    try:
        read = parse_yaml(text, text)
    except ConfigError:
        return False
    return type(read) is type(value) and bool(read == value)


def what_is_taken(clips: Sequence[Clip], table: str = "") -> str:
    """A sentence on the splits, folds and tables that are read; '' for plain class folders."""
    splits = sorted({clip.split for clip in clips} - {""}, key=SPLITS.index)
    folds = len({clip.group for clip in clips if is_fold(clip.group)})
    if table:
        parts = ["classes"]
        parts += ["splits"] * bool(splits)
        parts += [f"{folds} folds" if folds else "groups"] * any(clip.group for clip in clips)
        return f"{table} lists {in_words(parts)} of {len(clips)} files"
    if splits:
        named: Counter[tuple[str, str]] = Counter()
        for clip in clips:
            first, second = clip.clip_id.split("/")[:2]
            named[(second if first in clip.all_labels else first), clip.split] += 1
        return "folders of splits: " + ", ".join(
            f"{name} is {split} ({count} clips)" for (name, split), count in named.items()
        )
    if folds:
        return f"folders of {folds} folds: each is kept together"
    return ""


def nested_folders(clips: Sequence[Clip]) -> str:
    """A sentence on folders that are in several class folders; '' if sounds are beside them."""
    labels_of: dict[str, set[str]] = {}
    for clip in clips:
        first, *inner, _ = clip.clip_id.split("/")
        if first not in clip.all_labels or not inner or clip.split:
            return ""
        labels_of.setdefault(inner[0], set()).update(clip.all_labels)
    if any(len(labels) < 2 for labels in labels_of.values()):
        return ""
    shown = [*labels_of][:3] + ["others"] * (len(labels_of) > 3)
    return f"classes: the outer folders; {in_words(shown)} inside them are not"
