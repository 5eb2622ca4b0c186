# SPDX-License-Identifier: Apache-2.0
"""Facts for every figure: how the clips were held out, and how much of them is cut off."""

import math
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import soundfile

from m3net_tf.datasets.clips import Clip
from m3net_tf.datasets.dataset import READERS, AudioDataset
from m3net_tf.datasets.registry import dataset_options

UNKNOWN_GROUPS = "(groups unknown)"
_ROUNDING_S = 0.005


def split_facts(dataset: AudioDataset) -> dict[str, Any]:
    """How a data set is split, as plain values for ``metrics.json``.

    Returns:
        ``name``, ``protocol``, ``fold``; ``leaking``, whether the protocol leaks by construction;
        ``groups_known``; ``test_leak``, the share of the test clips whose group is trained on;
        ``statement``, all of that in words.
    """
    info = dataset.info
    facts: dict[str, Any] = {
        "name": info.name,
        "protocol": info.protocol,
        "leaking": info.leaking,
        "fold": info.fold,
        "group": info.group,
        "groups_known": info.groups_known,
        "test_leak": dataset.leak() if info.groups_known else None,
    }
    return {**facts, "statement": _statement(facts)}


def protocol_statement(source: AudioDataset | Mapping[str, Any]) -> str:
    """A protocol in words that say whether figures under it can be believed.

    Args:
        source: a data set; or what a result says of its own, such as :func:`split_facts` or no
            more than a ``protocol``, as older results do.
    """
    if isinstance(source, AudioDataset):
        source = split_facts(source)
    return str(source.get("statement") or _statement(source))


def _statement(facts: Mapping[str, Any]) -> str:
    protocol = str(facts["protocol"])
    if facts.get("fold") is not None:
        protocol = f"{protocol}, fold {facts['fold']} tests"
    if not facts.get("groups_known", UNKNOWN_GROUPS not in protocol):
        named = protocol.replace(f" {UNKNOWN_GROUPS}", "")
        return f"{named}, speakers unknown: this figure may be too high; set group_pattern"
    group, leak = facts.get("group", "group"), facts.get("test_leak")
    if leak:
        return (
            f"{protocol}, LEAKS: {100 * leak:.3g} % of the test clips share a {group} with "
            "training, so this figure is too high; choose another protocol"
        )
    if leak is None and facts.get("leaking"):
        return f"{protocol}, LEAKS: test clips share groups with training; the figure is too high"
    if leak is None or group == "clip":
        return protocol
    return f"{protocol}: no {group} is in both training and test"


def cut_statement(dataset: AudioDataset) -> str | None:
    """How many clips are longer than the window and lose what is beyond it; None: none does.

    Reads the headers of all files. Data sets whose window is not the user's to choose say nothing.
    """
    info = dataset.info
    if "clip_s" not in dataset_options(info.name):
        return None
    with ThreadPoolExecutor(READERS) as pool:
        lengths_s = np.array([s for s in pool.map(_length_s, dataset.clips) if s], float)
    cut = int((lengths_s > info.clip_s + _ROUNDING_S).sum())
    if not cut:
        return None
    shares = np.percentile(lengths_s, [95, 100], method="higher").tolist()
    most, all_of_them = (math.ceil(round(10 * length_s, 3)) / 10 for length_s in shares)
    part = "their middle" if info.fit == "crop" else "their beginning"
    advice = f"clip_s={all_of_them:g} keeps all of them whole"
    if info.clip_s < most < all_of_them:
        advice += f", clip_s={most:g} those of 95 % of the clips"
    return (
        f"{info.name}: {cut} of {len(lengths_s)} clips are longer than the window of "
        f"{info.clip_s:g} s, so only {part} is heard; {advice}"
    )


def _length_s(clip: Clip) -> float:
    """Length of a clip's sound; 0 where it has no file or, which reading reports, a broken one."""
    if clip.path is None or clip.synthetic:
        return 0.0
    if clip.duration_s is not None:
        return clip.duration_s
    try:
        return float(soundfile.info(clip.path).duration) - clip.start_s
    except (soundfile.LibsndfileError, RuntimeError):
        return 0.0
