# SPDX-License-Identifier: Apache-2.0
"""Only equal sounds share feature maps."""

import dataclasses
from collections import Counter

import numpy as np
import pytest
import soundfile

from m3net_tf.audio.datasets import AudioDataset, load_dataset
from m3net_tf.audio.datasets.clips import Clip
from m3net_tf.audio.frontend import FrontendConfig, features_int8, frontend_preset
from m3net_tf.audio.frontend.store import RowWriter
from m3net_tf.training.clips.features import compute_features, row_keys
from m3net_tf.training.recipe.sections import AugmentationSection

CONFIG = FrontendConfig()


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("M3NET_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def computed(monkeypatch) -> list[int]:
    """Receives the number of maps of each computed batch."""
    counts: list[int] = []
    add = RowWriter.add
    monkeypatch.setattr(
        RowWriter, "add", lambda self, keys, rows: (counts.append(len(keys)), add(self, keys, rows))
    )
    return counts


@pytest.fixture
def dataset(tmp_path) -> AudioDataset:
    """Ten files, five of them for training, and a noise."""
    info = load_dataset("synth", clips_per_class=6).info
    clips = []
    rng = np.random.default_rng(0)
    for number in range(11):
        path = tmp_path / "sounds" / f"{number}.wav"
        path.parent.mkdir(exist_ok=True)
        soundfile.write(path, rng.uniform(-0.5, 0.5, 24_000), 16_000)
        split = "train" if number < 5 else "test"
        clips.append(Clip(str(number), info.labels[number % 10], split, str(number), path))
    return AudioDataset(info, tuple(clips[:10]), noise=(clips[10],))


def resplit(dataset: AudioDataset, split: str = "train") -> AudioDataset:
    clips = tuple(dataclasses.replace(clip, split=split) for clip in dataset.clips)
    return dataclasses.replace(dataset, clips=clips)


def test_another_split_or_recipe_computes_only_what_is_new(dataset, computed):
    compute_features(dataset, "train", CONFIG)
    assert sum(computed) == 5
    whole = compute_features(resplit(dataset), "train", CONFIG)
    assert sum(computed) == 10
    compute_features(dataset, "test", CONFIG)
    compute_features(resplit(dataset), "train", CONFIG, AugmentationSection(time_masks=3))
    renamed = dataclasses.replace(dataset, info=dataclasses.replace(dataset.info, name="other"))
    compute_features(renamed, "train", CONFIG)
    assert sum(computed) == 10
    compute_features(resplit(dataset), "train", CONFIG, AugmentationSection(copies=2))
    assert sum(computed) == 30  # the clean ones were already stored
    reference = [features_int8(CONFIG, dataset.load(clip)) for clip in whole.clips]
    assert np.abs(whole.features[0].astype(int) - reference).max() <= 1


def test_the_same_sound_elsewhere_is_known(dataset, computed, tmp_path):
    first = compute_features(resplit(dataset), "train", CONFIG).features[:]
    (tmp_path / "sounds").rename(tmp_path / "moved")
    clips = tuple(
        dataclasses.replace(clip, path=tmp_path / "moved" / clip.path.name)
        for clip in dataset.clips
    )
    moved = resplit(dataclasses.replace(dataset, clips=clips, noise=()))
    np.testing.assert_array_equal(compute_features(moved, "train", CONFIG).features, first)
    twice = [dataclasses.replace(clip, clip_id=f"{clip.clip_id} again") for clip in moved.clips]
    doubled = dataclasses.replace(moved, clips=(*moved.clips, *twice))
    features = compute_features(doubled, "train", CONFIG).features
    np.testing.assert_array_equal(features, np.concatenate([first, first], axis=1))
    assert sum(computed) == 10


def test_what_steps_draw_is_no_part_of_a_copys_key(dataset):
    """So runs with other masks and mixtures share the maps; a new key is part of it by default."""
    drawn = {
        "copies": 2,
        "time_mask_frames": 3,
        "time_mask_share": 0.1,
        "frequency_masks": 1,
        "time_warp": 0.1,
        "mixup_probability": 0.5,
        "between_class_probability": 0.5,
        "cutmix_min": 0.4,
        "one_mixture": True,
        "copies_seed": 3,
    }
    first = row_keys(dataset, "train", CONFIG, AugmentationSection(copies=1))
    for key, value in drawn.items():
        other = AugmentationSection(**{"copies": 1, key: value})
        assert row_keys(dataset, "train", CONFIG, other)[:2] == first, key


def test_what_sounds_otherwise_has_another_key(dataset, tmp_path):
    copies = AugmentationSection(copies=1)
    rooms = tmp_path / "rooms"
    rooms.mkdir()
    soundfile.write(rooms / "a.wav", np.array([1.0, 0.5, 0.2]), 16_000)
    roomy = dataclasses.replace(copies, room_probability=1.0, room_folder=str(rooms))
    base = dataset.info
    others = [
        (dataset, CONFIG, copies, 0),
        (dataset, CONFIG, copies, 1),
        (dataset, CONFIG, roomy, 0),
        *(
            (dataset, CONFIG, dataclasses.replace(copies, **{key: value}), 0)
            for key, value in {
                "random_crop": True,
                "stretch_probability": 0.1,
                "pitch_probability": 0.1,
                "room_probability": 0.1,
                "speed": (0.5, 1.0),
                "noise_snr_db": (0.0, 1.0),
            }.items()
        ),
        (dataclasses.replace(dataset, noise=()), CONFIG, copies, 0),
        (dataset, frontend_preset("kaldi_fbank"), copies, 0),
    ]
    seen = Counter(
        key for arguments in others for key in row_keys(arguments[0], "train", *arguments[1:])[1]
    )
    assert set(seen.values()) == {1}
    soundfile.write(rooms / "a.wav", np.array([1.0, 0.5, 0.3]), 16_000)
    assert not set(row_keys(dataset, "train", CONFIG, roomy)[1]) & set(seen)

    clean = [
        dataset,
        dataclasses.replace(dataset, info=dataclasses.replace(base, clip_s=1.5)),
        dataclasses.replace(dataset, info=dataclasses.replace(base, fit="crop")),
        *(
            dataclasses.replace(
                dataset, clips=tuple(dataclasses.replace(c, **change) for c in dataset.clips)
            )
            for change in ({"gain": 0.5}, {"start_s": 0.1}, {"duration_s": 0.7})
        ),
    ]
    seen = Counter(key for changed in clean for key in row_keys(changed, "train", CONFIG)[0])
    assert set(seen.values()) == {1}


def test_synthetic_clips_hang_on_their_seed_and_code():
    keys = [
        tuple(row_keys(load_dataset("synth", clips_per_class=6, seed=seed), "test", CONFIG)[0])
        for seed in (0, 0, 1)
    ]
    assert keys[0] == keys[1]
    assert not set(keys[0]) & set(keys[2])


@pytest.mark.parametrize(
    "config",
    [
        frontend_preset("m3net"),
        frontend_preset("spectromasknet"),
        frontend_preset("spectromasknet_spectrogram"),
        frontend_preset("bilateral", sample_rate_hz=16_000),
        frontend_preset("diffres", hop_ms=1),
    ],
    ids=["m3net", "spectromasknet", "spectrogram", "waveform", "1 ms"],
)
def test_every_kind_of_feature_can_be_kept(config, dataset):
    computed = compute_features(dataset, "test", config)
    assert computed.features.shape == (1, 5, config.feature_bins, config.frame_count(16_000))
    reference = [features_int8(config, dataset.load(clip)) for clip in computed.clips]
    assert np.abs(computed.features[0].astype(int) - reference).max() <= 1
