# SPDX-License-Identifier: Apache-2.0
"""Particulars of each data set: its names, tables, options and partial copies."""

import csv
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from refusals import refuses

from m3net_tf.audio.datasets import SPLITS, dataset_info, load_dataset
from m3net_tf.audio.datasets.statements import protocol_statement
from m3net_tf.system.errors import ConfigError, DataError


def sizes(dataset) -> list[int]:
    return [len(dataset.split(split)) for split in SPLITS]


# ESC


def test_esc10_is_a_part_of_esc50(make_layout):
    root = make_layout("esc50")
    fifty = load_dataset("esc50", root, fold=3)
    ten = load_dataset("esc10", root, fold=3)
    assert (sizes(fifty), sizes(ten)) == ([600, 200, 200], [120, 40, 40])
    assert {c.clip_id for c in ten.split("test")} < {c.clip_id for c in fifty.split("test")}
    assert ten.info.labels == tuple(n for n in fifty.info.labels if n in ten.info.labels)


@pytest.mark.slow
def test_esc_table_order_is_the_label_order(real_data):
    with (real_data("esc10") / "meta/esc50.csv").open() as file:
        rows = list(csv.DictReader(file))
    labels = dataset_info("esc50").labels
    assert len(labels) == 50
    assert all(labels[int(row["target"])] == row["category"] for row in rows)


def test_real_esc10(real_data):
    root = real_data("esc10")
    with (root / "meta/esc50.csv").open() as file:
        rows = list(csv.DictReader(file))
    for fold in range(1, 6):
        dataset = load_dataset("esc10", root, fold=fold)
        assert dataset.info.protocol == "official-5fold"
        assert sizes(dataset) == [240, 80, 80]
        listed = Counter(row["category"] for row in rows if row["fold"] == str(fold))
        assert dataset.counts()["test"] == listed
    audio = dataset.load(dataset.clips[0])
    assert audio.shape == (80_000,)
    assert np.abs(audio).max() > 0.01
    assert load_dataset("esc10", root, protocol="paper-random").leak() > 0.1


def test_esc_as_the_bilateral_paper_cuts_and_splits_it(make_layout):
    dataset = load_dataset("esc10", make_layout("esc10"), protocol="random-80-20", clip_s=4.0)
    assert dataset.load(dataset.clips[0]).shape == (64_000,)
    assert dataset.info.leaking and sizes(dataset) == [140, 20, 40]


def test_partial_and_broken_esc(make_layout):
    root = make_layout("esc10") / "ESC-50-master"
    for path in root.glob("audio/[45]-*"):
        path.unlink()
    dataset = load_dataset("esc10", root, fold=2)
    assert dataset.info.protocol == "official-5fold (folds 1, 2, 3 of 5)"
    assert sizes(dataset) == [40, 40, 40]
    with refuses(DataError, "audio/5-*.wav"):
        load_dataset("esc10", root, fold=5)
    gone = next(root.glob("audio/3-*"))
    gone.unlink()
    with refuses(DataError, gone.name):
        load_dataset("esc10", root)
    table = root / "meta/esc50.csv"
    table.write_text(table.read_text().replace("helicopter", "hovercraft"))
    with refuses(DataError, "'hovercraft'"):
        load_dataset("esc10", root)
    shutil.rmtree(root / "audio")
    with refuses(DataError, "audio:"):
        load_dataset("esc10", root)


# RAVDESS and CREMA-D


def test_ravdess_folds_are_four_actors(make_layout):
    root = make_layout("ravdess")
    dataset = load_dataset("ravdess", root, fold=6)
    assert {c.group for c in dataset.split("test")} == {f"actor {n}" for n in range(21, 25)}
    assert {c.group for c in dataset.split("validation")} == {f"actor 0{n}" for n in range(1, 5)}
    assert dataset.counts()["test"] == dict.fromkeys(dataset.info.labels, 4)
    assert "(24 of 24 actors)" in dataset.info.protocol  # 192 of 1 440 clips
    pairs = load_dataset("ravdess", root, protocol="leave-two-actors-out", fold=12)
    assert {c.group for c in pairs.split("test")} == {"actor 23", "actor 24"}
    assert {c.group for c in pairs.split("validation")} == {"actor 01"}
    assert {c.group for c in pairs.split("train")} == {f"actor {n:02d}" for n in range(2, 23)}
    random = load_dataset("ravdess", root, protocol="random-80-20", seed=3)
    assert sizes(random) == [134, 20, 38]
    assert random.leak() == 1.0


