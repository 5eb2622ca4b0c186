# SPDX-License-Identifier: Apache-2.0
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from refusals import refuses

from m3net_tf.audio.datasets import load_dataset
from m3net_tf.audio.datasets.noise import NOISE_PARTS, SILENCE
from m3net_tf.audio.datasets.speech_commands import UNKNOWN, WORDS_10, WORDS_35
from m3net_tf.system.errors import DataError

NAME = "speech_commands"
SPEAKERS = {"train": range(6), "validation": range(6, 8), "test": range(8, 10)}


@pytest.fixture
def folder(make_layout) -> Path:
    return make_layout(NAME) / "speech_commands_v0.02"


def test_12_classes(folder):
    dataset = load_dataset(NAME, folder)
    assert dataset.info.labels == (SILENCE, UNKNOWN, *WORDS_10)
    assert "(350 of 105829 clips)" in dataset.info.protocol
    expected = {"train": 6, "validation": 2, "test": 2}
    for split, counts in dataset.counts().items():
        assert counts == dict.fromkeys(dataset.info.labels, expected[split])
    for split, speakers in SPEAKERS.items():
        listed = [clip for clip in dataset.split(split) if not clip.synthetic]
        assert {int(clip.group, 16) for clip in listed} <= set(speakers)
    assert {c.label for c in dataset.clips if c.synthetic} == {SILENCE}
    assert dataset.shared_groups() == {}


def test_35_classes_and_parent_folder(folder):
    dataset = load_dataset(NAME, folder.parent, classes=35)
    assert dataset.info.labels == WORDS_35
    assert len(WORDS_35) == 35
    assert len(dataset.clips) == 35 * 10
    assert not any(clip.synthetic for clip in dataset.clips)


def test_seed_changes_only_what_trains(folder):
    first, again, reseeded = (
        load_dataset(NAME, folder, seed=s).clip_list_hash() for s in (0, 0, 1)
    )
    assert first == again
    assert first["train"] != reseeded["train"]
    assert (first["validation"], first["test"]) == (reseeded["validation"], reseeded["test"])


def test_silence_pieces_of_different_splits_never_overlap(folder):
    dataset = load_dataset(NAME, folder, silence_percentage=200)
    silence = [clip for clip in dataset.clips if clip.label == SILENCE]
    assert len(silence) == 2 * 100
    for clip in silence:
        length_s = 20 + int(clip.path.stem[-1])
        start, stop = NOISE_PARTS[clip.split]
        assert start * length_s <= clip.start_s
        assert clip.start_s + clip.duration_s <= stop * length_s + 1e-9
        assert 0 <= clip.gain < 1
        assert dataset.load(clip).shape == (16_000,)
    assert len({(c.path, c.start_s) for c in silence}) > 180


def test_silence_options(folder):
    without = load_dataset(NAME, folder, silence_percentage=0)
    assert without.info.labels == (UNKNOWN, *WORDS_10)


def test_unknown_words_already_drawn_are_kept_whole(folder):
    drawn = load_dataset(NAME, folder, unknown_percentage=170)  # 150 others <= 1.5 x 102
    assert drawn.counts()["train"][UNKNOWN] == 150
    assert load_dataset(NAME, folder, unknown_percentage=50).counts()["train"][UNKNOWN] == 30


def test_noise_for_augmentation_is_the_training_part(folder):
    dataset = load_dataset(NAME, folder)
    noise = dataset.noise
    assert [clip.path.name for clip in noise] == ["noise_0.wav", "noise_1.wav"]
    assert [dataset.read(clip).shape for clip in noise] == [(256_000,), (268_800,)]


def test_missing_list(folder):
    (folder / "testing_list.txt").unlink()
    with refuses(DataError, "testing_list.txt"):
        load_dataset(NAME, folder)


def test_listed_clip_that_is_missing(folder):
    gone = folder / "yes" / f"{8:08x}_nohash_0.wav"
    gone.unlink()
    with refuses(DataError, gone, "testing_list.txt"):
        load_dataset(NAME, folder)


def test_clip_on_both_lists(folder):
    with (folder / "testing_list.txt").open("a") as file:
        file.write(f"yes/{6:08x}_nohash_0.wav\n")
    with refuses(DataError, "validation_list.txt"):
        load_dataset(NAME, folder)


def test_speaker_on_both_sides(folder, write_wav):
    write_wav(folder / "yes" / f"{8:08x}_nohash_9.wav", 100)  # unlisted, so it would train
    with refuses(DataError, "00000008"):
        load_dataset(NAME, folder)


@pytest.mark.parametrize("remove_folder", [False, True])
def test_empty_class(folder, remove_folder):
    for path in (folder / "stop").iterdir():
        path.unlink()
    if remove_folder:
        (folder / "stop").rmdir()
    with refuses(DataError, "stop"):
        load_dataset(NAME, folder)


def test_missing_noise(folder):
    for path in (folder / "_background_noise_").iterdir():
        path.unlink()
    with refuses(DataError, "_background_noise_", "WAV"):
        load_dataset(NAME, folder)
    assert load_dataset(NAME, folder, silence_percentage=0).noise == ()


def test_broken_or_short_noise(folder, write_wav):
    write_wav(folder / "_background_noise_" / "noise_1.wav", 16_000 * 5)
    with refuses(DataError, "noise_1.wav", "10"):
        load_dataset(NAME, folder)
    (folder / "_background_noise_" / "noise_1.wav").write_bytes(b"nothing")
    with refuses(DataError, "noise_1.wav") as caught:
        load_dataset(NAME, folder)
    assert str(caught.value).endswith(f"; delete {folder} and run m3net data fetch {NAME}")


def test_wrong_rate_is_an_error_unless_allowed(folder, write_wav):
    path = write_wav(folder / "yes" / f"{0:08x}_nohash_0.wav", 4000, rate_hz=8000)
    dataset = load_dataset(NAME, folder)
    clip = next(clip for clip in dataset.clips if clip.path == path)
    with refuses(DataError, "8000", "16000"):
        dataset.load(clip)
    assert load_dataset(NAME, folder, resample=True).read(clip).shape == (8000,)


@pytest.mark.slow
def test_real_subset(real_data):
    dataset = load_dataset(NAME, real_data("speech_commands_v2_mini"))
    listed = {s: [c for c in dataset.split(s) if not c.synthetic] for s in SPEAKERS}
    assert {s: len(clips) for s, clips in listed.items()} == {
        "train": 2748,
        "validation": 757,
        "test": 347,
    }
    assert {s: c[SILENCE] for s, c in dataset.counts().items()} == {
        "train": 249,
        "validation": 70,
        "test": 31,
    }
    for split, name in (("validation", "validation_list.txt"), ("test", "testing_list.txt")):
        lines = (real_data("speech_commands_v2_mini") / name).read_text().split()
        words = Counter(line.split("/")[0] for line in lines)
        counts = dataset.counts()[split]
        assert {word: counts[word] for word in WORDS_10} == {w: words[w] for w in WORDS_10}
        assert counts[UNKNOWN] == sum(words.values()) - sum(words[w] for w in WORDS_10)
    speakers = [{clip.group for clip in clips} for clips in listed.values()]
    assert not (speakers[0] & speakers[1] or speakers[0] & speakers[2] or speakers[1] & speakers[2])
    for clip in dataset.split("test"):
        audio = dataset.load(clip)
        assert audio.shape == (16_000,)
        assert np.abs(audio).max() <= 1
