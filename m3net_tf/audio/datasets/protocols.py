# SPDX-License-Identifier: Apache-2.0
"""Splits of clips that several data sets use.

Each function returns the clips with their splits; only :func:`divide_in_order` takes files. Random
draws depend only on the seed and the clips' names, not on their order.
"""

import dataclasses
import hashlib
from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from m3net_tf.audio.datasets.clips import SPLITS, Clip, DatasetInfo
from m3net_tf.system.errors import ConfigError, DataError

RANDOM_SHARES = (0.6, 0.8)  # end of training, end of validation
LEAKING_SHARES = {
    "paper-random": RANDOM_SHARES,
    "random-80-20": (0.7, 0.8),  # an 80:20 split, of whose 80 an eighth validates
}
HELD_OUT_SHARE = 0.2
_FEW_GROUPS = 3
_DRAWS = 300
LEAST_SHARE, LEAST_CLIPS = 0.5, 5
"""Of all clips, and of a class: fewer do not train a network."""


class MissingFoldError(DataError):
    """A partial copy lacks the requested fold."""


class UnsuitedProtocolError(ConfigError):
    """The clips lack the groups or the listed split that a protocol needs."""


def rank(key: Hashable) -> str:
    """Hash of a name (and a seed): sorting by it gives a reproducible random order."""
    return hashlib.sha256(str(key).encode()).hexdigest()


def split_by_protocol(
    info: DatasetInfo,
    clips: Sequence[Clip],
    seed: int,
    fold_of: Mapping[str, int] | None = None,
    test_files: Path = Path(),
    unit: str = "clips",
) -> tuple[DatasetInfo, Sequence[Clip]]:
    """Split clips by folds, by groups or at random; the description gets notes on the split.

    Other protocols change nothing.

    Args:
        fold_of: map of clip name to fold, counted from 1, for the protocols with folds.
        test_files: see :func:`fold_split`.
        unit: what a clip is called.
    """
    protocol, notes = info.protocol_name, info.notes
    if fold_of and protocol in info.folds:
        clips, remarks = fold_split(clips, fold_of, info.fold or 1, seed, test_files)
        notes += remarks
    elif protocol == "grouped":
        clips = grouped_split(clips, seed)
    elif info.leaking:
        clips = random_split(clips, seed, LEAKING_SHARES[protocol])
        group = info.group.split(" (")[0]
        notes += (f"leaks: {unit} of one {group} are on both sides of this random split",)
    return dataclasses.replace(info, notes=notes), clips


def assign(clips: Iterable[Clip], split_of: Mapping[str, str]) -> list[Clip]:
    """The clips with their splits from a map of names."""
    return [dataclasses.replace(clip, split=split_of[clip.clip_id]) for clip in clips]


def divide_in_order(files: Sequence[Path], shares: Mapping[str, float]) -> dict[str, list[Path]]:
    """Files by split, each a run of them, so that neighbours mostly stay together.

    Args:
        shares: of the splits; they sum to 1.
    """
    divided: dict[str, list[Path]] = {}
    start = 0
    share = 0.0
    for split in SPLITS:
        share += shares.get(split, 0.0)
        stop = round(share * len(files))
        divided[split] = list(files[start:stop])
        start = stop
    return divided


def random_split(
    clips: Sequence[Clip], seed: int, shares: tuple[float, float] = RANDOM_SHARES
) -> list[Clip]:
    """Split clips at random, ignoring groups: leaks if groups have several clips.

    Args:
        shares: ends of training and validation, as shares of all clips.
    """
    order = sorted(clips, key=lambda clip: rank((seed, clip.clip_id)))
    ends = [round(share * len(clips)) for share in shares]
    return assign(
        clips, {clip.clip_id: SPLITS[sum(i >= e for e in ends)] for i, clip in enumerate(order)}
    )


def stratified_split(clips: Sequence[Clip], seed: int) -> list[Clip]:
    """:func:`random_split` class by class (by the first label)."""
    split_of: dict[str, str] = {}
    for label in {clip.label for clip in clips}:
        part = [clip for clip in clips if clip.label == label]
        split_of |= {clip.clip_id: clip.split for clip in random_split(part, seed)}
    return assign(clips, split_of)


def grouped_split(clips: Sequence[Clip], seed: int) -> list[Clip]:
    """Split whole groups at random; test and validation get :data:`HELD_OUT_SHARE` of a class."""
    split_of: dict[str, str] = {}
    remaining = list(clips)
    shares = {"test": HELD_OUT_SHARE, "validation": HELD_OUT_SHARE / (1 - HELD_OUT_SHARE)}
    for split, share in shares.items():
        held = held_out_groups(
            [c.group for c in remaining], [c.label for c in remaining], share, seed
        )
        split_of |= {clip.clip_id: split for clip in remaining if clip.group in held}
        remaining = [clip for clip in remaining if clip.group not in held]
    return assign(clips, {clip.clip_id: "train" for clip in remaining} | split_of)