@pytest.mark.slow
def test_real_ravdess(real_data):
    root = real_data("ravdess_speech_actors_01_08")
    for fold, actors in ((1, range(1, 5)), (2, range(5, 9))):
        dataset = load_dataset("ravdess", root, fold=fold)
        assert dataset.info.protocol == "speaker-independent (8 of 24 actors)"
        assert sizes(dataset) == [180, 60, 240]
        assert {int(c.group[-2:]) for c in dataset.split("test")} == set(actors)
        counts = dataset.counts()["test"]
        assert counts.pop("neutral") == 16  # one intensity only
        assert set(counts.values()) == {32}
    assert dataset.load(dataset.clips[0]).shape == (64_000,)
    pairs = load_dataset("ravdess", root, protocol="leave-two-actors-out", fold=4)
    assert sizes(pairs) == [300, 60, 120]
    assert {int(c.group[-2:]) for c in pairs.split("test")} == {7, 8}


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("ravdess", "Actor_01/03-01-01-01-01-01-01", "Actor_01/03-01-09-01-01-01-01"),
        ("ravdess", "Actor_01/03-01-01-01-01-01-01", "Actor_01/03-01-01-01-01-01-02"),
        ("cremad", "1001_DFA_ANG_XX", "1001_DFA_JOY_XX"),
        ("cremad", "1001_DFA_ANG_XX", "1092_DFA_ANG_XX"),
    ],
)
def test_strange_file_names(make_layout, name, old, new):
    root = make_layout(name)
    path = next(root.rglob(f"{old}.wav"))
    path.rename(path.with_name(f"{new.split('/')[-1]}.wav"))
    with refuses(DataError, new, ".wav"):
        load_dataset(name, root)


def test_cremad_splits(make_layout):
    root = make_layout("cremad")
    dataset = load_dataset("cremad", root, fold=7)
    assert {int(c.clip_id[:4]) for c in dataset.split("test")} == set(range(1079, 1092))
    assert {int(c.clip_id[:4]) for c in dataset.split("validation")} == set(range(1001, 1014))
    for path in (root / "AudioWAV").glob("10[6-9]*"):
        path.unlink()
    assert "(59 of 91 actors)" in load_dataset("cremad", root / "AudioWAV").info.protocol


EMPTY = ["ravdess", "cremad", "nsynth", "biodcase2025", "biodcase2026"]


@pytest.mark.parametrize("name", EMPTY)
def test_empty_folder(name, tmp_path):
    with refuses(DataError, tmp_path):
        load_dataset(name, tmp_path)


# NSynth


def test_nsynth_tasks(make_layout):
    root = make_layout("nsynth")
    dataset = load_dataset("nsynth", root)
    assert dataset.counts()["test"]["synth_lead"] == 0
    assert sizes(dataset) == [44, 20, 20]
    assert dataset.shared_groups() == {}
    assert any("validation and test share instruments" in note for note in dataset.info.notes)
    pitch = load_dataset("nsynth", root, task="pitch")
    assert pitch.info.labels == ("60", "62")
    assert sizes(pitch) == [44, 10, 10]  # pitch 61 is never trained
    assert "20 notes of pitches without training are left out" in pitch.info.notes
    with refuses(ConfigError, "'family'"):
        load_dataset("nsynth", root, task="family")


def test_partial_and_broken_nsynth(make_layout):
    root = make_layout("nsynth")
    shutil.rmtree(root / "nsynth-test")
    dataset = load_dataset("nsynth", root)
    assert dataset.info.protocol == "official-split (64 of 305979 clips)"
    (root / "nsynth-valid/audio/stray.wav").touch()
    with refuses(DataError, "stray.wav", "examples.json"):
        load_dataset("nsynth", root)


# BioDCASE-Tiny


