# SPDX-License-Identifier: Apache-2.0
"""Variation of waveforms and of feature maps."""

import numpy as np
import pytest
import soundfile
from refusals import refuses

from m3net_tf.audio.frontend import FrontendConfig
from m3net_tf.system.errors import ConfigError, DataError
from m3net_tf.system.keras import tf
from m3net_tf.training.augmentation.channels import (
    change_vocal_tract,
    limit_band,
    through_telephone,
)
from m3net_tf.training.augmentation.maps import change_frequency_gains, mixup, spec_augment, warp
from m3net_tf.training.augmentation.reverberation import make_room, read_rooms, reverberate
from m3net_tf.training.augmentation.waveforms import (
    augment_waveform,
    change_pitch,
    change_tempo,
    cut_at_random,
)
from m3net_tf.training.recipe.sections import AugmentationSection

RATE_HZ = 16_000
TIME_S = np.arange(RATE_HZ) / RATE_HZ
NOISE = np.random.default_rng(0).normal(0, 0.1, RATE_HZ).astype(np.float32)
QUIET = {"shift_s": 0.0, "gain_db": (0.0, 0.0), "noise_probability": 0.0}


def vary(
    audio: np.ndarray, seed: int = 0, noises: tuple = (), rooms: tuple = (), **changes: object
) -> np.ndarray:
    settings = AugmentationSection(**{**QUIET, **changes})
    return augment_waveform(audio, settings, noises, RATE_HZ, np.random.default_rng(seed), rooms)


def power_db(audio: np.ndarray) -> float:
    return float(10 * np.log10(np.mean(np.square(audio.astype(float)))))


def test_nothing_to_do(sounds):
    np.testing.assert_array_equal(vary(sounds[0]), sounds[0])


def test_shift_moves_and_fills_with_silence():
    audio = np.linspace(0.1, 0.9, 1000, dtype=np.float32)
    seen = set()
    for seed in range(200):
        moved = vary(audio, seed, shift_s=5 / RATE_HZ)
        first, last = np.flatnonzero(moved)[[0, -1]]
        shift = int(first if first else last - 999)
        kept = audio[-shift:] if shift < 0 else audio[: 1000 - shift]
        np.testing.assert_array_equal(moved[first : last + 1], kept)
        seen.add(shift)
    assert seen == set(range(-5, 6))


@pytest.mark.parametrize("speed", [0.8, 1.25])
def test_speed_changes_pitch_and_length(speed):
    tone = (0.5 * np.sin(2 * np.pi * 1000 * TIME_S)).astype(np.float32)
    for seed in range(5):
        played = vary(tone, seed, speed_probability=1.0, speed=(speed, speed))
        assert played.shape == tone.shape
        spectrum = np.abs(np.fft.rfft(played))  # one bin a hertz
        assert spectrum.argmax() == pytest.approx(1000 * speed, abs=2)
        sounding = np.abs(played) > 0.01
        assert np.ptp(np.flatnonzero(sounding)) == pytest.approx(
            RATE_HZ * min(1, 1 / speed), abs=99
        )


def test_a_shift_beyond_the_clip_leaves_silence_at_most():
    audio = np.full(100, 0.5, np.float32)
    for seed in range(50):
        moved = vary(audio, seed, shift_s=200 / RATE_HZ)
        assert moved.shape == audio.shape
        assert set(np.unique(moved)) <= {np.float32(0), np.float32(0.5)}


def test_gain_stays_in_its_range(sounds):
    gains = [power_db(vary(sounds[3], s, gain_db=(-12.0, 8.0))) for s in range(100)]
    gains = np.array(gains) - power_db(sounds[3])
    assert -12.01 < gains.min() < -10
    assert 6 < gains.max() < 8.01


@pytest.mark.parametrize("recorded", [False, True])
def test_noise_has_the_requested_ratio(sounds, recorded):
    noises = (np.random.default_rng(9).uniform(-0.5, 0.5, 40_000).astype(np.float32),)
    audio = 0.1 * sounds[0]
    ratios = []
    for seed in range(50):
        mixed = vary(
            audio,
            seed,
            noises if recorded else (),
            noise_probability=1.0,
            noise_snr_db=(3.0, 20.0),
        )
        ratios.append(power_db(audio) - power_db(mixed - audio))
    assert 2.9 < min(ratios) < 6
    assert 17 < max(ratios) < 20.1


