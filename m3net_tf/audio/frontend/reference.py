# SPDX-License-Identifier: Apache-2.0
"""The reference front end in NumPy and double precision, which the others must match.

Arrays are (frequency, time) throughout: axis 0 = bins, axis 1 = frames.
"""

import functools

import numpy as np
import numpy.typing as npt

from m3net_tf.audio.frontend import microfrontend
from m3net_tf.audio.frontend.config import FEATURE_SCALE, MU, FrontendConfig
from m3net_tf.system.errors import DataError

Float = npt.NDArray[np.float64]


def window(config: FrontendConfig) -> Float:
    """The analysis window, shape (frame_samples,); periodic except for Kaldi's."""
    if config.window == "povey":
        return np.hanning(config.frame_samples) ** 0.85
    phase = 2 * np.pi * np.arange(config.frame_samples) / config.frame_samples
    a0 = {"hann": 0.5, "hamming": 0.54}[config.window]
    return a0 - (1 - a0) * np.cos(phase)


def _hz_to_mel(hz: Float, scale: str) -> Float:
    if scale in ("htk", "kaldi"):
        return 2595.0 * np.log10(1.0 + hz / 700.0)
    # Slaney's Auditory Toolbox: 200/3 Hz per mel up to 1 kHz, then 27 mels per factor of 6.4.
    log_part = 15.0 + np.log(np.maximum(hz, 1000.0) / 1000.0) * 27.0 / np.log(6.4)
    return np.where(hz < 1000.0, hz * 3.0 / 200.0, log_part)


def _mel_to_hz(mel: Float, scale: str) -> Float:
    if scale in ("htk", "kaldi"):
        return 700.0 * (10.0 ** (mel / 2595.0) - 1.0)
    log_part = 1000.0 * np.exp((mel - 15.0) * np.log(6.4) / 27.0)
    return np.where(mel < 15.0, mel * 200.0 / 3.0, log_part)


def _mel_edges(config: FrontendConfig) -> Float:
    """Edges and peaks of the mel filters, in mel, shape (mel_bins + 2,)."""
    ends = _hz_to_mel(np.array([config.mel_min_hz, config.mel_max_hz]), config.mel_scale)
    return np.linspace(ends[0], ends[1], config.mel_bins + 2)


def feature_hz(config: FrontendConfig) -> Float | None:
    """Centre frequency of each feature, ascending; None if features are not bands."""
    if config.kind == "waveform" or config.mfcc_coefficients:
        return None
    if config.kind == "spectrogram":
        return np.arange(config.feature_bins) * config.sample_rate_hz / config.fft_samples
    return _mel_to_hz(_mel_edges(config), config.mel_scale)[1:-1]