def test_the_end_of_each_birds_training_folder_validates(make_layout):
    root = make_layout("biodcase2026")
    dataset = load_dataset("biodcase2026", root)
    assert sizes(dataset) == [88, 22, 22]
    assert dataset.load(dataset.clips[0]).shape == (72_000,)
    validating = [c.clip_id for c in dataset.split("validation") if c.label == "Great Tit"]
    name = "Train/Great Tit/BioDCASE2026_TinyML_TRAIN_00{}_Great_Tit.wav"
    assert validating == [name.format(number) for number in (79, 80)]
    assert {c.clip_id.split("/")[0] for c in dataset.split("test")} == {"Validation"}
    assert protocol_statement(dataset) == (
        "official-split (132 of 2750 clips), recordings unknown: the accuracy may be too high"
    )
    for folder in list(root.glob("*/*/* *")):
        folder.rename(folder.with_name(folder.name.replace(" ", "_")))
    assert load_dataset("biodcase2026", root).clip_list_hash() == dataset.clip_list_hash()


def test_a_song_of_a_yellowhammer_is_in_one_split_at_all_distances(make_layout):
    dataset = load_dataset("biodcase2025", make_layout("biodcase2025"))
    assert sizes(dataset) == [41, 7, 12]
    songs = {
        split: {c.group for c in dataset.split(split) if "song" in c.group} for split in SPLITS
    }
    assert songs["test"] == {"Validation_Set, song 001", "Validation_Set, song 002"}
    assert len(songs["validation"]) == 1 and len(songs["train"]) == 7
    assert dataset.counts()["test"] == {"other": 6, "yellowhammer": 6}


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("biodcase2026", "Train/Mallard", "Train/Duck"),
        ("biodcase2026", "Train/Mallard", "Train/Tawny Owl/Mallard"),
        ("biodcase2025", "YH_001_forest_A.wav", "song_1.wav"),
    ],
)
def test_strange_files_of_biodcase(make_layout, name, old, new):
    root = make_layout(name)
    path = next(p for p in root.rglob("*") if str(p).endswith(old))
    path.rename(Path(str(path).removesuffix(old) + new))
    with refuses(DataError, new.split("/")[-1], "fetch the data again"):
        load_dataset(name, root)


# FSD50K and AudioSet


def test_fsd50k_has_several_labels(make_layout):
    root = make_layout("fsd50k")
    dataset = load_dataset("fsd50k", root, clip_s=0.5)
    assert sizes(dataset) == [18, 6, 24]
    assert dataset.info.multi_label
    clip = next(clip for clip in dataset.clips if clip.clip_id == "dev/101")
    assert clip.labels == ("Dog",)
    both = next(clip for clip in dataset.clips if clip.clip_id == "dev/104")
    assert dataset.label_matrix([clip, both]).tolist() == [[0, 1, 0, 0], [1, 1, 0, 0]]
    assert dataset.load(clip).shape == (8000,)
    assert dataset.info.notes == (
        "partial copy: 48 of 51197 clips",
        "1 of 4 classes have no training clip",
    )


def test_partial_and_broken_fsd50k(make_layout):
    root = make_layout("fsd50k")
    shutil.rmtree(root / "FSD50K.eval_audio")
    assert load_dataset("fsd50k", root).info.protocol == "official-split (24 of 51197 clips)"
    table = root / "FSD50K.ground_truth/dev.csv"
    table.write_text(table.read_text().replace("train", "learn"))
    with refuses(DataError, "dev.csv", "2", "'learn'"):
        load_dataset("fsd50k", root)
    (root / "FSD50K.ground_truth/vocabulary.csv").unlink()
    with refuses(DataError, "vocabulary.csv", "DATA_DIR"):
        load_dataset("fsd50k", root)


def test_audioset_finds_clips_by_their_video(make_layout):
    root = make_layout("audioset")
    dataset = load_dataset("audioset", root)
    assert len(dataset.clips) == 70
    assert len(dataset.split("test")) == 10
    assert 1 <= len(dataset.split("validation")) <= 15
    assert dataset.info.labels == ("Speech", "Dog", "Rain, light")
    assert dataset.info.protocol == "official-split (balanced)"
    assert {c.clip_id: c.labels for c in dataset.clips}["e-_00000002_30"] == (
        "Speech",
        "Rain, light",
    )
    reseeded = load_dataset("audioset", root, seed=1)
    assert dataset.clip_list_hash()["validation"] != reseeded.clip_list_hash()["validation"]
    assert dataset.clip_list_hash()["test"] == reseeded.clip_list_hash()["test"]