def test_share_of_noisy_copies(sounds):
    noisy = [
        not np.array_equal(vary(sounds[2], s, noise_probability=0.3), sounds[2]) for s in range(200)
    ]
    assert 0.2 < np.mean(noisy) < 0.4


def masked_twice(features: np.ndarray, **changes: int) -> np.ndarray:
    """Mask eagerly, after checking that a traced function does the same."""
    settings = AugmentationSection(**changes)
    seed = tf.constant([3, 4], tf.int32)
    eager = spec_augment(tf.constant(features), settings, seed)
    traced = tf.function(lambda x, s: spec_augment(x, settings, s))(tf.constant(features), seed)
    np.testing.assert_array_equal(traced, eager)
    return eager.numpy()


def runs(hidden: np.ndarray) -> int:
    """Number of separate runs of true values."""
    return int(np.count_nonzero(np.diff(np.concatenate([[0], hidden.astype(int)])) == 1))


@pytest.mark.parametrize(
    "changes",
    [
        {"time_masks": 2, "time_mask_frames": 7},
        {"frequency_masks": 3, "frequency_mask_bins": 4},
        {"time_masks": 1, "time_mask_frames": 10, "frequency_masks": 1, "frequency_mask_bins": 6},
        {"time_masks": 1, "time_mask_frames": 1000},
    ],
)
def test_masks_stay_within_their_limits(changes):
    features = np.random.default_rng(0).standard_normal((64, 40, 49, 1)).astype(np.float32)
    masked = masked_twice(features, **changes)
    assert masked.shape == features.shape
    widths = {1: [], 2: []}
    for clip, before in zip(masked[..., 0], features[..., 0], strict=True):
        hidden = clip != before
        np.testing.assert_allclose(clip[hidden], before.mean(), rtol=1e-4, atol=1e-6)
        whole = {1: hidden.all(axis=1), 2: hidden.all(axis=0)}
        if hidden.all():  # one mask over the whole clip
            whole[1][:] = False
        for axis, kind, unit in ((1, "frequency", "bins"), (2, "time", "frames")):
            count = changes.get(f"{kind}_masks", 0)
            assert runs(whole[axis]) <= count
            assert whole[axis].sum() <= count * changes.get(f"{kind}_mask_{unit}", 0)
            widths[axis].append(int(whole[axis].sum()))
        assert hidden.sum() == (whole[1][:, None] | whole[2]).sum()  # bands, nothing else
    for axis, key in ((1, "frequency_masks"), (2, "time_masks")):
        assert (len(set(widths[axis])) > 3) == bool(changes.get(key))


def test_mask_shares_scale_with_the_map():
    features = tf.random.stateless_uniform((256, 40, 400, 1), (1, 2))
    shares = {"time_mask_share": 0.5, "frequency_mask_share": 0.375}
    counts = {"time_masks": 1, "time_mask_frames": 3, "frequency_mask_bins": 2}
    settings = AugmentationSection(**counts, frequency_masks=1, **shares)
    for frames in (100, 400):  # the same second at two hops
        maps = features[:, :, :frames]
        hidden = spec_augment(maps, settings, tf.constant([1, 2], tf.int32)) != maps
        longest = tf.reduce_sum(tf.cast(tf.reduce_all(hidden, 1), tf.int32), 1).numpy().max()
        widest = tf.reduce_sum(tf.cast(tf.reduce_all(hidden, 2), tf.int32), 1).numpy().max()
        assert 0.48 * frames < longest <= 0.5 * frames and 13 < widest <= 15