def balanced_split(clips: Sequence[Clip], seed: int) -> tuple[list[Clip], str]:
    """Split whole groups that have several classes each, as long recordings have.

    Of some hundred random splits it is the one in which test and validation are nearest to
    :data:`HELD_OUT_SHARE` of each class; a split without a class is farther than any with it. Of
    two or three groups one tests, and a fifth of the others' clips validate: training would lose
    too much.

    Returns:
        The clips, and a sentence on validation if it is not of other groups.

    Raises:
        DataError: there is only one group.
    """
    groups = sorted({clip.group for clip in clips})
    if len(groups) < 2:
        raise DataError(
            f"{groups[0]} is the only recording, and its parts cannot both train and test: add "
            "another one, from another time and place"
        )
    few = len(groups) <= _FEW_GROUPS
    held = max(1, round(HELD_OUT_SHARE * len(groups)))
    ends = [held, held if few else 2 * held]  # of test and validation
    shares = _shares_of_classes(clips, groups)
    rng = np.random.default_rng(seed)
    drawn = [rng.permutation(len(groups)) for _ in range(_DRAWS)]
    best = min(drawn, key=lambda order: _distance([shares[part] for part in np.split(order, ends)]))
    names = [[groups[i] for i in part] for part in np.split(best, ends)]
    split_of = dict.fromkeys(names[0], "test") | dict.fromkeys(names[1], "validation")
    split = [dataclasses.replace(c, split=split_of.get(c.group, "train")) for c in clips]
    if not few:
        return split, ""
    note = (
        f"with only {len(groups)} recordings, about a fifth of the training clips validates, from "
        "the same recordings"
    )
    return validated_by_clips(split, seed), note


def _shares_of_classes(clips: Sequence[Clip], groups: Sequence[str]) -> npt.NDArray[np.float64]:
    """Share of each class's clips that a group has, shape (groups, classes)."""
    row = {group: i for i, group in enumerate(groups)}
    column = {label: i for i, label in enumerate(sorted({clip.label for clip in clips}))}
    sizes = np.zeros((len(row), len(column)))
    for clip in clips:
        sizes[row[clip.group], column[clip.label]] += 1
    return np.asarray(sizes / sizes.sum(axis=0))


def _distance(parts: Sequence[npt.NDArray[np.float64]]) -> float:
    """How far test, validation and training are from their shares of the classes.

    Args:
        parts: shares of the groups of each, shape (groups, classes); no group is no part.
    """
    distance = 0.0
    for part, share in zip(parts, (HELD_OUT_SHARE, HELD_OUT_SHARE, None), strict=True):
        if not len(part):
            continue
        of_class = part.sum(axis=0)
        distance += 2.0 * of_class.size * int((of_class == 0).sum())
        if share is not None:
            distance += float(np.abs(of_class - share).sum())
    return distance


def validated_by_clips(clips: Sequence[Clip], seed: int) -> list[Clip]:
    """The clips, of which about a fifth of the training validates, whatever its group.

    The groups of training and validation get other names.
    """
    alone = [dataclasses.replace(clip, group=clip.clip_id) for clip in clips]
    held = hold_out_validation(alone, seed, HELD_OUT_SHARE)
    return [
        old if old.split == "test" else dataclasses.replace(new, group=f"{old.group}, {new.split}")
        for old, new in zip(clips, held, strict=True)
    ]


def hold_out_validation(clips: Sequence[Clip], seed: int, share: float) -> list[Clip]:
    """Move whole groups with about ``share`` of the training clips to validation."""
    trained = [clip for clip in clips if clip.split == "train"]
    held = held_out_groups([c.group for c in trained], [c.label for c in trained], share, seed)
    return [
        dataclasses.replace(c, split="validation") if c.split == "train" and c.group in held else c
        for c in clips
    ]


def training_shortage(clips: Sequence[Clip], least_share: float = LEAST_SHARE) -> str:
    """What training lacks, in words: half of all clips, or five clips of a class; '' if nothing."""
    counts = Counter(clip.split for clip in clips)
    if counts["train"] < least_share * len(clips):
        numbers = ", ".join(f"{counts[split]} {split}" for split in SPLITS)
        return f"less than half of the clips train ({numbers})"
    trained = Counter(label for clip in clips if clip.split == "train" for label in clip.all_labels)
    totals = Counter(label for clip in clips for label in clip.all_labels)
    label, total = min(totals.items(), key=lambda item: (trained[item[0]], item))
    if trained[label] < LEAST_CLIPS:
        return f"only {trained[label]} of the {total} clips of class {label!r} train"
    return ""


