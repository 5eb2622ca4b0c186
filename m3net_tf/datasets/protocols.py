# SPDX-License-Identifier: Apache-2.0
"""Ways to split a data set's clips that several data sets share.

Each takes clips and returns them with their splits; all random draws depend only on the seed and
the clips' names, not on their order.
"""

import dataclasses
import hashlib
from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from pathlib import Path

from m3net_tf.datasets.clips import SPLITS, Clip
from m3net_tf.errors import ConfigError, DataError

RANDOM_SHARES = (0.6, 0.8)  # train up to here, validation up to here, the rest tests
HELD_OUT_SHARE = 0.2


class MissingFoldError(DataError):
    """A partial copy lacks the fold that was asked for."""


class UnsuitedProtocolError(ConfigError):
    """The clips lack what a protocol splits by, as groups or a listed split."""


def rank(key: Hashable) -> str:
    """A reproducible random order: sort by this hash of a name (and a seed) instead of drawing."""
    return hashlib.sha256(str(key).encode()).hexdigest()


def assign(clips: Iterable[Clip], split_of: Mapping[str, str]) -> list[Clip]:
    """The clips with the splits that a map of their names gives."""
    return [dataclasses.replace(clip, split=split_of[clip.clip_id]) for clip in clips]


def random_split(
    clips: Sequence[Clip], seed: int, shares: tuple[float, float] = RANDOM_SHARES
) -> list[Clip]:
    """Clips at random whatever their group: leaks where groups have several clips.

    Args:
        clips: all clips.
        seed: of the order.
        shares: where training and validation end, as shares of all clips.
    """
    order = sorted(clips, key=lambda clip: rank((seed, clip.clip_id)))
    ends = [round(share * len(clips)) for share in shares]
    return assign(
        clips, {clip.clip_id: SPLITS[sum(i >= e for e in ends)] for i, clip in enumerate(order)}
    )


def stratified_split(
    clips: Sequence[Clip], seed: int, shares: tuple[float, float] = RANDOM_SHARES
) -> list[Clip]:
    """:func:`random_split` class by class (the first label of several)."""
    split_of: dict[str, str] = {}
    for label in {clip.label for clip in clips}:
        part = [clip for clip in clips if clip.label == label]
        split_of |= {clip.clip_id: clip.split for clip in random_split(part, seed, shares)}
    return assign(clips, split_of)


def grouped_split(
    clips: Sequence[Clip],
    seed: int,
    test_share: float = HELD_OUT_SHARE,
    validation_share: float = HELD_OUT_SHARE,
) -> list[Clip]:
    """Whole groups at random: about ``test_share`` of each class tests, and so on."""
    split_of: dict[str, str] = {}
    rest = list(clips)
    shares = {"test": test_share, "validation": validation_share / (1 - test_share)}
    for split, share in shares.items():
        held = held_out_groups([c.group for c in rest], [c.label for c in rest], share, seed)
        split_of |= {clip.clip_id: split for clip in rest if clip.group in held}
        rest = [clip for clip in rest if clip.group not in held]
    return assign(clips, {clip.clip_id: "train" for clip in rest} | split_of)


def hold_out_validation(clips: Sequence[Clip], seed: int, share: float) -> list[Clip]:
    """Turn about ``share`` of the training clips, whole groups, into validation clips."""
    trained = [clip for clip in clips if clip.split == "train"]
    held = held_out_groups([c.group for c in trained], [c.label for c in trained], share, seed)
    return [
        dataclasses.replace(c, split="validation") if c.split == "train" and c.group in held else c
        for c in clips
    ]


def fold_split(
    clips: Sequence[Clip], fold_of: Mapping[str, int], fold: int, seed: int, where: Path
) -> tuple[list[Clip], tuple[str, ...]]:
    """One fold tests, the next one that is there (after the last comes the first) validates.

    With fewer than three folds none is left to validate on, so about a fifth of the training
    groups, whole ones and class by class, validates instead.

    Args:
        clips: all clips that are there.
        fold_of: clip name -> fold, counted from 1.
        fold: the test fold.
        seed: of the validation groups in the case of two folds.
        where: folder to name in errors.

    Returns:
        The clips with their splits, and notes on how.

    Raises:
        DataError: the test fold is missing (:class:`MissingFoldError`) or the only one.
    """
    folds = sorted({fold_of[clip.clip_id] for clip in clips})
    if fold not in folds:
        raise MissingFoldError(
            f"{where}: folder of the test fold is missing; "
            f"fetch it or choose from the folds {', '.join(map(str, folds))}"
        )
    if len(folds) == 1:
        raise DataError(f"{where.parent}: only fold {fold} is there; fetch one more to train on")
    following = folds[(folds.index(fold) + 1) % len(folds)] if len(folds) > 2 else None
    name = {fold: "test", following: "validation"}
    split = assign(clips, {c.clip_id: name.get(fold_of[c.clip_id], "train") for c in clips})
    if following is not None:
        return split, ()
    note = "validation: about a fifth of the training fold's groups"
    return hold_out_validation(split, seed, HELD_OUT_SHARE), (note,)


def held_out_groups(
    groups: Sequence[str], labels: Sequence[str], share: float, seed: int
) -> set[str]:
    """Choose whole groups that together hold about ``share`` of each class's clips.

    Groups are taken in a seeded random order, class by class, while they fit into the share;
    the first always does unless it is the class's only one, so that each class with two groups
    or more is on both sides.
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
        taken = 0
        for group in sorted(members, key=lambda g: rank((seed, g)))[: len(members) - 1]:
            size = sizes[group].total()
            if taken == 0 or taken + size <= share * total:
                chosen.add(group)
                taken += size
    return chosen
