# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import dataclasses
import importlib
import os
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest
from refusals import refuses

from m3net_tf.audio.datasets import load_dataset, registry, statistics
from m3net_tf.audio.datasets.clips import Clip, DatasetInfo, is_label
from m3net_tf.audio.datasets.dataset import AudioDataset
from m3net_tf.audio.datasets.protocols import held_out_groups
from m3net_tf.audio.datasets.selection import with_training_share
from m3net_tf.system.errors import ConfigError, DataError
from m3net_tf.system.text_tables import read_table
from m3net_tf.training.clips.source import load_section
from m3net_tf.training.recipe.sections import DatasetSection

INFO = DatasetInfo(
    name="toy",
    labels=("a", "b"),
    sample_rate_hz=16_000,
    clip_s=1.0,
    protocols=("official-split", "paper-random"),
    licence="none",
    citation="none",
    url="nowhere",
    protocol="official-split",
    leaking_protocols=("paper-random",),
)
CLIPS = (
    Clip("1", "a", "train", "g1"),
    Clip("2", "b", "train", "g1"),
    Clip("3", "a", "validation", "g2"),
    Clip("4", "b", "test", "g3"),
)

OPEN = ("folder", "normal_only", "synth")
"""Data sets without a number of clips of their own."""


def change(index: int, **changes: object) -> AudioDataset:
    clips = list(CLIPS)
    clips[index] = dataclasses.replace(clips[index], **changes)
    return AudioDataset(INFO, tuple(clips))


def test_every_data_set_describes_itself():
    expected = "audioset biodcase2025 biodcase2026 cremad esc10 esc50 folder fsd50k normal_only"
    expected += " nsynth ravdess speech_commands synth us8k"
    assert " ".join(registry.dataset_names()) == expected
    for name in registry.dataset_names():
        info = registry.dataset_info(name)
        assert info.name == name
        assert info.protocol == info.protocols[0]
        assert all([info.classes or name == "folder", info.licence, info.citation])
        assert all([info.url, info.clips or name in OPEN, info.group])
        text = importlib.import_module(f"m3net_tf.audio.datasets.{name}").__doc__
        for field in ("Classes", "Clips", "Rate", "Licence", "Citation", "Size", "Protocol"):
            assert f"\n{field}" in text, (name, field)


def test_import_needs_no_tensorflow():
    code = (
        "import sys, m3net_tf.audio.frontend, m3net_tf.audio.datasets as d; d.dataset_names();"
        "sys.exit(any(m.split('.')[0] in ('tensorflow', 'tf_keras', 'keras') for m in sys.modules))"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "us9k"}, "'us9k' is unknown; choose from .*speech_commands.*synth.*us8k"),
        ({"name": "synth", "clips": 3}, "no option 'clips'; its options are clips_per_class"),
        ({"name": "us8k", "protocol": "mine"}, "'mine'; choose from official-10fold, grouped"),
        ({"name": "synth", "fold": 1}, "has no folds; leave fold out"),
        ({"name": "us8k", "fold": 11}, "dataset.fold is 11: give .* at most 10"),
        ({"name": "synth", "seed": -1}, "seed is -1"),
        ({"name": "synth", "clips_per_class": "many"}, "clips_per_class is 'many'"),
        ({"name": "synth", "clips_per_class": 5}, "clips_per_class is 5: .* at least 6"),
    ],
)
def test_wrong_settings(arguments, message):
    with pytest.raises(ConfigError, match=message):
        load_dataset(**arguments)


@pytest.mark.parametrize("name", ["speech_commands", "us8k"])
def test_missing_folder(name, tmp_path):
    with refuses(DataError, "--data-dir", "DATA_DIR"):
        load_dataset(name)
    with refuses(DataError, "DATA_DIR"):
        load_dataset(name, tmp_path / "nowhere")
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match=r"file: folder of .* does not exist"):
        load_dataset(name, tmp_path / "file")


def test_views_of_a_data_set():
    dataset = AudioDataset(INFO, CLIPS)
    assert [c.clip_id for c in dataset.split("train")] == ["1", "2"]
    assert dataset.label_ids(CLIPS).tolist() == [0, 1, 0, 1]
    assert dataset.counts() == {
        "train": {"a": 1, "b": 1},
        "validation": {"a": 1, "b": 0},
        "test": {"a": 0, "b": 1},
    }
    with refuses(ConfigError, "'dev'"):
        dataset.split("dev")
    with refuses(DataError, "clip 1"):
        dataset.load(CLIPS[0])


def test_clip_list_hash_ignores_order_and_sees_changes():
    dataset = AudioDataset(INFO, CLIPS)
    # Origin: printf '4\tb\n' | sha256sum
    assert dataset.clip_list_hash()["test"] == (
        "a3388c37a33caccb2a0d08eabceae19358a025c8018828deef5b04c9255e9aa2"
    )
    assert AudioDataset(INFO, CLIPS[::-1]).clip_list_hash() == dataset.clip_list_hash()
    assert change(3, label="a").clip_list_hash()["test"] != dataset.clip_list_hash()["test"]
    assert change(3, label="a").clip_list_hash()["train"] == dataset.clip_list_hash()["train"]


