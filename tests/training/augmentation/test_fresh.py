# SPDX-License-Identifier: Apache-2.0
"""Variation of waveforms in the graph: eager, traced and inside tf.data alike, epoch by epoch."""

import dataclasses
import itertools
from typing import get_args

import numpy as np
import pytest
import soundfile

from m3net_tf.audio.datasets import load_dataset
from m3net_tf.audio.frontend import FrontendConfig, graph
from m3net_tf.system.keras import tf
from m3net_tf.training.augmentation.fresh import (
    augment_waves,
    crop_waves,
    epoch_stream,
    make_rooms,
    reverberate_waves,
)
from m3net_tf.training.augmentation.reverberation import reverberate
from m3net_tf.training.recipe.sections import AugmentationSection, NoiseKind

RATE_HZ = 16_000
OFF = {"shift_s": 0.0, "gain_db": (0.0, 0.0), "noise_probability": 0.0}
SEED = tf.constant([3, 4], tf.int32)


def vary(waves: np.ndarray, seed=SEED, noises=None, rooms=None, **changes: object) -> np.ndarray:
    settings = AugmentationSection(**{**OFF, **changes})
    return augment_waves(tf.constant(waves), settings, RATE_HZ, seed, noises, rooms).numpy()


def power_db(waves: np.ndarray) -> np.ndarray:
    return 10 * np.log10(np.mean(np.square(waves.astype(float)), axis=-1))


@pytest.mark.parametrize(
    "changes",
    [
        {"shift_s": 0.1},
        {"gain_db": (-12.0, 8.0)},
        {"noise_probability": 0.5},
        {"room_probability": 0.5},
        {"shift_s": 0.1, "gain_db": (-6, 6), "noise_probability": 1.0, "room_probability": 1.0},
    ],
)
def test_three_ways_and_by_seed_alone(changes, sounds):
    settings = AugmentationSection(**{**OFF, **changes})

    def work(waves: tf.Tensor) -> tf.Tensor:
        return augment_waves(waves, settings, RATE_HZ, SEED)

    eager = work(tf.constant(sounds)).numpy()
    assert eager.shape == sounds.shape and np.abs(eager).max() <= 1
    traced = tf.function(work)(tf.constant(sounds)).numpy()
    (streamed,) = tf.data.Dataset.from_tensors(sounds).map(work).as_numpy_iterator()
    for result in (traced, streamed):  # FFTs and sums of float32, compiled or not
        np.testing.assert_allclose(result, eager, atol=2e-5)
    np.testing.assert_array_equal(eager, work(tf.constant(sounds)))
    assert not np.array_equal(eager, vary(sounds, tf.constant([3, 5], tf.int32), **changes))


def test_nothing_to_do(sounds):
    np.testing.assert_array_equal(vary(sounds), sounds)


def test_shift_moves_and_fills_with_silence():
    waves = np.tile(np.linspace(0.1, 0.9, 100, dtype=np.float32), (300, 1))
    seen = set()
    for wave in vary(waves, shift_s=5 / RATE_HZ):
        first, last = np.flatnonzero(wave)[[0, -1]]
        shift = int(first if first else last - 99)
        kept = waves[0][-shift:] if shift < 0 else waves[0][: 100 - shift]
        np.testing.assert_array_equal(wave[first : last + 1], kept)
        seen.add(shift)
    assert seen == set(range(-5, 6))


def test_gain_and_noise_have_the_requested_levels(sounds):
    waves = np.tile(0.1 * sounds[2], (100, 1))
    gains = power_db(vary(waves, gain_db=(-12.0, 8.0))) - power_db(waves)
    assert -12.01 < gains.min() < -11 and 7 < gains.max() < 8.01
    recorded = tf.constant(np.random.default_rng(1).uniform(-0.5, 0.5, (3, 20_000)), tf.float32)
    for noises in (None, recorded):
        mixed = vary(waves, noises=noises, noise_probability=1.0, noise_snr_db=(3.0, 20.0))
        ratios = power_db(waves) - power_db(mixed - waves)
        assert 2.9 < ratios.min() < 5 and 18 < ratios.max() < 20.1
    some = vary(waves, noise_probability=0.3)
    assert (
        0.15 < np.mean([not np.array_equal(a, b) for a, b in zip(some, waves, strict=True)]) < 0.45
    )


