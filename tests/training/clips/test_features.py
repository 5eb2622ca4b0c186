# SPDX-License-Identifier: Apache-2.0
"""Features of a split: right numbers, computed once, never confused with another's."""

import dataclasses

import numpy as np
import pytest
from refusals import refuses

from m3net_tf.audio.datasets import AudioDataset, load_dataset
from m3net_tf.audio.frontend import (
    FrontendConfig,
    dequantize_features,
    features_int8,
    frontend_preset,
)
from m3net_tf.system.errors import ConfigError, DataError
from m3net_tf.system.processor import machine
from m3net_tf.training.clips import features as features_module
from m3net_tf.training.clips.features import compute_features, input_shape, recipe_features
from m3net_tf.training.recipe import Recipe
from m3net_tf.training.recipe.sections import AugmentationSection

CONFIG = FrontendConfig()
VARIED = AugmentationSection(
    copies=2,
    random_crop=True,
    stretch_probability=0.5,
    pitch_probability=0.5,
    room_probability=0.5,
)


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("M3NET_CACHE", str(tmp_path))
    return tmp_path


@pytest.fixture
def dataset() -> AudioDataset:
    return load_dataset("synth", clips_per_class=6)


@pytest.fixture
def filled(monkeypatch) -> list:
    """Receives one entry whenever features are computed instead of read from the cache."""
    calls: list = []
    sounds = features_module._sounds

    def noted(dataset, *others):
        calls.append(dataset.info.name)
        return sounds(dataset, *others)

    monkeypatch.setattr(features_module, "_sounds", noted)
    return calls


def test_clean_features_are_those_of_the_reference(cache, dataset):
    computed = compute_features(dataset, "validation", CONFIG)
    assert computed.features.shape == (1, 10, 40, 49)
    assert computed.clean.shape == (10, 40, 49, 1)
    assert computed.labels.tolist() == list(range(10))
    reference = np.stack([features_int8(CONFIG, dataset.load(clip)) for clip in computed.clips])
    difference = np.abs(computed.features[0].astype(int) - reference)
    assert difference.max() <= 1  # float32 against double, as in the front end's own test
    assert (difference == 0).mean() >= 0.999


def test_float_features_keep_what_int8_rounds(cache, dataset):
    linear = frontend_preset("bilateral", sample_rate_hz=16_000)
    rounded = compute_features(dataset, "validation", linear)
    exact = compute_features(dataset, "validation", linear, dtype="float32")
    waves = np.stack([dataset.load(clip) for clip in exact.clips])
    assert exact.features.dtype == np.float32
    np.testing.assert_allclose(exact.clean[:, 0, :, 0], waves, atol=1e-6)
    assert np.abs(dequantize_features(rounded.clean) - exact.clean).max() > 1e-3
    again = compute_features(dataset, "validation", linear, dtype="float32")
    np.testing.assert_array_equal(again.clean, exact.clean)


def test_float_features_are_the_int8_ones_before_rounding(cache, dataset):
    exact = compute_features(dataset, "validation", CONFIG, dtype="float32").clean
    rounded = compute_features(dataset, "validation", CONFIG).clean
    difference = np.abs(exact - dequantize_features(rounded))
    inside = (rounded > -128) & (rounded < 127)
    assert difference[inside].max() <= 0.5 / 128 + 1e-6 and difference.max() > 0.4 / 128


def test_varied_copies_differ_from_the_clip_and_from_each_other(cache, dataset):
    computed = compute_features(dataset, "validation", CONFIG, VARIED, seed=1)
    clean = compute_features(dataset, "validation", CONFIG)
    assert computed.features.shape == (3, 10, 40, 49)
    np.testing.assert_array_equal(computed.clean, clean.clean)
    for a, b in ((0, 1), (0, 2), (1, 2)):
        same = (computed.features[a] == computed.features[b]).all((1, 2))
        assert not same.any()


def test_the_second_call_computes_nothing(cache, dataset, filled):
    first = compute_features(dataset, "validation", CONFIG, VARIED, seed=1)
    second = compute_features(dataset, "validation", CONFIG, VARIED, seed=1)
    assert len(filled) == 1
    np.testing.assert_array_equal(first.features, second.features)
    assert first.clips == second.clips
    assert [p.suffix for p in (cache / "features").iterdir()] == [".npy"]


