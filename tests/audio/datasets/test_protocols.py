# SPDX-License-Identifier: Apache-2.0
"""Every protocol of every data set, on a small official layout and on real subsets."""

from collections import Counter

import pytest

from m3net_tf.audio.datasets import SPLITS, dataset_info, dataset_names, load_dataset
from m3net_tf.audio.datasets.clips import Clip
from m3net_tf.audio.datasets.protocols import grouped_split, random_split, stratified_split
from m3net_tf.system.errors import ConfigError, DataError

REAL = {
    "speech_commands": "speech_commands_v2_mini",
    "us8k": "urbansound8k_folds_1_2",
    "esc10": "esc10",
    "ravdess": "ravdess_speech_actors_01_08",
}
MANY_FILES = ("speech_commands", "us8k")
PROTOCOLS = [
    (name, protocol)
    for name in dataset_names()
    if name != "synth"
    for protocol in dataset_info(name).protocols
]


def folds_of(name: str, protocol: str) -> list[int | None]:
    info = dataset_info(name)
    return [*range(1, info.folds.get(protocol, 0) + 1)] or [None]


def prove(dataset) -> None:
    """No group is on two sides under a clean protocol; a leaking one reports it."""
    if dataset.info.leaking:
        assert dataset.leak() > 0.2
        assert any("leaks" in note for note in dataset.info.notes)
        return
    groups = {s: {clip.group for clip in dataset.split(s)} for s in SPLITS}
    assert not groups["train"] & (groups["validation"] | groups["test"])
    if not dataset.info.held_out_may_share:
        assert not groups["validation"] & groups["test"]
    assert dataset.leak() == 0
    assert all(dataset.split(split) for split in SPLITS)


@pytest.mark.parametrize(("name", "protocol"), PROTOCOLS)
def test_no_group_on_both_sides(name, protocol, make_layout):
    root = make_layout(name)
    if (name, protocol) == ("folder", "listed-split"):
        with pytest.raises(ConfigError, match="has no split; give a column split or folders"):
            load_dataset(name, root, protocol=protocol)
        return
    options = {"group_pattern": "(speaker[0-9])"} if name == "folder" else {}
    tested: Counter[str] = Counter()
    for fold in folds_of(name, protocol):
        dataset = load_dataset(name, root, protocol=protocol, fold=fold, **options)
        prove(dataset)
        tested.update(clip.clip_id for clip in dataset.split("test"))
        assert dataset.load(dataset.clips[0]).shape == (dataset.info.clip_samples,)
        again = load_dataset(name, root, protocol=protocol, fold=fold, **options)
        assert dataset.clip_list_digest() == again.clip_list_digest()
    if fold is not None:  # each clip is tested once
        assert tested == Counter(clip.clip_id for clip in dataset.clips)


@pytest.mark.parametrize(
    ("name", "subset"),
    [
        pytest.param(*pair, marks=pytest.mark.slow if pair[0] in MANY_FILES else ())
        for pair in REAL.items()
    ],
)
def test_real_subsets(name, subset, real_data):
    root = real_data(subset)
    for protocol in dataset_info(name).protocols:
        done = 0
        for fold in folds_of(name, protocol):
            try:
                dataset = load_dataset(name, root, protocol=protocol, fold=fold)
            except DataError as error:
                assert "the test fold is missing" in str(error)
                continue
            prove(dataset)
            done += 1
        folds = {"us8k": 2, "esc10": 5, "ravdess": 4 if protocol.startswith("leave") else 2}
        assert done == folds.get(name, 1) or fold is None


CLIPS = [Clip(f"{i}", "ab"[i % 2], "train", f"g{i // 4}") for i in range(200)]


def shares(clips: list[Clip]) -> list[int]:
    return [sum(clip.split == split for clip in clips) for split in SPLITS]


@pytest.mark.parametrize("split", [random_split, stratified_split, grouped_split])
def test_drawn_splits_depend_on_seed_and_names_alone(split):
    first = split(CLIPS, 0)
    second = split(CLIPS, 1)
    assert shares(first) == [120, 40, 40]
    assert {c.clip_id: c.split for c in first} != {c.clip_id: c.split for c in second}
    again = split(CLIPS[::-1], 0)
    assert {c.clip_id: c.split for c in first} == {c.clip_id: c.split for c in again}
    assert [c.clip_id for c in first] == [c.clip_id for c in CLIPS]


def test_stratified_split_keeps_the_classes_shares():
    clips = [Clip(f"{i}", "ab"[i % 10 == 0], "train", "") for i in range(200)]
    for label, count in (("a", 180), ("b", 20)):
        part = [clip for clip in stratified_split(clips, 3) if clip.label == label]
        assert shares(part) == [0.6 * count, 0.2 * count, 0.2 * count]
