# SPDX-License-Identifier: Apache-2.0
"""Cutmix and between-class mixing: eager, traced and inside tf.data alike."""

import numpy as np
import pytest
from refusals import refuses

from m3net_tf.audio.frontend import FrontendConfig, features
from m3net_tf.system.errors import ConfigError
from m3net_tf.system.keras import tf
from m3net_tf.training.augmentation.maps import between_class, cutmix
from m3net_tf.training.recipe import Recipe
from m3net_tf.training.recipe.sections import AugmentationSection

RNG = np.random.default_rng(0)
MAPS = RNG.uniform(-1, 0.9, (64, 12, 15, 1)).astype(np.float32)
TARGETS = np.eye(10, dtype=np.float32)[RNG.integers(10, size=64)]


def three_ways(function, seed=(5, 6)):
    """Mix eagerly, after checking that a traced function and tf.data do the same."""
    seed = tf.constant(seed, tf.int32)
    eager = [part.numpy() for part in function(tf.constant(MAPS), tf.constant(TARGETS), seed)]
    traced = tf.function(function)(tf.constant(MAPS), tf.constant(TARGETS), seed)
    stream = tf.data.Dataset.from_tensors((MAPS, TARGETS)).map(lambda m, t: function(m, t, seed))
    for result in (traced, next(iter(stream))):
        for a, b in zip(eager, result, strict=True):
            np.testing.assert_allclose(b, a, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(eager[1].sum(1), 1, rtol=1e-5)
    return eager


def test_cutmix_pastes_one_rectangle_and_counts_its_area():
    settings = AugmentationSection(cutmix_probability=0.5, cutmix_min=0.4)
    mixed, soft = three_ways(lambda m, t, s: cutmix(m, t, settings, s))
    shares = []
    for clip, own_map, pasted_map, target, own_target, pasted_target in zip(
        mixed, MAPS, MAPS[::-1], soft, TARGETS, TARGETS[::-1], strict=True
    ):
        pasted = (clip != own_map)[..., 0]
        rows = pasted.any(1)
        columns = pasted.any(0)
        assert (pasted == rows[:, None] & columns[None]).all()
        for inside in (rows, columns):
            assert (np.diff(np.flatnonzero(inside)) == 1).all()
        np.testing.assert_array_equal(clip[pasted], pasted_map[pasted])
        share = pasted.mean()
        np.testing.assert_allclose(
            target, own_target * (1 - share) + pasted_target * share, atol=1e-6
        )
        shares.append(share)
    assert max(shares) <= 0.6
    assert 0.25 < np.mean(np.array(shares) > 0) < 0.6
    assert len(set(shares)) > 8


def test_cutmix_cuts_waveforms_in_time():
    waves = tf.constant(RNG.uniform(-1, 0.9, (64, 1, 1000, 1)).astype(np.float32))
    settings = AugmentationSection(cutmix_probability=1.0, cutmix_min=0.4)
    mixed, soft = cutmix(waves, tf.eye(64), settings, tf.constant([5, 6]))
    changed = (mixed != waves).numpy()[:, 0, :, 0]
    shares = changed.mean(1)
    assert 0.25 < shares.mean() < 0.35 and shares.max() <= 0.6  # uniform in 0 to 0.6
    np.testing.assert_allclose(np.diag(soft), 1 - shares, atol=1e-6)
    for clip in changed:  # one stretch of time
        assert np.count_nonzero(np.diff(clip.astype(int), prepend=0, append=0)) == 2


def test_nothing_to_do():
    off = AugmentationSection()
    config = FrontendConfig()
    seed = tf.constant([1, 2])
    for mixed, soft in (
        cutmix(MAPS, TARGETS, off, seed),
        between_class(tf.constant(MAPS), tf.constant(TARGETS), off, config, seed),
    ):
        np.testing.assert_array_equal(mixed, MAPS)
        np.testing.assert_array_equal(soft, TARGETS)


@pytest.mark.parametrize(
    "config",
    [
        FrontendConfig(),
        FrontendConfig(log="db", feature_min=-60.0, feature_max=22.0),
        FrontendConfig(power=1, feature_min=-7.0, feature_max=3.0),
    ],
    ids=["ln", "db", "magnitude"],
)
def test_between_class_adds_energies(config, sounds):
    """Compared with the paper's formula on the powers themselves."""
    batch = sounds[[0, 2, 7, 3]]
    plain = np.stack([features(config, audio) for audio in batch])
    # Without rounding to int8, so that the formula shows exactly.
    maps = (plain - config.feature_min) / (128 * config.feature_step) - 1
    targets = np.eye(4, dtype=np.float32)
    settings = AugmentationSection(between_class_probability=1.0)
    wide = np.clip(maps, -1, 127 / 128).astype(np.float32)[..., None]
    mixed, soft = between_class(
        tf.constant(wide), tf.constant(targets), settings, config, tf.constant([3, 4])
    )
    to_ln = {"ln": 1.0, "db": np.log(10) / 10}[config.log] * 2 / config.power
    values = config.feature_min + (wide[..., 0] + 1) * 128 * config.feature_step
    powers = np.exp(values.astype(float) * to_ln)
    for i in range(4):
        r = float(soft[i, i])
        own = powers[i]
        partner = powers[3 - i]
        amplitude = np.sqrt(own.mean() / partner.mean())
        p = 1 / (1 + amplitude * (1 - r) / r)
        expected = np.log((p**2 * own + (1 - p) ** 2 * partner) / (p**2 + (1 - p) ** 2)) / to_ln
        expected = (expected - config.feature_min) / (128 * config.feature_step) - 1
        np.testing.assert_allclose(mixed[i, ..., 0], np.clip(expected, -1, 127 / 128), atol=2e-4)
        assert float(soft[i, 3 - i]) == pytest.approx(1 - r, abs=1e-6)


@pytest.mark.parametrize(
    "frontend",
    [{"log": "none"}, {"mfcc_coefficients": 10}, {"kind": "waveform"}],
)
@pytest.mark.parametrize("key", ["between_class_probability", "frequency_gain_db"])
def test_changes_of_energies_need_energies(frontend, key):
    values = {"dataset": {"name": "synth"}, "model": {"name": "m3net"}, "frontend": frontend}
    Recipe.from_dict(values)
    with refuses(ConfigError, key, "frontend.log"):
        Recipe.from_dict({**values, "augmentation": {key: 0.5}})


def test_three_ways_of_between_class():
    settings = AugmentationSection(between_class_probability=0.5)
    mixed, soft = three_ways(lambda m, t, s: between_class(m, t, settings, FrontendConfig(), s))
    changed = np.abs(mixed - MAPS).max((1, 2, 3)) > 1e-6
    assert 0.3 < changed.mean() < 0.7
    np.testing.assert_array_equal(soft[~changed], TARGETS[~changed])
    assert mixed.min() >= -1 and mixed.max() <= 127 / 128
