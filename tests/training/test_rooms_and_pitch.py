# SPDX-License-Identifier: Apache-2.0
"""Variation of stored copies: rooms, tempo, pitch, random crop."""

import numpy as np
import pytest
import soundfile
from refusals import refuses

from m3net_tf.system.errors import ConfigError, DataError
from m3net_tf.training.augmentation import (
    augment_waveform,
    change_pitch,
    change_tempo,
    cut_at_random,
)
from m3net_tf.training.reverberation import make_room, read_rooms, reverberate
from m3net_tf.training.sections import AugmentationSection

RATE_HZ = 16_000
QUIET = {"shift_s": 0.0, "gain_db": (0.0, 0.0), "noise_probability": 0.0}


def vary(audio: np.ndarray, seed: int = 0, rooms: tuple = (), **changes: object) -> np.ndarray:
    settings = AugmentationSection(**{**QUIET, **changes})
    return augment_waveform(audio, settings, (), RATE_HZ, np.random.default_rng(seed), rooms)


def power_db(audio: np.ndarray) -> float:
    return float(10 * np.log10(np.mean(np.square(audio.astype(float))) + 1e-30))


@pytest.fixture(scope="module")
def tone() -> np.ndarray:
    time_s = np.arange(RATE_HZ) / RATE_HZ
    return (0.3 * np.sin(2 * np.pi * 1000 * time_s)).astype(np.float32)


@pytest.mark.parametrize(
    "changes",
    [
        {"stretch_probability": 1.0},
        {"pitch_probability": 1.0},
        {"room_probability": 1.0},
        {"stretch_probability": 0.5, "pitch_probability": 0.5, "room_probability": 0.5},
    ],
)
def test_the_same_seed_gives_the_same_sound(changes, sounds):
    for audio in sounds[[0, 2, 5]]:
        before = audio.copy()
        first, again = (vary(audio, 1, **changes) for _ in range(2))
        np.testing.assert_array_equal(first, again)
        assert first.shape == audio.shape and first.dtype == np.float32
        np.testing.assert_array_equal(audio, before)
        if audio.any():
            others = [vary(audio, seed, **changes) for seed in range(2, 6)]
            assert not all(np.array_equal(first, varied) for varied in others)
        else:
            assert not first.any()  # silence stays silence


def test_what_is_off_draws_nothing(sounds):
    """Recipes from before these settings keep their random streams."""
    plain = {"speed_probability": 0.5, "shift_s": 0.1, "gain_db": (-6, 6), "noise_probability": 0.5}
    ranges = {"stretch": (0.5, 2.0), "room_s": (1.0, 2.0), "pitch_semitones": (-9.0, 9.0)}
    for seed in range(5):
        without_ranges, with_ranges = (
            vary(sounds[2], seed, **plain),
            vary(sounds[2], seed, **plain, **ranges),
        )
        np.testing.assert_array_equal(without_ranges, with_ranges)


@pytest.mark.parametrize("semitones", [-4, 3])
def test_pitch_moves_and_length_stays(tone, semitones):
    moved = change_pitch(tone, semitones, RATE_HZ)
    assert moved.shape == tone.shape
    assert np.abs(np.fft.rfft(moved)).argmax() == pytest.approx(1000 * 2 ** (semitones / 12), abs=3)


@pytest.mark.parametrize("tempo", [0.8, 1.25])
def test_tempo_moves_time_and_no_pitch(tone, tempo):
    played = change_tempo(tone, tempo, np.random.default_rng(0))
    assert played.shape == tone.shape
    assert np.abs(np.fft.rfft(played)).argmax() == pytest.approx(1000, abs=3)
    bursts = np.zeros_like(tone)
    for start in (3500, 11500):
        bursts[start : start + 1000] = tone[:1000]
    sounding = np.abs(change_tempo(bursts, tempo, np.random.default_rng(0))) > 0.1
    # From the start of the first to the end of the second, blurred by frames of 2048 samples.
    assert np.ptp(np.flatnonzero(sounding)) == pytest.approx(9000 / tempo, rel=0.06)


def test_short_sounds_can_be_played_too():
    for size in (20, 100, 3000):
        audio = np.random.default_rng(0).standard_normal(size).astype(np.float32) / 10
        for changes in ({"stretch_probability": 1.0}, {"pitch_probability": 1.0}):
            assert vary(audio, **changes).shape == audio.shape