def test_group_on_both_sides():
    AudioDataset(INFO, CLIPS).check_disjoint()
    leaking = change(3, group="g1")
    assert leaking.shared_groups() == {"g1": ("train", "test")}
    assert leaking.leak() == 1.0
    with refuses(DataError, "g1"):
        leaking.check_disjoint()


def test_empty_class_and_bad_lists(tmp_path):
    AudioDataset(INFO, CLIPS).check_classes()
    with refuses(DataError, "'b'"):
        change(1, label="a").check_classes(tmp_path)
    with refuses(DataError, "clip 1"):
        change(1, clip_id="1")
    with refuses(DataError, "2", "'c'"):
        change(1, label="c")
    with refuses(DataError, "2", "'b'", "'dev'"):
        change(1, split="dev")


def test_gain_keeps_the_16_bit_grid(tmp_path, write_wav):
    path = write_wav(tmp_path / "a.wav", np.int16([1000, 1001, -1001]))
    clip = Clip("1", "a", "train", "g1", path, gain=0.5)
    audio = AudioDataset(INFO, (clip,)).load(clip)
    assert (audio[:4] * 32768).tolist() == [500, 501, -500, 0]
    assert audio.shape == (16_000,)


def test_held_out_groups_are_whole_and_near_the_share():
    rng = np.random.default_rng(0)
    labels = [f"class{i % 4}" for i in range(400)]
    groups = [f"{label}/{rng.integers(12)}" for label in labels]
    held = held_out_groups(groups, labels, 0.2, 1)
    assert held == held_out_groups(groups[::-1], labels[::-1], 0.2, 1)
    assert held != held_out_groups(groups, labels, 0.2, 2)
    for label in set(labels):
        share = np.mean([g in held for g, x in zip(groups, labels, strict=True) if x == label])
        assert 0.05 < share <= 0.2


def test_the_only_group_of_a_class_is_not_held_out():
    groups = ["x", "x", "y", "z"]
    labels = ["a", "a", "b", "b"]
    held = held_out_groups(groups, labels, 0.2, 0)
    assert "x" not in held
    assert len(held & {"y", "z"}) == 1


def test_several_labels(tmp_path):
    info = dataclasses.replace(INFO, labels=("a", "b", "c"), multi_label=True)
    clips = (CLIPS[0], dataclasses.replace(CLIPS[1], labels=("b", "c")))
    dataset = AudioDataset(info, clips)
    assert dataset.label_matrix(clips).tolist() == [[1, 0, 0], [0, 1, 1]]
    assert dataset.label_matrix(clips).dtype == np.float32
    assert dataset.label_matrix(()).shape == (0, 3)
    assert dataset.counts()["train"] == {"a": 1, "b": 1, "c": 1}
    assert dataset.clip_list_hash() != AudioDataset(info, CLIPS[:2]).clip_list_hash()
    with refuses(ConfigError, "label_matrix"):
        dataset.label_ids(clips)
    with refuses(DataError, "'d'"):
        AudioDataset(info, (dataclasses.replace(CLIPS[1], labels=("b", "d")),))
    single_label = AudioDataset(INFO, CLIPS)
    assert (
        single_label.label_matrix(CLIPS).argmax(axis=1).tolist()
        == single_label.label_ids(CLIPS).tolist()
    )


def test_held_out_parts_may_share_groups_where_published_so():
    info = dataclasses.replace(INFO, held_out_may_share=True)
    clips = (*CLIPS[:2], CLIPS[2], dataclasses.replace(CLIPS[3], group="g2"))
    assert AudioDataset(INFO, clips).shared_groups() == {"g2": ("validation", "test")}
    AudioDataset(info, clips).check_disjoint()
    trained = dataclasses.replace(CLIPS[3], group="g1")
    assert "g1" in AudioDataset(info, (*CLIPS[:3], trained)).shared_groups()