@functools.lru_cache(maxsize=16)
def mel_filterbank(config: FrontendConfig) -> Float:
    """Triangular filters, shape (mel_bins, fft_samples // 2 + 1)."""
    edges_mel = _mel_edges(config)
    edges_hz = _mel_to_hz(edges_mel, config.mel_scale)
    bins_hz = np.arange(config.fft_samples // 2 + 1) * config.sample_rate_hz / config.fft_samples
    edges, bins = edges_hz, bins_hz
    if config.mel_scale == "kaldi":
        edges = edges_mel
        bins = _hz_to_mel(bins_hz, config.mel_scale)
    left, centre, right = (edges[i : config.mel_bins + i, None] for i in range(3))
    rising = (bins - left) / (centre - left)
    falling = (right - bins) / (right - centre)
    weights = np.maximum(0.0, np.minimum(rising, falling))
    if config.mel_norm == "slaney":
        weights *= 2.0 / (edges_hz[2:] - edges_hz[:-2])[:, None]
    weights.setflags(write=False)
    return weights


@functools.lru_cache(maxsize=16)
def dct_matrix(config: FrontendConfig) -> Float:
    """Orthonormal DCT-II, shape (mfcc_coefficients, mel_bins)."""
    n = config.mel_bins
    row = np.arange(config.mfcc_coefficients)[:, None]
    matrix: Float = np.sqrt(2.0 / n) * np.cos(np.pi * row * (2 * np.arange(n) + 1) / (2 * n))
    matrix[0] /= np.sqrt(2.0)
    matrix.setflags(write=False)
    return matrix


def levelled(config: FrontendConfig, wave: Float) -> Float:
    """The waveform scaled to the config's RMS level; silence stays silent."""
    if config.level_db is None:
        return wave
    rms = np.sqrt(np.mean(wave**2))
    return wave * (10.0 ** (config.level_db / 20.0) / rms) if rms > 0 else wave


def _checked(config: FrontendConfig, audio: npt.ArrayLike) -> Float:
    """The waveform in double precision, scaled to the config's level."""
    wave = np.asarray(audio, dtype=np.float64)
    if wave.ndim != 1:
        raise DataError(f"audio has shape {wave.shape}: give a mono waveform of shape (samples,)")
    if config.frame_count(wave.size) == 0:
        raise DataError(
            f"audio has {wave.size} samples, less than one frame of {config.frame_samples}: "
            "pad it or leave it out"
        )
    if not np.isfinite(wave).all():
        raise DataError("audio contains NaN or infinity: repair or leave out the recording")
    return levelled(config, wave)


def spectrogram(config: FrontendConfig, audio: npt.ArrayLike) -> Float:
    """Power (or magnitude) spectra of a waveform.

    Args:
        audio: mono waveform in [-1, 1), shape (samples,).

    Returns:
        Spectra, shape (fft_samples // 2 + 1, frames).

    Raises:
        DataError: the waveform is not mono, shorter than a frame, or not finite.
    """
    wave = _checked(config, audio)
    frames = config.frame_count(wave.size)
    taper = window(config)
    if config.centred:
        wave = np.pad(wave, config.fft_samples // 2)
        before = (config.fft_samples - config.frame_samples) // 2
        taper = np.pad(taper, (before, config.fft_samples - config.frame_samples - before))
    cut = np.lib.stride_tricks.sliding_window_view(wave, taper.size)[:: config.hop_samples]
    cut = cut[:frames]  # (frames, samples)
    if config.remove_mean:
        cut = cut - cut.mean(axis=1, keepdims=True)
    if config.preemphasis:
        cut = cut - config.preemphasis * np.concatenate([cut[:, :1], cut[:, :-1]], axis=1)
    spectrum = np.fft.rfft(cut * taper, config.fft_samples)  # (frames, bins)
    power = spectrum.real**2 + spectrum.imag**2
    return (np.sqrt(power) if config.power == 1 else power).T


def mel_spectrogram(config: FrontendConfig, audio: npt.ArrayLike) -> Float:
    """Mel powers of a waveform, shape (mel_bins, frames); see :func:`spectrogram`."""
    return mel_filterbank(config) @ spectrogram(config, audio)


def features(config: FrontendConfig, audio: npt.ArrayLike) -> Float:
    """Features of any kind before quantisation, shape (feature_bins, frames).

    Raises:
        DataError: as :func:`spectrogram`.
    """
    if config.kind == "waveform":
        wave = _checked(config, audio)[None]
        if config.log == "mu":
            return np.asarray(np.sign(wave) * np.log1p(MU * np.abs(wave)) / np.log1p(MU))
        return wave
    if config.kind == "microfrontend":
        return microfrontend.features(_checked(config, audio))
    values = (mel_spectrogram if config.kind == "mel" else spectrogram)(config, audio)
    if config.log != "none":
        values = np.log(np.maximum(values + config.log_offset, config.log_floor))
        if config.log == "db":
            values *= 10.0 / np.log(10.0)
    if config.clip_range_db:
        values = np.maximum(values - values.max(), -config.clip_range_db)
    return dct_matrix(config) @ values if config.mfcc_coefficients else values


log_mel = features
"""Alias of :func:`features` for log-mel features."""


def quantize_features(config: FrontendConfig, values: npt.ArrayLike) -> npt.NDArray[np.int8]:
    """Map feature values to int8: ``feature_min`` to -128, ``feature_max`` to 127."""
    steps = (np.asarray(values) - config.feature_min) / config.feature_step - 128.0
    # floor(x + 0.5) instead of round-half-even: the same in NumPy, TensorFlow and C.
    return np.clip(np.floor(steps + 0.5), -128, 127).astype(np.int8)


def dequantize_features(quantized: npt.ArrayLike) -> npt.NDArray[np.float32]:
    """The real values in [-1, 1) that int8 features represent at the network's input.

    float32 features are such values already and stay as they are.
    """
    if np.asarray(quantized).dtype == np.float32:
        return np.asarray(quantized)
    return np.asarray(quantized, dtype=np.float32) * np.float32(FEATURE_SCALE)


def features_int8(config: FrontendConfig, audio: npt.ArrayLike) -> npt.NDArray[np.int8]:
    """The whole front end: waveform (samples,) to int8 features (feature_bins, frames)."""
    return quantize_features(config, features(config, audio))
