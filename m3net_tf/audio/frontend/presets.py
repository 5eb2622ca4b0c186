# SPDX-License-Identifier: Apache-2.0
"""Named front ends: for microcontrollers, Kaldi's FBank and the papers.

Each is an ordinary :class:`~m3net_tf.audio.frontend.FrontendConfig`, so a recipe may give the same
keys, and ``dataclasses.replace`` makes variants (other hops, other ranges). Ranges apply to
samples in [-1, 1). :func:`frontend_preset` takes a hop in milliseconds.
"""

from collections.abc import Mapping
from typing import Any

from m3net_tf.audio.frontend.config import FrontendConfig
from m3net_tf.system.conversion import convert
from m3net_tf.system.errors import ConfigError

_KALDI = {
    # Kaldi's feature-window.h and mel-computations.h with its defaults, but without dither.
    "frame_samples": 400,
    "hop_samples": 160,
    "fft_samples": 512,
    "window": "povey",
    "remove_mean": True,
    "preemphasis": 0.97,
    "mel_scale": "kaldi",
    "mel_norm": "none",
    "mel_min_hz": 20.0,
    "mel_max_hz": 8000.0,
    "log_floor": 2.0**-23,  # float32's machine epsilon
    "feature_min": -16.0,
    "feature_max": 8.0,
}

PRESETS: dict[str, dict[str, object]] = {
    "mcu": {},
    # Kaldi uses int16 samples, so its values are ln(2^30) = 20.79 higher.
    "kaldi_fbank": {**_KALDI, "mel_bins": 80},
    # Jiang et al., AAAI 2025: librosa's mel spectrogram, 512-sample FFT, dB below the maximum.
    "m3net": {
        "hop_samples": 512,
        "centred": True,
        "mel_bins": 128,
        "mel_min_hz": 0.0,
        "mel_max_hz": 8000.0,
        "log": "db",
        "log_floor": 1e-10,
        "clip_range_db": 80.0,
        "feature_min": -80.0,
        "feature_max": 0.0,
    },
    # SpectroMaskNet: FBank at a level of -20 dB. Its formula uses magnitudes without logarithm
    # (spectromasknet_linear), its baselines use the logarithm.
    "spectromasknet": {**_KALDI, "mel_bins": 80, "level_db": -20.0},
    "spectromasknet_linear": {
        **_KALDI,
        "mel_bins": 80,
        "level_db": -20.0,
        "power": 1,
        "log": "none",
        "feature_min": 0.0,
        "feature_max": 64.0,
    },
    "spectromasknet_spectrogram": {
        "kind": "spectrogram",
        "frame_samples": 400,
        "hop_samples": 160,
        "level_db": -20.0,
        "log_floor": 1e-10,
        "feature_min": -16.0,
        "feature_max": 10.0,
    },
    # The bilateral raw-audio network: 4 s of waveform at 22.05 kHz.
    "bilateral": {
        "kind": "waveform",
        "sample_rate_hz": 22_050,
        "feature_min": -1.0,
        "feature_max": 127 / 128,
    },
    # DiffRes: Hann of 25 ms, hops of 10, 6, 3 or 1 ms, 128 mels.
    "diffres": {
        "frame_samples": 400,
        "hop_samples": 160,
        "mel_bins": 128,
        "mel_min_hz": 0.0,
        "mel_max_hz": 8000.0,
        "log_floor": 1e-10,
        "feature_min": -23.0,
        "feature_max": 6.0,
    },
    # YAMNet (tensorflow/models, research/audioset/yamnet). Silence is ln(0.001) = -6.9, and
    # full-scale tones reach 5.2. The range is 1/7 of the features, so that YAMNet's padding with 0
    # is a feature of 0, too.
    "yamnet": {
        "frame_samples": 400,
        "hop_samples": 160,
        "power": 1,
        "mel_bins": 64,
        "mel_scale": "kaldi",
        "mel_norm": "none",
        "mel_min_hz": 125.0,
        "mel_max_hz": 7500.0,
        "log_offset": 0.001,
        "feature_min": -7.0,
        "feature_max": 7 * 127 / 128,
    },
}


def named_frontend(values: Mapping[str, object]) -> Mapping[str, object]:
    """The keys of a recipe's section ``frontend``, whose ``preset`` names the others.

    Args:
        values: the section: keys of :class:`FrontendConfig`, or ``preset`` with any of
            ``hop_ms``, ``sample_rate_hz`` and keys that replace the preset's.

    Raises:
        ConfigError: unknown name, or a value that the preset refuses.
    """
    if "preset" not in values:
        return values
    changes = dict(values)
    name = convert(str, changes.pop("preset"), "frontend.preset")
    rate_hz = convert(int | None, changes.get("sample_rate_hz"), "frontend.sample_rate_hz")
    hop_ms = convert(float | None, changes.pop("hop_ms", None), "frontend.hop_ms")
    return {**frontend_preset(name, sample_rate_hz=rate_hz, hop_ms=hop_ms).to_dict(), **changes}


def frontend_preset(
    name: str, *, sample_rate_hz: int | None = None, hop_ms: float | None = None, **changes: Any
) -> FrontendConfig:
    """A named front end, optionally at another rate or hop.

    Args:
        sample_rate_hz: another rate: frame and hop keep their durations, the FFT length becomes
            the next power of two, and an upper edge at the Nyquist frequency stays there. M3Net
            defines its frame in samples, so it keeps 512.

    Raises:
        ConfigError: unknown name or key, or a value that the config refuses.
    """
    if name not in PRESETS:
        raise ConfigError(f"front end {name!r} is unknown; choose from {', '.join(PRESETS)}")
    config = FrontendConfig.from_dict(PRESETS[name])
    if sample_rate_hz is not None and sample_rate_hz != config.sample_rate_hz:
        ratio = sample_rate_hz / config.sample_rate_hz
        resized = {**config.to_dict(), "sample_rate_hz": sample_rate_hz}
        if config.mel_max_hz == config.sample_rate_hz / 2 or config.mel_max_hz > sample_rate_hz / 2:
            resized["mel_max_hz"] = sample_rate_hz / 2
        if name != "m3net" and config.kind != "waveform":
            frame = round(config.frame_samples * ratio)
            resized["frame_samples"] = frame
            resized["hop_samples"] = round(config.hop_samples * ratio)
            resized["fft_samples"] = 1 << (frame - 1).bit_length()
        config = FrontendConfig.from_dict(resized)
    if hop_ms is not None:
        changes["hop_samples"] = round(hop_ms * config.sample_rate_hz / 1000)
    return FrontendConfig.from_dict({**config.to_dict(), **changes})
