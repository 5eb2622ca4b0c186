# SPDX-License-Identifier: Apache-2.0
"""Statements for every figure: how clips were held out, and how many are truncated."""

import math
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NotRequired, TypedDict

import numpy as np

from m3net_tf.audio.datasets.dataset import READERS, AudioDataset
from m3net_tf.audio.datasets.registry import dataset_options
from m3net_tf.audio.datasets.windows import ROUNDING_S, length_s
from m3net_tf.system.words import counted

UNKNOWN_GROUPS = "(groups unknown)"


class SplitFacts(TypedDict):
    """Facts about a data set's split, for ``metrics.json``.

    Attributes:
        test_leak: share of the test clips whose group is in training; None if groups are unknown.
        statement: all of it in words.
        multi_label: whether mAP is the figure, because clips may have several labels; absent if
            not.
        group_guess: see :class:`.clips.DatasetInfo`, as ``group_exceptions``; absent if empty.
    """

    name: str
    protocol: str
    leaking: bool
    fold: int | None
    group: str
    groups_known: bool
    test_leak: float | None
    statement: str
    multi_label: NotRequired[bool]
    group_guess: NotRequired[str]
    group_exceptions: NotRequired[str]
    subset: NotRequired[str]
    subset_sha256: NotRequired[str]


def split_facts(dataset: AudioDataset) -> SplitFacts:
    """Facts about a data set's split, as plain values."""
    info = dataset.info
    facts: SplitFacts = {
        "name": info.name,
        "protocol": info.protocol,
        "leaking": info.leaking,
        "fold": info.fold,
        "group": info.group,
        "groups_known": info.groups_known,
        "test_leak": dataset.leak() if info.groups_known else None,
        "statement": "",
    }
    if info.multi_label:
        facts["multi_label"] = True
    if info.group_guess:
        facts["group_guess"] = info.group_guess
    if info.group_exceptions:
        facts["group_exceptions"] = info.group_exceptions
    facts["statement"] = _statement(facts)
    if info.subset:
        facts["subset"], facts["subset_sha256"] = info.subset, info.subset_sha256
    return facts


def protocol_statement(source: AudioDataset | Mapping[str, object]) -> str:
    """A protocol in words that state whether its figures are reliable.

    Args:
        source: a data set; or the facts stored in a result: the result of :func:`split_facts`, or
            only ``protocol`` in older results.
    """
    facts = split_facts(source) if isinstance(source, AudioDataset) else source
    return str(facts.get("statement") or _statement(facts))


def _statement(facts: Mapping[str, Any]) -> str:
    protocol = str(facts["protocol"])
    figure = "mAP" if facts.get("multi_label") else "accuracy"
    if facts.get("fold") is not None:
        protocol = f"{protocol}, fold {facts['fold']} tests"
    if not facts.get("groups_known", UNKNOWN_GROUPS not in protocol):
        name = protocol.replace(f" {UNKNOWN_GROUPS}", "")
        own = facts.get("name", "folder") == "folder"  # the user may know the groups
        groups, advice = ("speaker", "; set group_pattern") if own else (facts["group"], "")
        return f"{name}, {groups}s unknown: the {figure} may be too high{advice}"
    guess = facts.get("group_guess")
    leak = facts.get("test_leak")
    group = "guessed group" if guess else facts.get("group", "group")
    if leak:
        return (
            f"{protocol}, LEAKS: {100 * leak:.3g} % of the test clips share a {group} with "
            "training, so this figure is too high; choose another protocol"
        )
    if leak is None and facts.get("leaking"):
        return f"{protocol}, LEAKS: test clips share groups with training; the figure is too high"
    if leak is None or group == "clip":
        return protocol
    exceptions = "".join(f"; {words}" for words in [facts.get("group_exceptions")] if words)
    if guess:
        return (
            f"{protocol}, by a GUESS of the groups from the file names, {guess}: if it is wrong, "
            f"the {figure} may be too high{exceptions}"
        )
    return f"{protocol}: no {group} is in both training and test{exceptions}"


def silence_statement(dataset: AudioDataset) -> str | None:
    """A sentence on the clips that are left out because they have no sound; None if none is."""
    silent = dataset.silent
    if not silent:
        return None
    return (
        f"{dataset.info.name}: leaves out {counted(len(silent), 'clip')} of digital zero, "
        f"which is not an example of a class, such as {silent[0]}: replace or delete such files "
        "(empty ones count, and those whose channels cancel each other in the average)"
    )


def cut_statement(dataset: AudioDataset) -> str | None:
    """A sentence on what becomes of clips that are longer than the window; None if none is.

    Reads the headers of all files. Data sets without the option ``clip_s`` give None.
    """
    info = dataset.info
    if wholes := {clip.whole for clip in dataset.clips if clip.whole}:
        listed = {clip.whole or clip.clip_id for clip in dataset.clips if not clip.synthetic}
        return (
            f"{info.name}: the window of {info.clip_s:g} s is shorter than {len(wholes)} of "
            f"{counted(len(listed), 'clip')}: "
            "training uses their half-overlapping windows that have sound; validation and test "
            "take the mean over these windows"
        )
    if "clip_s" not in dataset_options(info.name):
        return None
    with ThreadPoolExecutor(READERS) as pool:
        lengths_s = np.array([s for s in pool.map(length_s, dataset.clips) if s], float)
    cut = int((lengths_s > info.clip_s + ROUNDING_S).sum())
    if not cut:
        return None
    percentiles_s = np.percentile(lengths_s, [95, 100], method="higher").tolist()
    length_95_s, longest_s = (math.ceil(round(10 * length_s, 3)) / 10 for length_s in percentiles_s)
    part = "their middle" if info.fit == "crop" else "their beginning"
    advice = f"clip_s={longest_s:g} keeps all clips whole"
    if info.clip_s < length_95_s < longest_s:
        advice += f", clip_s={length_95_s:g} keeps 95 % of the clips whole"
    return (
        f"{info.name}: the window of {info.clip_s:g} s is shorter than {cut} of "
        f"{counted(len(lengths_s), 'clip')}, so only {part} is used; {advice}"
    )
