# SPDX-License-Identifier: Apache-2.0
"""The NumPy reference compared with librosa and SciPy."""

import librosa
import numpy as np
import pytest
import scipy.fft
from hypothesis import given, settings
from hypothesis import strategies as st
from refusals import refuses

from m3net_tf.audio.frontend import (
    FrontendConfig,
    dequantize_features,
    features_int8,
    log_mel,
    mel_filterbank,
    mel_spectrogram,
    quantize_features,
)
from m3net_tf.system.errors import DataError

MCU = FrontendConfig()
CONFIGS = {
    "mcu": MCU,
    "htk": FrontendConfig(mel_scale="htk", mel_norm="none"),
    "centred": FrontendConfig(centred=True),
    "short frame": FrontendConfig(frame_samples=400, hop_samples=160),
    "short frame, centred": FrontendConfig(frame_samples=480, hop_samples=160, centred=True),
    "hamming": FrontendConfig(window="hamming"),
    "128 mels at 44.1 kHz": FrontendConfig(
        sample_rate_hz=44_100,
        frame_samples=2048,
        hop_samples=441,
        fft_samples=2048,
        mel_bins=128,
        mel_min_hz=0.0,
        mel_max_hz=22_050.0,
    ),
}


def librosa_mel(config: FrontendConfig, audio: np.ndarray) -> np.ndarray:
    """Librosa's mel powers, shape (mel_bins, frames)."""
    skip = 0 if config.centred else (config.fft_samples - config.frame_samples) // 2
    # Uncentred, librosa puts a short window into the middle of the FFT; ours starts at index 0.
    audio = np.pad(audio.astype(np.float64), (skip, skip))
    powers = librosa.stft(
        audio,
        n_fft=config.fft_samples,
        hop_length=config.hop_samples,
        win_length=config.frame_samples,
        window=config.window,
        center=config.centred,
        pad_mode="constant",
        dtype=np.complex128,
    )
    bank = librosa.filters.mel(
        sr=config.sample_rate_hz,
        n_fft=config.fft_samples,
        n_mels=config.mel_bins,
        fmin=config.mel_min_hz,
        fmax=config.mel_max_hz,
        htk=config.mel_scale == "htk",
        norm="slaney" if config.mel_norm == "slaney" else None,
        dtype=np.float64,
    )
    return bank @ np.abs(powers) ** 2


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_same_as_librosa(config, sounds):
    for audio in sounds:
        expected = librosa_mel(config, audio)
        actual = mel_spectrogram(config, audio)
        assert actual.shape == expected.shape == (config.mel_bins, config.frame_count(16_000))
        # The requirement is 1e-5; both are in double precision, so the limit is lower.
        # A silent bin contains only rounding noise, for which only an absolute bound makes sense.
        np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-12 * (expected.max() + 1))


def test_librosas_power_to_db(sounds):
    config = FrontendConfig(log="db", log_floor=1e-8)
    expected = librosa.power_to_db(librosa_mel(config, sounds[1]), amin=1e-8, top_db=None)
    np.testing.assert_allclose(log_mel(config, sounds[1]), expected, rtol=1e-5)


def test_mfcc_same_as_scipy_and_librosa(sounds):
    config = FrontendConfig(mfcc_coefficients=13)
    mel = log_mel(MCU, sounds[2])
    actual = log_mel(config, sounds[2])
    assert actual.shape == (13, 49)
    expected = scipy.fft.dct(mel, type=2, axis=0, norm="ortho")[:13]
    np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-9)
    np.testing.assert_allclose(actual, librosa.feature.mfcc(S=mel, n_mfcc=13), rtol=1e-5, atol=1e-9)


def test_no_logarithm(sounds):
    config = FrontendConfig(log="none")
    np.testing.assert_array_equal(log_mel(config, sounds[0]), mel_spectrogram(config, sounds[0]))


def test_silence_is_the_floor(sounds):
    assert not sounds[5].any()
    np.testing.assert_array_equal(log_mel(MCU, sounds[5]), np.log(1e-6))