def test_partial_and_broken_audioset(make_layout):
    root = make_layout("audioset")
    for path in list((root / "balanced_train").iterdir())[:5]:
        path.unlink()
    part = load_dataset("audioset", root)
    assert part.info.protocol == "official-split (balanced) (65 of 70 clips)"
    with refuses(DataError, "unbalanced_train_segments.csv"):
        load_dataset("audioset", root, subset="both")
    with refuses(ConfigError, "'all'"):
        load_dataset("audioset", root, subset="all")
    path = root / "eval_segments.csv"
    path.write_text(path.read_text().replace("/m/c", "/m/d"))
    with refuses(DataError, "'/m/d'", "class_"):
        load_dataset("audioset", root)
    path.write_text("e, 30, 40\n")
    with refuses(DataError, "line 1", "video, start, end, classes"):
        load_dataset("audioset", root)


# The user's own folder


def test_folder_says_what_it_does_not_know(make_layout):
    root = make_layout("folder")
    dataset = load_dataset("folder", root, clip_s=0.25)
    assert dataset.info.protocol == "stratified-random (groups unknown)"
    assert dataset.info.labels == ("clap", "snap")
    assert sizes(dataset) == [24, 8, 8]
    assert dataset.load(dataset.clips[0]).shape == (4000,)
    with refuses(ConfigError, "group_pattern"):
        load_dataset("folder", root, protocol="grouped")


def test_folder_with_groups(make_layout):
    root = make_layout("folder")
    dataset = load_dataset("folder", root, group_pattern="(speaker[0-9])")
    assert dataset.info.protocol == "grouped"
    assert {c.group for c in dataset.clips} == {f"speaker{i}" for i in range(5)}
    for pattern, error, message in (
        ("speaker", ConfigError, "has no parentheses"),
        ("(", ConfigError, "is not a regular expression"),
        ("(person[0-9])", DataError, "finds no group in 'clap/speaker0_0.wav'"),
    ):
        with pytest.raises(error, match=message):
            load_dataset("folder", root, group_pattern=pattern)


def test_folder_with_folders_of_splits(make_layout, tmp_path):
    root = make_layout("folder")
    for split in ("train", "val", "test"):
        shutil.copytree(root, tmp_path / "own" / split)
    dataset = load_dataset("folder", tmp_path / "own")
    assert dataset.info.protocol == "listed-split (groups unknown)"
    assert sizes(dataset) == [40, 40, 40]
    with refuses(DataError, "speaker0"):
        load_dataset("folder", tmp_path / "own", group_pattern="(speaker[0-9])")


def test_folder_with_a_table(make_layout):
    root = make_layout("folder")
    lines = ["path,label,split,group"]
    for path in sorted(root.rglob("*.wav")):
        speaker = path.stem[7]
        split = "test" if speaker == "4" else "train"
        lines.append(f"{path.relative_to(root)},{path.parent.name},{split},{speaker}")
    table = root / "clips.csv"
    table.write_text("\n".join(lines))
    dataset = load_dataset("folder", root, table="clips.csv")
    assert dataset.info.protocol == "listed-split"
    assert {clip.group for clip in dataset.split("test")} == {"4"}
    assert len({clip.group for clip in dataset.split("validation")}) == 1
    table.write_text("\n".join(lines).replace(",test,", ",tset,"))
    with refuses(DataError, "clips.csv", "'tset'"):
        load_dataset("folder", root, table="clips.csv")
    table.write_text("path,label\nclap/none.wav,clap\n")
    with refuses(DataError, "none.wav", "clips.csv"):
        load_dataset("folder", root, table="clips.csv")


def test_empty_class_folder(make_layout, tmp_path):
    root = make_layout("folder")
    (root / "whistle").mkdir()
    with refuses(DataError, "whistle"):
        load_dataset("folder", root)
    (tmp_path / "empty").mkdir()
    with refuses(DataError, "empty"):
        load_dataset("folder", tmp_path / "empty")
