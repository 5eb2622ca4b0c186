# SPDX-License-Identifier: Apache-2.0
"""Settings of the front end; every name includes its unit."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections.abc import Mapping
from typing import Any

from m3net_tf.system.errors import ConfigError, require_known_keys

FEATURE_SCALE = 1.0 / 128.0
"""Real value of one int8 step at the network's input (its zero point is 0)."""

MU = 255.0
"""Strength of mu-law companding: sign(x) ln(1 + MU |x|) / ln(1 + MU)."""


@dataclasses.dataclass(frozen=True)
class FrontendConfig:
    """Front-end settings, shared by training in Python and the C code on the device.

    The defaults suit a microcontroller: 16 kHz, frames of 512 samples every 20 ms, 40 mel bins,
    49 frames per second of audio. :mod:`m3net_tf.audio.frontend.presets` has the settings of the
    papers and of Kaldi's FBank.

    Order of the steps: level, framing, mean removal, pre-emphasis, window, spectrum, mel bank,
    logarithm, range relative to the clip, DCT, int8.

    Attributes:
        kind: ``mel`` (mel bank; with ``mfcc_coefficients`` its cepstrum), ``spectrogram`` (the
            FFT's ``fft_samples / 2 + 1`` bins) or ``waveform`` (the samples as one row, shape
            (1, samples)). Waveforms use only the rate, the level, ``log: mu`` and the range;
            ``feature_min`` -1 with ``feature_max`` 127/128 rounds samples to 8 bits. A device
            processes ``hop_samples`` at a time; the hop must divide the clip.
        sample_rate_hz: rate of the waveform.
        frame_samples: samples in one window.
        hop_samples: samples from the start of one frame to the next.
        fft_samples: length of the FFT; a power of two, at least ``frame_samples``.
        window: ``hann`` or ``hamming``, both periodic as in spectral analysis, or Kaldi's
            ``povey``: a symmetric Hann to the power of 0.85.
        level_db: scale each clip to this RMS level first, in dBFS; None does not scale. Silence
            stays silent. It needs the whole clip, so devices do not support it.
        remove_mean: subtract each frame's mean.
        preemphasis: x[n] - preemphasis * x[n - 1] within each frame; for the first sample,
            x[n - 1] = x[n]. 0 = none.
        power: 2 for power spectra, 1 for magnitudes.
        centred: pad half an FFT of zeros on both sides (librosa's default; not for devices).
        mel_bins: number of triangular filters.
        mel_scale: ``slaney`` (linear below 1 kHz), ``htk`` (both with triangles over Hz) or
            ``kaldi`` (HTK's scale with triangles over mel).
        mel_norm: ``slaney`` (filters of unit area) or ``none``.
        mel_min_hz: lower edge of the first filter.
        mel_max_hz: upper edge of the last filter.
        log: ``ln``, ``db`` (10 log10) or ``none``. For waveforms ``mu`` applies the mu-law
            companding of telephony (ITU-T G.711's formula, :data:`MU`); without it, quiet
            recordings use only one or two of the 8-bit levels. Any other value leaves waveforms
            linear.
        log_floor: lower limit of mel powers before the logarithm.
        clip_range_db: above 0, features are decibels below the clip's maximum, limited to this
            range (librosa's ``power_to_db(ref=max, top_db=...)``); 0 keeps absolute levels.
        mfcc_coefficients: 0 gives log-mel features; n gives the first n of an orthonormal
            DCT-II over the log-mel bins.
        feature_min: feature value (after log and DCT) that maps to int8 -128.
        feature_max: feature value that maps to int8 127.

    Raises:
        ConfigError: a value is out of range or conflicts with another one.
    """

    sample_rate_hz: int = 16_000
    frame_samples: int = 512
    hop_samples: int = 320
    fft_samples: int = 512
    kind: str = "mel"
    window: str = "hann"
    centred: bool = False
    level_db: float | None = None
    remove_mean: bool = False
    preemphasis: float = 0.0
    power: int = 2
    mel_bins: int = 40
    mel_scale: str = "slaney"
    mel_norm: str = "slaney"
    mel_min_hz: float = 20.0
    mel_max_hz: float = 7600.0
    log: str = "ln"
    log_floor: float = 1e-6
    clip_range_db: float = 0.0
    mfcc_coefficients: int = 0
    feature_min: float = -14.0
    feature_max: float = 5.0

    def __post_init__(self) -> None:
        self._check_numbers()
        self._require_choice("kind", ("mel", "spectrogram", "waveform"))
        self._require_choice("window", ("hann", "hamming", "povey"))
        self._require_choice("power", (1, 2))
        self._require_choice("mel_scale", ("slaney", "htk", "kaldi"))
        self._require_choice("mel_norm", ("slaney", "none"))
        self._require_choice("log", ("ln", "db", "none", "mu"))
        self._check_framing()
        self._check_ranges()
        self._check_cepstra()

    def _check_numbers(self) -> None:
        for name in ("sample_rate_hz", "frame_samples", "hop_samples", "fft_samples", "mel_bins"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ConfigError(f"frontend.{name} is {value!r}: give a whole number above 0")
        numbers = ("mel_min_hz", "mel_max_hz", "log_floor", "feature_min", "feature_max")
        for name in (*numbers, "preemphasis", "clip_range_db", "level_db"):
            value = getattr(self, name)
            if name == "level_db" and value is None:
                continue
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise ConfigError(f"frontend.{name} is {value!r}: give a number")
            if not math.isfinite(value):
                raise ConfigError(f"frontend.{name} is {value!r}: give a finite number")

    def _check_framing(self) -> None:
        if self.fft_samples < self.frame_samples or self.fft_samples & (self.fft_samples - 1):
            raise ConfigError(
                f"frontend.fft_samples is {self.fft_samples}: give a power of two of at least "
                f"frame_samples ({self.frame_samples})"
            )
        if self.hop_samples > self.frame_samples:
            raise ConfigError(
                f"frontend.hop_samples is {self.hop_samples}: give at most frame_samples "
                f"({self.frame_samples}), or samples between frames would be skipped"
            )

    def _check_ranges(self) -> None:
        if self.log == "mu" and self.kind != "waveform":
            raise ConfigError(
                f"frontend.log is 'mu' with kind {self.kind!r}: companding is for waveforms; give "
                "ln, db or none"
            )
        if not 0 <= self.mel_min_hz < self.mel_max_hz <= self.sample_rate_hz / 2:
            raise ConfigError(
                f"frontend.mel_min_hz and mel_max_hz are {self.mel_min_hz} and {self.mel_max_hz}: "
                f"they must satisfy 0 <= min < max <= {self.sample_rate_hz / 2}"
            )
        if not 0 <= self.preemphasis <= 1:
            raise ConfigError(f"frontend.preemphasis is {self.preemphasis}: give 0 to 1")
        if self.level_db is not None and not -120 <= self.level_db <= 0:
            raise ConfigError(
                f"frontend.level_db is {self.level_db}: give -120 to 0 dB of full scale, or null"
            )
        if self.clip_range_db < 0 or (self.clip_range_db > 0 and self.log != "db"):
            raise ConfigError(
                f"frontend.clip_range_db is {self.clip_range_db} with log {self.log!r}: give "
                "0 (none), or more than 0 with log db"
            )
        if not self.log_floor > 0:
            raise ConfigError(f"frontend.log_floor is {self.log_floor}: give a value above 0")
        if not self.feature_min < self.feature_max:
            raise ConfigError(
                f"frontend.feature_min and feature_max are {self.feature_min} and "
                f"{self.feature_max}: min must be below max"
            )

    def _check_cepstra(self) -> None:
        coefficients = self.mfcc_coefficients
        if (
            isinstance(coefficients, bool)
            or not isinstance(coefficients, int)
            or not 0 <= coefficients <= self.mel_bins
        ):
            raise ConfigError(
                f"frontend.mfcc_coefficients is {coefficients!r}: give a whole number from 0 "
                f"(log-mel) to mel_bins ({self.mel_bins})"
            )
        if coefficients and self.kind != "mel":
            raise ConfigError(
                f"frontend.mfcc_coefficients is {coefficients} with kind {self.kind!r}: "
                "cepstra are computed from mel bins; give 0 or kind mel"
            )

    def _require_choice(self, name: str, choices: tuple[Any, ...]) -> None:
        value = getattr(self, name)
        if value not in choices or isinstance(value, bool):
            listed = ", ".join(map(str, choices))
            raise ConfigError(f"frontend.{name} is {value!r}: choose one of {listed}")

    @property
    def feature_bins(self) -> int:
        """Rows of a feature map: mel bins, cepstral coefficients, FFT bins, or 1 (waveform)."""
        if self.kind == "waveform":
            return 1
        if self.kind == "spectrogram":
            return self.fft_samples // 2 + 1
        return self.mfcc_coefficients or self.mel_bins

    @property
    def shows_energies(self) -> bool:
        """Whether features are logarithms of energies, as mixing by energy requires."""
        return self.kind != "waveform" and self.log != "none" and not self.mfcc_coefficients

    @property
    def hop_s(self) -> float:
        """Seconds from one frame to the next."""
        return self.hop_samples / self.sample_rate_hz

    @property
    def feature_step(self) -> float:
        """Feature units in one int8 step."""
        return (self.feature_max - self.feature_min) / 255.0

    def frame_count(self, samples: int) -> int:
        """Number of frames in ``samples`` samples of audio (0 if too short)."""
        if self.kind == "waveform":
            return samples
        if self.centred and samples > 0:
            samples += 2 * (self.fft_samples // 2)
        length = self.fft_samples if self.centred else self.frame_samples
        return 0 if samples < length else 1 + (samples - length) // self.hop_samples

    def sample_count(self, frames: int) -> int:
        """Lowest number of samples that give this many frames, at least one."""
        if self.kind == "waveform":
            return frames
        length = (frames - 1) * self.hop_samples
        return length if self.centred else length + self.frame_samples

    def require(self, needed: Mapping[str, Any], user: str, reason: str) -> None:
        """Require values of some settings.

        Args:
            needed: value by setting.
            user: what needs them, for the message.
            reason: end of the message: why, or what to do.

        Raises:
            ConfigError: a setting has another value.
        """
        for name, value in needed.items():
            if getattr(self, name) != value:
                raise ConfigError(
                    f"frontend.{name} is {getattr(self, name)!r}: {user} needs {value!r}{reason}"
                )

    def to_dict(self) -> dict[str, Any]:
        """All settings as plain values, for recipes, manifests and :meth:`from_dict`."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> FrontendConfig:
        """Build a config from plain values.

        Raises:
            ConfigError: an unknown key, or a value that the config refuses.
        """
        names = [field.name for field in dataclasses.fields(cls)]
        require_known_keys(values, names, "in section 'frontend'")
        return cls(**values)

    def fingerprint(self) -> str:
        """SHA-256 of all settings, in hex: equal configs give equal features."""
        text = json.dumps(self.to_dict(), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()