def test_broken_files_are_an_error_or_skipped_by_name(tmp_path, make_layout):
    root = make_layout("ravdess")
    names = (
        "Actor_05/03-01-01-01-01-01-05.wav",
        "Actor_06/03-01-02-01-01-01-06.wav",
        "Actor_07/03-01-01-01-01-01-07.wav",
    )
    paths = [next(root.rglob(name)) for name in names]
    paths[0].write_bytes(paths[0].read_bytes()[:1000])
    paths[1].write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    sound = paths[2].read_bytes()
    paths[2].write_bytes(sound[:24] + (2_000_000).to_bytes(4, "little") + sound[28:])
    dataset = load_dataset("ravdess", root)
    with pytest.raises(DataError, match="is truncated"):
        dataset.load(next(clip for clip in dataset.clips if clip.clip_id == names[0]))
    skipped = load_dataset("ravdess", root, skip_broken=True)
    assert {c.clip_id for c in dataset.clips} - {c.clip_id for c in skipped.clips} == set(names)
    assert skipped.info.protocol.endswith("(without 3 broken clips)")
    assert all(any(str(path) in note for note in skipped.info.notes) for path in paths)
    assert any("is a git-lfs pointer; run git lfs pull" in note for note in skipped.info.notes)
    assert dataset.clip_list_hash() != skipped.clip_list_hash()


def test_a_folder_for_each_data_set(make_layout, cache):
    root = make_layout("esc10", cache / "datasets")
    for data_dir in (root, root.parent, None):
        assert len(load_dataset("esc10", data_dir).clips) == 200
    root.rename(root.parent / "esc50")  # ESC-10 comes in ESC-50's archive
    assert registry.data_folder("esc10") == root.parent / "esc50"
    assert len(load_dataset("esc10").clips) == 200
    with refuses(DataError, "'pig'"):
        load_dataset("esc50")
    (root.parent / "esc50/esc10/.downloads").mkdir(parents=True)  # an abandoned fetch
    assert len(load_dataset("esc10", root.parent / "esc50").clips) == 200


GOOD = ["on, off", "[bold]x", '"q" \\', "a|b", "\u0635\u0648\u062a", "\u0646\u06cc\u200c\u0645"]
BAD = ["on\noff", "bell\x07", "\x1b[2J", "a\u2028b", os.fsdecode(b"caf\xe9")]


@pytest.mark.parametrize("name", BAD)
def test_a_class_has_a_name_of_one_line(tmp_path, write_wav, name):
    """A line break would shift labels.txt and the lines of the boards."""
    for label in ("fine", "other"):
        for index in range(5):
            write_wav(tmp_path / label / f"{index}.wav", 100 + index)
    (tmp_path / "other").rename(tmp_path / name)
    with pytest.raises(DataError, match="has a line break or control character, or") as caught:
        load_dataset("folder", tmp_path)
    shown = str(caught.value)
    assert repr(name) in shown and is_label(shown) and "rename its folder" in shown


def test_other_names_are_good(tmp_path, write_wav):
    for label in GOOD:
        for index in range(5):
            write_wav(tmp_path / label / f"{index}.wav", 100 + index)
    assert load_dataset("folder", tmp_path).info.labels == tuple(sorted(GOOD))


def test_files_whose_names_are_not_utf_8(tmp_path, write_wav):
    for label in ("a", "b"):
        for index in range(5):
            path = write_wav(tmp_path / label / f"{index}.wav", 100 + index)
            path.rename(path.with_name(os.fsdecode(f"caf\xe9_{index}.wav".encode("latin-1"))))
    dataset = load_dataset("folder", tmp_path)
    assert sorted(clip.clip_id for clip in dataset.clips)[0] == r"a/caf\xe9_0.wav"
    assert len(dataset.clip_list_digest()) == 64
    assert statistics.stats("folder", tmp_path)["files"]["count"] == 10


def test_a_cell_of_a_megabyte(tmp_path):
    path = tmp_path / "meta.csv"
    path.write_text(f"file,class\n{'x' * (1 << 20)},dog\n")
    with refuses(DataError, "meta.csv", "CSV"):
        read_table(path, ("file", "class"))


@pytest.fixture(scope="module")
def dataset():
    return load_dataset("synth", None, clips_per_class=20)


def test_each_class_keeps_its_share_of_training_clips(dataset):
    counts = dataset.counts()
    half = with_training_share(dataset, 0.5).counts()
    assert half["train"] == {label: round(n / 2) for label, n in counts["train"].items()}
    assert half["validation"] == counts["validation"]
    assert half["test"] == counts["test"]


def test_a_smaller_share_is_a_part_of_a_larger_one(dataset):
    quarter, half = (with_training_share(dataset, share).split("train") for share in (0.25, 0.5))
    assert set(quarter) < set(half) < set(dataset.split("train"))


def test_a_share_below_one_clip_keeps_one(dataset):
    kept = with_training_share(dataset, 1e-6).split("train")
    assert set(Counter(clip.label for clip in kept).values()) == {1}


def test_another_seed_draws_other_clips(dataset):
    first, second = (with_training_share(dataset, 0.5, seed).split("train") for seed in (0, 1))
    assert set(first) != set(second)


def test_a_recipe_takes_its_share():
    section = DatasetSection("synth", options={"clips_per_class": 20}, training_share=0.5)
    everything = load_section(DatasetSection("synth", options={"clips_per_class": 20}), None)
    assert load_section(section, None).clips == with_training_share(everything, 0.5).clips