@pytest.mark.parametrize("axis", [1, 2])
def test_a_warp_changes_the_pace_along_its_axis(axis):
    size = (40, 59)[axis - 1]
    ramp = np.arange(size, dtype=np.float32).reshape((-1, 1) if axis == 1 else (1, -1))
    maps = tf.constant(np.broadcast_to(ramp, (64, 40, 59))[..., None])
    settings = AugmentationSection(**{("frequency_warp", "time_warp")[axis - 1]: 0.25})
    warped, again = (warp(maps, settings, tf.constant([1, 2], tf.int32)).numpy() for _ in range(2))
    np.testing.assert_array_equal(warped, again)
    place = np.moveaxis(warped[..., 0], axis, -1)  # where each value comes from
    assert (place == place[:, :1]).all()
    place = place[:, 0]
    assert (place[:, {1: 0, 2: -1}[axis]] == {1: 0, 2: size - 1}[axis]).all()
    inner = np.diff(place[:, size // 3 : size // 2])
    assert (inner > 0).all() and 0.15 < np.log(inner).std() < 0.35
    assert np.abs(np.diff(inner, axis=1)).max() < 0.3  # the pace changes slowly


@pytest.mark.parametrize(
    "config",
    [
        FrontendConfig(),
        FrontendConfig(log="db", feature_min=-80.0, feature_max=20.0),
        FrontendConfig(power=1, feature_min=-7.0, feature_max=3.0),
    ],
    ids=["ln", "db", "magnitude"],
)
def test_frequency_gains_are_those_of_a_microphone(config):
    maps = tf.zeros((512, 40, 7, 1))
    settings = AugmentationSection(frequency_gain_db=2.0)
    seed = tf.constant([1, 2], tf.int32)
    changed, again = (
        change_frequency_gains(maps, settings, config, seed).numpy()[..., 0] for _ in range(2)
    )
    np.testing.assert_array_equal(changed, again)
    assert (changed == changed[:, :, :1]).all()  # a microphone does not change within a clip
    decibels = 128 * config.feature_step * changed[..., 0]
    decibels *= {"ln": 10 / np.log(10), "db": 1.0}[config.log] * 2 / config.power
    assert 1.8 < decibels[:, 0].std() < 2.2  # the lowest bin has a gain of its own
    assert np.abs(decibels.mean(0)).max() < 0.4
    near, far = (np.abs(decibels - np.roll(decibels, by, 1))[:, by:].mean() for by in (1, 13))
    assert 0 < near < 0.25 * far  # and changes slowly along frequency
    loudest = change_frequency_gains(maps + 127 / 128, settings, config, seed)
    assert tf.reduce_max(loudest) == 127 / 128


def test_mixup_keeps_targets_a_distribution():
    rng = np.random.default_rng(0)
    features = tf.constant(rng.standard_normal((64, 5, 6, 1)), tf.float32)
    targets = tf.one_hot(rng.integers(10, size=64), 10)
    settings = AugmentationSection(mixup_probability=0.5, mixup_min=0.6)
    seed = tf.constant([5, 6], tf.int32)
    mixed, soft = mixup(features, targets, settings, seed)
    traced = tf.function(lambda f, t, s: mixup(f, t, settings, s))(features, targets, seed)
    np.testing.assert_allclose(traced[0], mixed, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(traced[1], soft, rtol=1e-6)
    np.testing.assert_allclose(tf.reduce_sum(soft, 1), 1, rtol=1e-6)

    changed = np.abs(mixed - features).max((1, 2, 3)) > 0
    assert 0.3 < changed.mean() < 0.7
    np.testing.assert_array_equal(soft.numpy()[~changed], targets.numpy()[~changed])
    own = (soft * targets).numpy().sum(1)
    assert (own >= 0.6 - 1e-6).all()  # the clip itself remains the louder one
    # Features and targets are mixed with the same weight.
    weight = own[changed & (targets.numpy() != targets.numpy()[::-1]).any(1)]
    index = np.flatnonzero(changed & (targets.numpy() != targets.numpy()[::-1]).any(1))
    for w, i in zip(weight, index, strict=True):
        expected = w * features[i] + (1 - w) * features[63 - i]
        np.testing.assert_allclose(mixed[i], expected, rtol=1e-4, atol=1e-5)


# Rooms, tempo, pitch, random crop


@pytest.fixture(scope="module")
def tone() -> np.ndarray:
    return (0.3 * np.sin(2 * np.pi * 1000 * TIME_S)).astype(np.float32)


@pytest.mark.parametrize(
    "changes",
    [
        {"stretch_probability": 0.5, "pitch_probability": 0.5, "room_probability": 0.5},
        {"vocal_tract_probability": 0.5, "band_probability": 0.5, "telephone_probability": 0.5},
        {"speed_probability": 0.5, "shift_s": 0.1, "gain_db": (-12, 8), "noise_probability": 0.5},
    ],
)
def test_the_same_seed_gives_the_same_sound(changes, sounds):
    for audio in sounds[[0, 2, 5]]:
        before = audio.copy()
        first, again = (vary(audio, 1, **changes) for _ in range(2))
        np.testing.assert_array_equal(first, again)
        assert first.shape == audio.shape and first.dtype == np.float32
        np.testing.assert_array_equal(audio, before)
        assert np.abs(first).max() <= 1
        others = [vary(audio, seed, **changes) for seed in range(2, 6)]
        assert not audio.any() or not all(np.array_equal(first, varied) for varied in others)


def test_what_is_off_draws_nothing(sounds):
    """Recipes from before these settings keep their random streams."""
    plain = {"speed_probability": 0.5, "shift_s": 0.1, "gain_db": (-6, 6), "noise_probability": 0.5}
    ranges = {"stretch": (0.5, 2.0), "room_s": (1.0, 2.0), "pitch_semitones": (-9.0, 9.0)}
    for seed in range(5):
        without_ranges = vary(sounds[2], seed, **plain)
        with_ranges = vary(sounds[2], seed, **plain, **ranges)
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
        early = np.mean(room[1:tenth] ** 2)
        late = np.mean(room[8 * tenth : 9 * tenth] ** 2)
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
    variations = {
        vary(sounds[0], s, rooms=rooms, room_probability=1.0).tobytes() for s in range(20)
    }
    expected = {np.clip(reverberate(sounds[0], room), -1, 1).tobytes() for room in rooms}
    assert variations == expected
    soundfile.write(tmp_path / "c.wav", np.zeros(100), RATE_HZ)
    with refuses(DataError, "c.wav"):
        read_rooms(tmp_path, RATE_HZ)
    with refuses(DataError, "none"):
        read_rooms(tmp_path / "none", RATE_HZ)
    (tmp_path / "empty").mkdir()
    with refuses(DataError, "sound files"):
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
    ],
)
def test_limits_name_the_key(key, value, limits):
    with pytest.raises(ConfigError, match=rf"augmentation\.{key} is .*{limits}"):
        AugmentationSection(**{key: value})


# Vocal tract, band, telephone


def level_db(audio, low_hz, high_hz):
    """Power between two frequencies."""
    power = np.abs(np.fft.rfft(audio)) ** 2  # one bin a hertz
    return 10 * np.log10(power[low_hz:high_hz].sum() + 1e-12)


def vowel(formant_hz, pitch_hz=100):
    """Harmonics under one resonance."""
    harmonics = pitch_hz * np.arange(1, 70)
    gains = 1 / (1 + ((harmonics - formant_hz) / 150) ** 2)
    waves = gains[:, None] * np.sin(2 * np.pi * harmonics[:, None] * TIME_S)
    return (0.1 * waves.sum(axis=0)).astype(np.float32)


@pytest.mark.parametrize("length", [0.85, 1.15])
def test_a_vocal_tract_moves_formants_and_keeps_the_pitch(length):
    audio = vowel(1500)
    changed = change_vocal_tract(audio, length, RATE_HZ)
    assert changed.shape == audio.shape
    assert changed.dtype == np.float32
    assert np.std(changed) == pytest.approx(np.std(audio), rel=1e-3)
    spectrum = np.abs(np.fft.rfft(changed))
    harmonics = np.arange(100, 4000, 100)
    centre_hz = np.average(harmonics, weights=spectrum[harmonics] ** 2)
    assert centre_hz == pytest.approx(1500 / length, abs=30)
    between = spectrum[harmonics + 50]  # the pitch is still 100 Hz
    assert between.max() < spectrum[harmonics].max() / 30


def test_the_vocal_tract_of_silence_is_silent():
    np.testing.assert_array_equal(change_vocal_tract(np.zeros(4000, np.float32), 1.2, RATE_HZ), 0)


def test_a_band_loses_what_is_outside():
    narrow = limit_band(NOISE, 300, 3000, RATE_HZ)
    assert level_db(narrow, 600, 1500) == pytest.approx(level_db(NOISE, 600, 1500), abs=0.1)
    for low_hz, high_hz in ((60, 90), (6000, 8000)):
        assert level_db(narrow, low_hz, high_hz) < level_db(NOISE, low_hz, high_hz) - 20
    for edge_hz in (300, 3000):
        lost = level_db(NOISE, edge_hz - 5, edge_hz + 5) - level_db(
            narrow, edge_hz - 5, edge_hz + 5
        )
        assert lost == pytest.approx(3, abs=0.3)


def test_a_telephone_has_8_khz_and_8_bits():
    tone = (0.5 * np.sin(2 * np.pi * 1000 * TIME_S)).astype(np.float32)
    said = through_telephone(tone, RATE_HZ)
    assert said.shape == tone.shape
    error_db = level_db(said - tone, 200, 3500) - level_db(tone, 200, 3500)
    assert -42 < error_db < -33  # G.711 has about 38 dB at high levels
    assert (
        level_db(through_telephone(NOISE, RATE_HZ), 4500, 8000) < level_db(NOISE, 4500, 8000) - 40
    )