def test_rooms_are_those_of_numpy(sounds):
    settings = AugmentationSection(room_s=(0.2, 0.4), room_direct_db=(5.0, 10.0))
    rooms = make_rooms(8, settings, RATE_HZ, SEED).numpy()
    assert rooms.shape == (8, 6400)
    direct = 10 * np.log10(1 / np.sum(rooms[:, 1:].astype(float) ** 2, axis=1))
    assert ((direct > 5 - 1e-3) & (direct < 10 + 1e-3)).all()
    reverberated = reverberate_waves(tf.constant(sounds), tf.constant(rooms)).numpy()
    for wave, audio, room in zip(reverberated, sounds, rooms, strict=True):
        np.testing.assert_allclose(wave, reverberate(audio, room), atol=2e-5)
    recorded = vary(sounds[:4], rooms=tf.constant(rooms[:1]), room_probability=1.0)
    expected = np.clip([reverberate(audio, rooms[0]) for audio in sounds[:4]], -1, 1)
    np.testing.assert_allclose(recorded, expected, atol=2e-5)


def test_noise_is_of_one_kind_in_a_step():
    wave = np.tile(np.sin(np.arange(4096, dtype=np.float32) / 9) / 4, (4, 1))
    kinds = get_args(NoiseKind)
    slopes = []
    for seed in range(24):
        settings = {"noise_probability": 1.0, "noise_snr_db": (0, 0), "noise_kinds": kinds}
        noisy = vary(wave, tf.constant([seed, 1]), fresh=True, **settings)
        spectrum = np.abs(np.fft.rfft(noisy - wave)) ** 2
        low, high = spectrum[:, 150:250].mean(1), spectrum[:, 1500:1700].mean(1)
        octaves = np.log2(1600 / 200)
        slope = 10 * np.log10(high / low) / octaves  # dB per octave
        assert np.ptp(slope) < 1.5
        slopes.append(int(np.rint(slope.mean() / 3)))
    assert set(slopes) == {-2, -1, 0, 1, 2}


def test_crop_takes_every_place():
    waves = np.tile(np.arange(10, dtype=np.float32), (100, 1))
    pieces = crop_waves(tf.constant(waves), 7, SEED).numpy()
    assert {tuple(piece) for piece in pieces} == {tuple(range(i, i + 7)) for i in range(4)}
    np.testing.assert_array_equal(crop_waves(tf.constant(waves), 10, SEED), waves)


@pytest.mark.slow
def test_an_epoch_is_reproducible_and_leaves_no_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("M3NET_CACHE", str(tmp_path / "cache"))
    dataset = load_dataset("synth", clips_per_class=6)
    settings = AugmentationSection(room_probability=0.5, random_crop=True)

    def epoch(number: int, **changes: object) -> tuple[np.ndarray, np.ndarray]:
        stream = epoch_stream(
            dataset,
            "train",
            FrontendConfig(),
            dataclasses.replace(settings, **changes),
            seed=1,
            epoch=number,
            batch_size=8,
            order=np.random.default_rng([1, number]).permutation(len(dataset.split("train"))),
        )
        batches = list(stream.as_numpy_iterator())
        return tuple(np.concatenate(parts) for parts in zip(*batches, strict=True))

    first = epoch(0)
    again = epoch(0)
    second = epoch(1)
    assert first[0].shape == (40, 40, 49) and first[0].dtype == np.int8
    for a, b in zip(first, again, strict=True):
        np.testing.assert_array_equal(a, b)
    assert not np.array_equal(first[1], second[1])  # another order
    assert sorted(first[1]) == sorted(second[1])
    plain = epoch(0, room_probability=0.0, **OFF)
    np.testing.assert_array_equal(plain[1], first[1])
    sounds = np.stack([dataset.load(dataset.split("train")[i]) for i in plain[1]])
    np.testing.assert_array_equal(plain[0], graph.features_int8(FrontendConfig(), sounds))
    assert not (tmp_path / "cache").exists()


def test_a_random_crop_of_a_fresh_epoch_has_sound(tmp_path):
    for label, number in itertools.product("ab", range(5)):
        path = tmp_path / label / f"{number}.wav"
        path.parent.mkdir(exist_ok=True)
        sound = np.zeros(5 * 16_000, np.float32)
        sound[16_000 * number : 16_000 * number + 3200] = 0.3
        soundfile.write(path, sound, 16_000)
    dataset = load_dataset("folder", tmp_path)
    stream = epoch_stream(
        dataset,
        "train",
        FrontendConfig(),
        AugmentationSection(random_crop=True, **OFF),
        seed=1,
        epoch=0,
        batch_size=2,
        order=np.tile(np.arange(len(dataset.split("train"))), 4),
    )
    maps = np.concatenate([features for features, _ in stream.as_numpy_iterator()])
    assert len(maps) == 24 and (maps.max((1, 2)) > -128).all()