def fold_split(
    clips: Sequence[Clip], fold_of: Mapping[str, int], fold: int, seed: int, test_files: Path
) -> tuple[list[Clip], tuple[str, ...]]:
    """Test on one fold, validate on the next available one, and add notes; 1 follows the last.

    With only two folds none is left for validation. Then whole groups with about a fifth of the
    training clips of each class validate instead.

    Args:
        fold_of: map of clip name to fold, counted from 1.
        seed: seed of the draw of validation groups if there are two folds.
        test_files: folder or pattern of the test fold, for errors.

    Raises:
        DataError: the test fold is missing (:class:`MissingFoldError`) or the only one.
    """
    folds = sorted({fold_of[clip.clip_id] for clip in clips})
    if fold not in folds:
        raise MissingFoldError(
            f"{test_files}: folder of the test fold is missing; "
            f"fetch it or choose from the folds {', '.join(map(str, folds))}"
        )
    if len(folds) == 1:
        raise DataError(
            f"{test_files.parent}: only fold {fold} is available; fetch another one for training"
        )
    following = folds[(folds.index(fold) + 1) % len(folds)] if len(folds) > 2 else None
    name = {fold: "test", following: "validation"}
    split = assign(clips, {c.clip_id: name.get(fold_of[c.clip_id], "train") for c in clips})
    if following is not None:
        return split, ()
    note = "validation: about a fifth of the training fold's groups"
    return hold_out_validation(split, seed, HELD_OUT_SHARE), (note,)


def grouped_fold_split(clips: Sequence[Clip], fold: int, folds: int, seed: int) -> list[Clip]:
    """:func:`fold_split` with folds of whole groups, among which each class is spread evenly.

    Raises:
        UnsuitedProtocolError: there are too few groups for this fold.
    """
    fold_of = _dealt(clips, folds, seed)
    if fold not in fold_of.values():
        raise UnsuitedProtocolError(f"too few groups for fold {fold} of {folds}")
    split, _ = fold_split(clips, fold_of, fold, seed, Path())
    trained = {label for clip in split if clip.split == "train" for label in clip.all_labels}
    if absent := sorted({label for clip in clips for label in clip.all_labels} - trained):
        raise UnsuitedProtocolError(
            f"class {absent[0]!r} has too few groups for {folds} folds: fold {fold} trains none"
        )
    return split


def _dealt(clips: Sequence[Clip], folds: int, seed: int) -> dict[str, int]:
    """Fold of each clip: the largest groups first, each to the fold with the least of its class."""
    members: dict[str, list[Clip]] = {}
    for clip in clips:
        members.setdefault(clip.group, []).append(clip)
    held: list[Counter[str]] = [Counter() for _ in range(folds)]
    fold_of: dict[str, int] = {}
    for group in sorted(members, key=lambda name: (-len(members[name]), rank((seed, name)))):
        sizes = Counter(clip.label for clip in members[group])
        label = min(sizes, key=lambda name: (-sizes[name], name))
        chosen = min(range(folds), key=lambda i: (held[i][label], held[i].total(), i))
        held[chosen] += sizes
        fold_of |= {clip.clip_id: chosen + 1 for clip in members[group]}
    return fold_of


def held_out_groups(
    groups: Sequence[str], labels: Sequence[str], share: float, seed: int
) -> set[str]:
    """Choose whole groups that together contain about ``share`` of each class's clips.

    Groups are chosen in a seeded random order, class by class, while they fit into the share. The
    first is always chosen unless it is the class's only group, so each class with two or more
    groups is both held out and not.
    """
    sizes: dict[str, Counter[str]] = {}
    for group, label in zip(groups, labels, strict=True):
        sizes.setdefault(group, Counter())[label] += 1
    by_label: dict[str, list[str]] = {}
    for group, count in sizes.items():
        by_label.setdefault(min(count, key=lambda n: (-count[n], n)), []).append(group)
    chosen: set[str] = set()
    for members in by_label.values():
        total = sum(sizes[group].total() for group in members)
        chosen_clips = 0
        for group in sorted(members, key=lambda g: rank((seed, g)))[: len(members) - 1]:
            size = sizes[group].total()
            if chosen_clips == 0 or chosen_clips + size <= share * total:
                chosen.add(group)
                chosen_clips += size
    return chosen
