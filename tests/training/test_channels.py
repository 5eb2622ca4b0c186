# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from m3net_tf.training.augmentation import augment_waveform
from m3net_tf.training.channels import change_vocal_tract, limit_band, through_telephone
from m3net_tf.training.sections import AugmentationSection

RATE_HZ = 16_000
TIME_S = np.arange(RATE_HZ) / RATE_HZ
NOISE = np.random.default_rng(0).normal(0, 0.1, RATE_HZ).astype(np.float32)


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


@pytest.mark.parametrize("effect", ["vocal_tract", "band", "telephone"])
def test_effects_are_drawn_with_their_probability(effect):
    off = {"shift_s": 0.0, "gain_db": (0.0, 0.0), "noise_probability": 0.0}
    changed = 0
    for seed in range(20):
        settings = AugmentationSection(**{f"{effect}_probability": 0.5}, **off)
        one, again = (
            augment_waveform(NOISE, settings, (), RATE_HZ, np.random.default_rng(seed))
            for _ in range(2)
        )
        np.testing.assert_array_equal(one, again)
        changed += not np.array_equal(one, NOISE)
    assert 4 < changed < 16
