# SPDX-License-Identifier: Apache-2.0
import csv
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from refusals import refuses

from m3net_tf.audio.datasets import SPLITS, dataset_info, load_dataset
from m3net_tf.system.errors import ConfigError, DataError

LABELS = dataset_info("us8k").labels


@pytest.fixture
def make_folder(make_layout) -> Callable[[int], Path]:
    return lambda folds: make_layout("us8k", folds=folds, takes=3) / "UrbanSound8K"


def folds_of(dataset, split: str) -> set[str]:
    return {clip.clip_id.split("/")[0] for clip in dataset.split(split)}


def test_official_folds(make_folder):
    root = make_folder(10)
    for fold, following in ((1, 2), (4, 5), (10, 1)):
        dataset = load_dataset("us8k", root, fold=fold)
        assert dataset.info.fold == fold
        assert folds_of(dataset, "test") == {f"fold{fold}"}
        assert folds_of(dataset, "validation") == {f"fold{following}"}
        assert len(folds_of(dataset, "train")) == 8
        assert dataset.shared_groups() == {}


def test_slices_are_resampled_and_looped(make_folder):
    root = make_folder(2)
    dataset = load_dataset("us8k", root.parent)
    clip = dataset.clips[0]
    assert dataset.read(clip).shape == (800,)
    audio = dataset.load(clip)
    assert audio.shape == (64_000,)
    assert (audio[:800] == audio[800:1600]).all()
    padded = load_dataset("us8k", root, fit="pad", sample_rate_hz=22_050).load(clip)
    assert padded.shape == (88_200,)
    assert not padded[1500:].any()


def test_partial_copy_says_so(make_folder):
    root = make_folder(3)
    dataset = load_dataset("us8k", root, fold=3)
    assert dataset.info.protocol == "official-10fold (folds 1, 2, 3 of 10)"
    assert "180 of 8732 clips" in dataset.info.notes[0]
    assert [folds_of(dataset, s) for s in SPLITS] == [{"fold2"}, {"fold1"}, {"fold3"}]
    shutil.rmtree(root / "audio/fold1")  # the metadata still lists it
    dataset = load_dataset("us8k", root, fold=3)
    assert dataset.info.protocol == "official-10fold (folds 2, 3 of 10)"


def test_two_folds_validate_on_held_out_recordings(make_folder):
    dataset = load_dataset("us8k", make_folder(2), fold=2)
    assert [folds_of(dataset, s) for s in SPLITS] == [{"fold1"}, {"fold1"}, {"fold2"}]
    assert dataset.counts()["validation"] == dict.fromkeys(LABELS, 2)
    assert dataset.counts()["train"] == dict.fromkeys(LABELS, 4)
    assert dataset.shared_groups() == {}


def test_paper_random_leaks_and_says_so(make_folder):
    root = make_folder(10)
    dataset = load_dataset("us8k", root, protocol="paper-random")
    assert dataset.info.leaking
    assert any("leaks" in note for note in dataset.info.notes)
    assert [len(dataset.split(s)) for s in SPLITS] == [360, 120, 120]
    assert dataset.leak() > 0.4
    eighty = load_dataset("us8k", root, protocol="random-80-20", fit="pad")
    assert eighty.info.leaking and eighty.info.fit == "pad"
    assert [len(eighty.split(s)) for s in SPLITS] == [420, 60, 120]
    reseeded = load_dataset("us8k", root, protocol="paper-random", seed=1)
    assert dataset.clip_list_hash() != reseeded.clip_list_hash()
    with pytest.raises(ConfigError, match="has no folds"):
        load_dataset("us8k", root, protocol="paper-random", fold=1)


def test_missing_parts(make_folder):
    root = make_folder(2)
    with refuses(DataError, "fold7", "1", "2"):
        load_dataset("us8k", root, fold=7)
    gone = next((root / "audio/fold2").iterdir())
    gone.unlink()
    with refuses(DataError, gone):
        load_dataset("us8k", root)
    shutil.rmtree(root / "audio/fold2")
    with refuses(DataError, "fold 1"):
        load_dataset("us8k", root)
    shutil.rmtree(root / "audio/fold1")
    with refuses(DataError, "fold1", "fold10"):
        load_dataset("us8k", root)


def test_broken_metadata(make_folder):
    root = make_folder(2)
    table = root / "metadata/UrbanSound8K.csv"
    text = table.read_text()
    table.write_text(text.replace("dog_bark", "cat_meow"))
    with refuses(DataError, "UrbanSound8K.csv"):
        load_dataset("us8k", root)
    table.write_text(text.replace("dog_bark", "x" * (1 << 20)))
    with refuses(DataError, "UrbanSound8K.csv", "CSV"):
        load_dataset("us8k", root)
    table.write_text(text.replace("fsID", "id"))
    with refuses(DataError, "'fsID'"):
        load_dataset("us8k", root)
    table.write_bytes(b"\xff\xfe\x00\x01")
    with refuses(DataError, "'slice_file_name'"):
        load_dataset("us8k", root)
    table.write_text("\n".join(line for line in text.splitlines() if "dog_bark" not in line))
    with refuses(DataError, root, "'dog_bark'"):
        load_dataset("us8k", root)
    table.unlink()
    with refuses(DataError, "metadata"):
        load_dataset("us8k", root)


def test_real_subset(real_data):
    root = real_data("urbansound8k_folds_1_2")
    with next(root.rglob("UrbanSound8K.csv")).open() as file:
        listed = Counter((row["fold"], row["class"]) for row in csv.DictReader(file))
    for fold, count, remaining_count in ((1, 873, 888), (2, 888, 873)):
        dataset = load_dataset("us8k", root, fold=fold)
        assert dataset.info.protocol == "official-10fold (folds 1, 2 of 10)"
        assert len(dataset.split("test")) == count
        assert dataset.counts()["test"] == {n: listed[str(fold), n] for n in dataset.info.labels}
        assert len(dataset.split("train") + dataset.split("validation")) == remaining_count
        assert dataset.shared_groups() == {}
        assert min(dataset.counts()["validation"].values()) > 0
    assert dataset.load(dataset.clips[0]).shape == (64_000,)
    assert load_dataset("us8k", root, protocol="paper-random").leak() > 0.9