@pytest.mark.parametrize(
    ("audio", "message"),
    [
        (np.full(16_000, np.nan), "NaN or infinity"),
        (np.full(16_000, np.inf), "NaN or infinity"),
        (np.zeros(511), "has 511 samples, less than one frame of 512"),
        (np.zeros(0), "has 0 samples"),
        (np.zeros((2, 16_000)), r"shape \(2, 16000\): give a mono waveform"),
        (0.0, r"shape \(\): give a mono waveform"),
    ],
)
def test_bad_audio(audio, message):
    with pytest.raises(DataError, match=message):
        features_int8(MCU, audio)


def test_empty_audio_is_too_short_for_a_centred_front_end_too():
    with refuses(DataError, "0 samples"):
        features_int8(FrontendConfig(centred=True), [])


@st.composite
def configs(draw: st.DrawFn) -> FrontendConfig:
    fft = draw(st.sampled_from([64, 128, 256, 512]))
    frame = draw(st.integers(fft // 4, fft))
    bins = draw(st.integers(1, 40))
    rate = draw(st.integers(4000, 48_000))
    edges = draw(st.tuples(st.floats(0, 0.4), st.floats(0.45, 1)))
    low = draw(st.floats(-40, 39))
    return FrontendConfig(
        sample_rate_hz=rate,
        frame_samples=frame,
        hop_samples=draw(st.integers(1 + frame // 4, frame)),
        fft_samples=fft,
        window=draw(st.sampled_from(["hann", "hamming"])),
        centred=draw(st.booleans()),
        mel_bins=bins,
        mel_scale=draw(st.sampled_from(["slaney", "htk"])),
        mel_norm=draw(st.sampled_from(["slaney", "none"])),
        mel_min_hz=edges[0] * rate / 2,
        mel_max_hz=edges[1] * rate / 2,
        log=draw(st.sampled_from(["ln", "db", "none"])),
        log_floor=draw(st.floats(1e-12, 1e-2)),
        mfcc_coefficients=draw(st.integers(0, bins)),
        feature_min=low,
        feature_max=low + draw(st.floats(1, 40)),
    )


@settings(max_examples=60)
@given(configs(), st.integers(0, 3000), st.integers(0, 2**32 - 1))
def test_any_config_gives_features_of_the_promised_shape(config, samples, seed):
    audio = np.random.default_rng(seed).uniform(-1, 1, samples)
    frames = config.frame_count(samples)
    if frames == 0:
        with refuses(DataError, samples):
            features_int8(config, audio)
        return
    features = features_int8(config, audio)
    assert features.shape == (config.feature_bins, frames)
    assert features.dtype == np.int8
    assert np.isfinite(log_mel(config, audio)).all()
    bank = mel_filterbank(config)
    assert bank.shape == (config.mel_bins, config.fft_samples // 2 + 1)
    assert (bank >= 0).all()
    # One more hop is one more frame, and earlier frames do not change: streaming.
    if not config.centred:
        more = features_int8(config, np.append(audio, np.zeros(config.hop_samples)))
        assert more.shape == (config.feature_bins, frames + 1)
        np.testing.assert_array_equal(more[:, :frames], features)


@given(st.lists(st.floats(-1e6, 1e6), min_size=1))
def test_quantisation_is_bounded_monotonic_and_exact_to_half_a_step(values):
    values = np.sort(values)
    quantized = quantize_features(MCU, values)
    assert (np.diff(quantized.astype(int)) >= 0).all()
    inside = (values >= MCU.feature_min) & (values <= MCU.feature_max)
    back = MCU.feature_min + (quantized.astype(float) + 128) * MCU.feature_step
    assert (np.abs(back - values)[inside] <= MCU.feature_step * (0.5 + 1e-9)).all()
    assert (quantized[values < MCU.feature_min] == -128).all()
    assert (quantized[values > MCU.feature_max] == 127).all()


def test_halves_round_up():
    config = FrontendConfig(feature_min=-128.0, feature_max=127.0)  # a step of exactly 1
    values = [-200.0, -128.0, -2.5, -1.5, -0.5, 0.0, 0.49, 0.5, 1.5, 2.5, 127.0, 126.5, 1e9]
    expected = [-128, -128, -2, -1, 0, 0, 0, 1, 2, 3, 127, 127, 127]
    np.testing.assert_array_equal(quantize_features(config, values), expected)


def test_the_network_sees_a_128th_of_the_int8_value():
    every = np.arange(-128, 128).astype(np.int8)
    np.testing.assert_array_equal(dequantize_features(every), np.arange(-128, 128) / 128)
    assert dequantize_features(every).dtype == np.float32