def test_a_synthetic_room_decays_as_requested():
    for reverberation_s in (0.2, 0.6):
        room = make_room(reverberation_s, 6.0, RATE_HZ, np.random.default_rng(3)).astype(float)
        assert room[0] == 1 and room.size == round(reverberation_s * RATE_HZ)
        assert 10 * np.log10(1 / np.sum(room[1:] ** 2)) == pytest.approx(6.0, abs=1e-3)
        tenth = room.size // 10
        early, late = np.mean(room[1:tenth] ** 2), np.mean(room[8 * tenth : 9 * tenth] ** 2)
        assert 10 * np.log10(early / late) == pytest.approx(60 * 0.8, abs=3)


def test_reverberation_is_a_convolution_at_the_same_level(sounds):
    room = make_room(0.3, 3.0, RATE_HZ, np.random.default_rng(0))
    for audio in sounds[:4]:
        reverberated = reverberate(audio, room)
        slow = np.convolve(audio.astype(float), room.astype(float))[: audio.size]
        slow *= np.sqrt(np.mean(audio.astype(float) ** 2) / np.mean(slow**2))
        np.testing.assert_allclose(reverberated, slow, atol=1e-5)
        assert power_db(reverberated) == pytest.approx(power_db(audio), abs=1e-3)
    np.testing.assert_allclose(reverberate(sounds[2], np.ones(1)), sounds[2], atol=1e-6)


def test_recorded_rooms(tmp_path, sounds):
    rng = np.random.default_rng(0)
    for name in ("b.wav", "a.wav"):
        recording = np.concatenate([np.zeros(50), [0.8], 0.1 * rng.standard_normal(900)])
        soundfile.write(tmp_path / name, np.clip(recording, -1, 1), RATE_HZ, subtype="FLOAT")
    rooms = read_rooms(tmp_path, RATE_HZ)
    assert [room.size for room in rooms] == [901, 901]
    assert all(room[0] == 1 for room in rooms)
    variations = {vary(sounds[0], s, rooms, room_probability=1.0).tobytes() for s in range(20)}
    expected = {np.clip(reverberate(sounds[0], room), -1, 1).tobytes() for room in rooms}
    assert variations == expected
    soundfile.write(tmp_path / "c.wav", np.zeros(100), RATE_HZ)
    with refuses(DataError, "c.wav"):
        read_rooms(tmp_path, RATE_HZ)
    with refuses(DataError, "none"):
        read_rooms(tmp_path / "none", RATE_HZ)
    (tmp_path / "empty").mkdir()
    with refuses(DataError, "WAV"):
        read_rooms(tmp_path / "empty", RATE_HZ)


def test_random_crop_takes_every_place():
    audio = np.arange(1, 11, dtype=np.float32)
    crops = {tuple(cut_at_random(audio, 7, np.random.default_rng(seed))) for seed in range(60)}
    assert crops == {tuple(audio[i : i + 7]) for i in range(4)}
    np.testing.assert_array_equal(cut_at_random(audio, 11, np.random.default_rng(0)), audio)


def test_a_random_crop_has_sound(tone):
    """A sneeze of a fifth of a second in five seconds of digital zero."""
    audio = np.pad(tone[:3200], (3 * RATE_HZ, 2 * RATE_HZ - 3200))
    for seed in range(20):
        crop = cut_at_random(audio, 2 * RATE_HZ, np.random.default_rng(seed))
        assert crop.size == 2 * RATE_HZ and crop.any()
    nothing = np.zeros(5, np.float32)
    assert cut_at_random(nothing, 3, np.random.default_rng(0)).size == 3


@pytest.mark.parametrize(
    ("key", "value", "limits"),
    [
        ("stretch", (0.05, 1.0), "within 0.1 to 10"),
        ("stretch", (1.2, 1.0), "within 0.1 to 10"),
        ("pitch_semitones", (-30.0, 0.0), "within -24 to 24"),
        ("room_s", (0.0, 0.5), "within 0.01 to 10"),
        ("room_direct_db", (0.0, 99.0), "within -60 to 60"),
        ("room_probability", 1.5, "at most 1"),
        ("stretch_probability", -0.5, "at least 0"),
        ("pitch_probability", 2.0, "at most 1"),
        ("cutmix_probability", 1.5, "at most 1"),
        ("cutmix_min", 1.5, "at most 1"),
        ("between_class_probability", 1.5, "at most 1"),
    ],
)
def test_limits_name_the_key(key, value, limits):
    with pytest.raises(ConfigError, match=rf"augmentation\.{key} is .*{limits}"):
        AugmentationSection(**{key: value})
