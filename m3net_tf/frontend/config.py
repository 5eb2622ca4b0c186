# SPDX-License-Identifier: Apache-2.0
"""The settings of the mel front end, with the unit in every name."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections.abc import Mapping
from typing import Any

from m3net_tf.errors import ConfigError

FEATURE_SCALE = 1.0 / 128.0
"""Real value of one int8 step at the network's input (its zero point is 0)."""


@dataclasses.dataclass(frozen=True)
class FrontendConfig:
    """Mel front end: what Python computes for training and C computes on the device.

    The defaults are those of a microcontroller: 16 kHz, frames of 512 samples every 20 ms,
    40 mel bins, 49 frames in a second of audio.

    Attributes:
        sample_rate_hz: rate of the waveform.
        frame_samples: samples under one window.
        hop_samples: samples from one frame to the next.
        fft_samples: length of the FFT; a power of two, at least ``frame_samples``.
        window: ``hann`` or ``hamming``, both periodic as in spectral analysis.
        centred: pad half an FFT of zeros on both sides (librosa's default; not on a device).
        mel_bins: number of triangular filters.
        mel_scale: ``slaney`` (linear below 1 kHz) or ``htk``.
        mel_norm: ``slaney`` (filters of unit area) or ``none``.
        mel_min_hz: lower edge of the first filter.
        mel_max_hz: upper edge of the last filter.
        log: ``ln``, ``db`` (10 log10) or ``none``.
        log_floor: mel powers below this count as this, before the logarithm.
        mfcc_coefficients: 0 gives log-mel features; n gives the first n of an orthonormal
            DCT-II over the log-mel bins.
        feature_min: feature value (after log and DCT) that becomes int8 -128.
        feature_max: feature value that becomes int8 127.

    Raises:
        ConfigError: a value is out of range or contradicts another one.
    """

    sample_rate_hz: int = 16_000
    frame_samples: int = 512
    hop_samples: int = 320
    fft_samples: int = 512
    window: str = "hann"
    centred: bool = False
    mel_bins: int = 40
    mel_scale: str = "slaney"
    mel_norm: str = "slaney"
    mel_min_hz: float = 20.0
    mel_max_hz: float = 7600.0
    log: str = "ln"
    log_floor: float = 1e-6
    mfcc_coefficients: int = 0
    feature_min: float = -14.0
    feature_max: float = 5.0

    def __post_init__(self) -> None:
        for name in ("sample_rate_hz", "frame_samples", "hop_samples", "fft_samples", "mel_bins"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ConfigError(f"frontend.{name} is {value!r}: give a whole number above 0")
        for name in ("mel_min_hz", "mel_max_hz", "log_floor", "feature_min", "feature_max"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise ConfigError(f"frontend.{name} is {value!r}: give a number")
            if not math.isfinite(value):
                raise ConfigError(f"frontend.{name} is {value!r}: give a finite number")
        self._require_choice("window", ("hann", "hamming"))
        self._require_choice("mel_scale", ("slaney", "htk"))
        self._require_choice("mel_norm", ("slaney", "none"))
        self._require_choice("log", ("ln", "db", "none"))
        if self.fft_samples < self.frame_samples or self.fft_samples & (self.fft_samples - 1):
            raise ConfigError(
                f"frontend.fft_samples is {self.fft_samples}: give a power of two of at least "
                f"frame_samples ({self.frame_samples})"
            )
        if self.hop_samples > self.frame_samples:
            raise ConfigError(
                f"frontend.hop_samples is {self.hop_samples}: give at most frame_samples "
                f"({self.frame_samples}), or samples between frames would go unheard"
            )
        if not 0 <= self.mel_min_hz < self.mel_max_hz <= self.sample_rate_hz / 2:
            raise ConfigError(
                f"frontend.mel_min_hz and mel_max_hz are {self.mel_min_hz} and {self.mel_max_hz}: "
                f"they must satisfy 0 <= min < max <= {self.sample_rate_hz / 2}"
            )
        if not self.log_floor > 0:
            raise ConfigError(f"frontend.log_floor is {self.log_floor}: give a value above 0")
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
        if not self.feature_min < self.feature_max:
            raise ConfigError(
                f"frontend.feature_min and feature_max are {self.feature_min} and "
                f"{self.feature_max}: min must be below max"
            )

    def _require_choice(self, name: str, choices: tuple[str, ...]) -> None:
        value = getattr(self, name)
        if value not in choices:
            raise ConfigError(f"frontend.{name} is {value!r}: choose one of {', '.join(choices)}")

    @property
    def feature_bins(self) -> int:
        """Rows of a feature map: mel bins, or cepstral coefficients."""
        return self.mfcc_coefficients or self.mel_bins

    @property
    def hop_s(self) -> float:
        """Seconds from one frame to the next."""
        return self.hop_samples / self.sample_rate_hz

    @property
    def feature_step(self) -> float:
        """Feature units in one int8 step."""
        return (self.feature_max - self.feature_min) / 255.0

    def frame_count(self, samples: int) -> int:
        """Number of frames that ``samples`` samples of audio give (0 if there are too few)."""
        if self.centred and samples > 0:
            samples += 2 * (self.fft_samples // 2)
        length = self.fft_samples if self.centred else self.frame_samples
        return 0 if samples < length else 1 + (samples - length) // self.hop_samples

    def to_dict(self) -> dict[str, Any]:
        """All settings as plain values, for recipes, manifests and :meth:`from_dict`."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> FrontendConfig:
        """Build a config from plain values.

        Raises:
            ConfigError: an unknown key, or a value that the config refuses.
        """
        known = [field.name for field in dataclasses.fields(cls)]
        for key in values:
            if key not in known:
                raise ConfigError(
                    f"unknown key {key!r} in section 'frontend': known keys are {', '.join(known)}"
                )
        return cls(**values)

    def fingerprint(self) -> str:
        """SHA-256 over all settings, in hex: the same config gives the same features."""
        text = json.dumps(self.to_dict(), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()
