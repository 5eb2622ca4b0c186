# SPDX-License-Identifier: Apache-2.0
"""The integer front end: its distance from the reference, and no overflow of a word."""

import numpy as np
import pytest

from m3net_tf.audio.frontend import (
    FrontendConfig,
    features_int8,
    fixed_features_int8,
    frontend_preset,
    reference,
)
from m3net_tf.audio.frontend.fixed import fixed_tables, spectral_powers
from m3net_tf.system.errors import DataError

CONFIGS = {
    "mcu": FrontendConfig(),
    "mfcc": FrontendConfig(mfcc_coefficients=13, feature_min=-60.0, feature_max=40.0),
    "short frame": FrontendConfig(
        frame_samples=400, hop_samples=160, mel_bins=64, mel_scale="htk", window="hamming"
    ),
    "yamnet": frontend_preset("yamnet"),
    "offset": FrontendConfig(log_offset=1.0),
    "magnitudes, large": FrontendConfig(
        power=1, frame_samples=2048, hop_samples=320, fft_samples=2048, mel_norm="none",
        mel_bins=64, log_floor=1e-2, feature_min=-12.0, feature_max=9.0,
    ),
    "povey, kaldi": FrontendConfig(
        frame_samples=401, hop_samples=160, window="povey", mel_scale="kaldi", mel_norm="none",
        feature_max=10.0,
    ),
    "empty filters": FrontendConfig(mel_bins=128, mel_min_hz=0.0),
    "odd power of two": FrontendConfig(frame_samples=256, hop_samples=256, fft_samples=256),
    "large": FrontendConfig(
        sample_rate_hz=44_100, frame_samples=2048, hop_samples=441, fft_samples=2048,
        mel_bins=128, mel_norm="none", mel_max_hz=20_000.0, mel_min_hz=0.0,
        feature_min=-12.0, feature_max=9.0,
    ),
    "smallest": FrontendConfig(
        frame_samples=32, hop_samples=16, fft_samples=32, mel_bins=4, mel_min_hz=500.0
    ),
}  # fmt: skip


def sounds(config: FrontendConfig) -> dict[str, np.ndarray]:
    """int16 clips, including the extremes."""
    rng = np.random.default_rng(11)
    count = 30 * config.hop_samples + config.frame_samples
    at = np.arange(count)
    tone = np.sin(2 * np.pi * 1000 * at / config.sample_rate_hz)
    waves = {
        "silence": np.zeros(count),
        "one bit of noise": rng.integers(0, 2, count),
        "noise of one step": rng.normal(0, 1, count),
        "noise": rng.normal(0, 6000, count),
        "full noise": rng.integers(-32768, 32768, count),
        "tone": 32767 * tone,
        "quiet tone": 3 * tone,
        "clipped": np.sign(tone) * 32768,
        "step": np.where(at > count // 2, 32767, 0),
        "click": np.where(at == count // 2, -32768, 0),
        "level": np.full(count, -32768),
        "half the rate": np.where(at % 2, 32767, -32768),
    }
    return {
        name: np.clip(np.round(wave), -32768, 32767).astype(np.int16)
        for name, wave in waves.items()
    }


def differences(config: FrontendConfig, clips: list[np.ndarray]) -> np.ndarray:
    steps_apart = [
        np.abs(
            fixed_features_int8(config, clip) - features_int8(config, clip / 32768.0).astype(int)
        )
        for clip in clips
    ]
    return np.concatenate([array.ravel() for array in steps_apart])


@pytest.mark.parametrize("name", CONFIGS)
def test_within_a_step_of_the_reference(name: str):
    """A value next to a rounding limit may be rounded the other way; nothing else differs."""
    clips = sounds(CONFIGS[name])
    steps_apart = differences(CONFIGS[name], list(clips.values()))
    assert steps_apart.max() <= 1 and steps_apart.mean() < 0.01
    for clip in clips.values():
        assert differences(CONFIGS[name], [clip]).mean() < 0.04


@pytest.mark.parametrize(
    ("dataset", "folder", "share"),
    [("speech_commands", "speech_commands_v2_mini", 8), ("esc10", "esc10", 10)],
)
def test_real_clips(real_data, dataset: str, folder: str, share: int):
    from m3net_tf.audio.datasets import load_dataset, to_pcm16

    loaded = load_dataset(dataset, real_data(folder))
    clips = [to_pcm16(loaded.load(clip)) for clip in loaded.split("test")[::share]]
    steps_apart = differences(FrontendConfig(), clips)
    assert steps_apart.size > 70_000
    assert steps_apart.max() <= 1 and steps_apart.mean() < 0.001


@pytest.mark.parametrize("name", CONFIGS)
def test_the_spectrum_is_exact_to_a_sample_s_fraction(name: str):
    """The error against a double-precision FFT is far below the rounding of 16-bit samples."""
    config = CONFIGS[name]
    tables = fixed_tables(config)
    clip = sounds(config)["full noise"]
    taper = np.pad(reference.window(config), (0, config.fft_samples - config.frame_samples))
    cut = np.lib.stride_tricks.sliding_window_view(clip, config.frame_samples)
    cut = cut[:: config.hop_samples].astype(np.float64)
    cut = np.pad(cut, ((0, 0), (0, config.fft_samples - config.frame_samples)))
    expected = np.abs(np.fft.rfft(cut * taper))
    fraction_bits = tables.sample_shift - 1 - len(tables.stages)
    actual = np.sqrt(spectral_powers(config, tables, clip.astype(np.int64)).astype(float))
    error = actual / 2.0**fraction_bits - expected
    rounding_of_samples = np.sqrt(np.sum(taper**2) / 12)
    assert np.sqrt(np.mean(error**2)) < rounding_of_samples / 8


@pytest.mark.parametrize("name", CONFIGS)
def test_the_loudest_sounds_fit_their_words(name: str):
    """The worst sound for each bin: full scale, in step with it."""
    config = CONFIGS[name]
    tables = fixed_tables(config)
    at = np.arange(config.frame_samples)
    bins = np.unique(np.linspace(0, config.fft_samples // 2, 9).astype(int))
    largest = 0
    for number in bins:
        for phase in (0.0, 0.25, 0.4):
            wave = np.cos(2 * np.pi * (number * at / config.fft_samples + phase))
            clip = np.where(wave >= 0, 32767, -32768)
            largest = max(largest, int(spectral_powers(config, tables, clip).max()))
    # The sums before the halves are separated have one bit more than a magnitude.
    assert largest < 2**60
    assert largest > 2**54


@pytest.mark.parametrize(
    ("clip", "message"),
    [
        (np.zeros(16_000), r"audio is float64 of shape \(16000,\): give int16"),
        (np.zeros((1, 16_000), np.int16), r"audio is int16 of shape \(1, 16000\)"),
        (np.zeros(511, np.int16), "audio has 511 samples, less than one frame of 512"),
    ],
)
def test_a_clip_that_it_refuses(clip: np.ndarray, message: str):
    with pytest.raises(DataError, match=message):
        fixed_features_int8(FrontendConfig(), clip)