def test_maps_of_another_instruction_set_are_computed_again(cache, dataset, filled, monkeypatch):
    compute_features(dataset, "validation", CONFIG)
    other = {**machine(), "instruction_set": "another"}
    monkeypatch.setattr(features_module, "machine", lambda: other)
    compute_features(dataset, "validation", CONFIG)
    assert len(filled) == 2


def test_the_seed_alone_decides_the_copies(cache, dataset):
    first = compute_features(dataset, "validation", CONFIG, VARIED, seed=1).features[:]
    (path,) = (cache / "features").iterdir()
    path.unlink()
    again = compute_features(dataset, "validation", CONFIG, VARIED, seed=1).features
    np.testing.assert_array_equal(first, again)
    reseeded = compute_features(dataset, "validation", CONFIG, VARIED, seed=2).features
    np.testing.assert_array_equal(first[0], reseeded[0])
    assert not np.array_equal(first[1], reseeded[1])


def test_trainings_of_other_seeds_may_share_the_copies(cache, dataset, filled):
    def maps(seed: int, copies_seed: int | None) -> np.ndarray:
        augmentation = {"copies": 1, "copies_seed": copies_seed}
        values = {"dataset": {"name": "synth"}, "model": {"name": "m3net"}}
        values |= {"augmentation": augmentation, "training": {"seed": seed}}
        recipe = Recipe.from_dict(values)
        return recipe_features(recipe, dataset, "train", own_lengths=False).features[:]

    first = maps(1, 5)
    np.testing.assert_array_equal(maps(2, 5), first)
    assert len(filled) == 1
    np.testing.assert_array_equal(maps(5, None), first)
    assert not np.array_equal(maps(1, None)[1], first[1])


@pytest.mark.parametrize("damage", ["truncated", "empty", "garbage", "other shape", "zip"])
def test_a_damaged_cache_file_is_made_again(damage, cache, dataset, filled):
    first = compute_features(dataset, "validation", CONFIG).features[:]
    (path,) = (cache / "features").iterdir()
    whole = path.read_bytes()
    if damage == "other shape":
        np.save(path, first[:, :1])
    else:
        contents = {
            "truncated": whole[:-100],
            "empty": b"",
            "garbage": b"x" * 999,
            "zip": b"PK\3\4",
        }
        path.write_bytes(contents[damage])
    again = compute_features(dataset, "validation", CONFIG).features
    np.testing.assert_array_equal(first, again)
    assert len(filled) == 2
    assert path.read_bytes() == whole


def test_a_broken_clip_leaves_no_cache_file(cache, tmp_path):
    clips = load_dataset("synth", clips_per_class=6).split("validation")
    broken = dataclasses.replace(clips[1], path=tmp_path / "broken.wav")
    broken.path.write_bytes(b"RIFF")
    dataset = load_dataset("synth", clips_per_class=6)
    dataset = dataclasses.replace(dataset, clips=(clips[0], broken))
    with refuses(DataError, "broken.wav") as caught:
        compute_features(dataset, "validation", CONFIG)
    assert "\n" not in str(caught.value)
    assert not list(cache.glob("features/*"))


def test_an_empty_split(cache, dataset):
    training = dataclasses.replace(dataset, clips=dataset.split("train"))
    with refuses(DataError, "synth", "test", "generated-split"):
        compute_features(training, "test", CONFIG)


def test_data_set_and_front_end_must_fit(dataset):
    assert input_shape(dataset.info, CONFIG) == (40, 49, 1)
    assert input_shape(dataset.info, FrontendConfig(mfcc_coefficients=10)) == (10, 49, 1)
    with refuses(ConfigError, "sample_rate_hz", "44100", "16000"):
        input_shape(dataset.info, FrontendConfig(sample_rate_hz=44_100))
    with refuses(ConfigError, "frame_samples", "32768", "16000"):
        input_shape(dataset.info, FrontendConfig(frame_samples=32_768, fft_samples=32_768))
