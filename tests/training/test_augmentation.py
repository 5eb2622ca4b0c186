# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from m3net_tf.system.keras import tf
from m3net_tf.training.augmentation import augment_waveform, mixup, spec_augment, warp
from m3net_tf.training.sections import AugmentationSection

RATE_HZ = 16_000
OFF = AugmentationSection(shift_s=0.0, gain_db=(0.0, 0.0), noise_probability=0.0)


def vary(audio: np.ndarray, seed: int = 0, noises: tuple = (), **changes: object) -> np.ndarray:
    values = {
        "speed_probability": 0.0,
        "shift_s": 0.0,
        "gain_db": (0.0, 0.0),
        "noise_probability": 0.0,
        **changes,
    }
    rng = np.random.default_rng(seed)
    return augment_waveform(audio, AugmentationSection(**values), noises, RATE_HZ, rng)


def power_db(audio: np.ndarray) -> float:
    return float(10 * np.log10(np.mean(np.square(audio.astype(float)))))


def test_the_same_seed_gives_the_same_sound(sounds):
    changes = {
        "speed_probability": 0.5,
        "shift_s": 0.1,
        "gain_db": (-12.0, 8.0),
        "noise_probability": 1.0,
    }
    for audio in sounds:
        before = audio.copy()
        first, again, reseeded = (vary(audio, seed, **changes) for seed in (1, 1, 2))
        np.testing.assert_array_equal(first, again)
        assert not np.array_equal(first, reseeded)
        assert first.shape == audio.shape
        assert first.dtype == np.float32
        assert np.abs(first).max() <= 1
        np.testing.assert_array_equal(audio, before)  # the clip itself stays


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
    time_s = np.arange(RATE_HZ) / RATE_HZ
    tone = (0.5 * np.sin(2 * np.pi * 1000 * time_s)).astype(np.float32)
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
