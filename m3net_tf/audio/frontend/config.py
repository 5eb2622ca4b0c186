# SPDX-License-Identifier: Apache-2.0
"""Settings of the front end; every name includes its unit."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections.abc import Mapping
from typing import Annotated, Literal

from msgspec import Meta

from m3net_tf.system.conversion import (
    HASHED_IF_CHANGED,
    AtLeastOne,
    Count,
    NotNegative,
    Positive,
    Share,
    check_values,
    from_plain,
    newer_defaults,
)
from m3net_tf.system.errors import ConfigError

FEATURE_SCALE = 1.0 / 128.0
"""Real value of one int8 step at the network's input (its zero point is 0)."""

_MICROFRONTEND = {
    "sample_rate_hz": 16_000,
    "frame_samples": 480,
    "hop_samples": 160,
    "centred": False,
    "level_db": None,
    "mel_bins": 40,
    "clip_range_db": 0.0,
    "mfcc_coefficients": 0,
}

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
            processes ``hop_samples`` at a time; the hop must divide the clip. ``microfrontend``:
            TensorFlow's, for ESPHome's micro_wake_word, which the firmware does not have. It needs
            16 kHz, ``frame_samples`` 480, ``hop_samples`` 160 and 40 bins, and uses the range only.
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
        log_offset: added to mel powers before this limit and the logarithm (YAMNet: 0.001).
        clip_range_db: above 0, features are decibels below the clip's maximum, limited to this
            range (librosa's ``power_to_db(ref=max, top_db=...)``); 0 keeps absolute levels.
        mfcc_coefficients: 0 gives log-mel features; n gives the first n of an orthonormal
            DCT-II over the log-mel bins.
        feature_min: feature value (after log and DCT) that maps to int8 -128.
        feature_max: feature value that maps to int8 127.

    Raises:
        ConfigError: a value is out of range or conflicts with another one.
    """

    sample_rate_hz: AtLeastOne = 16_000
    frame_samples: AtLeastOne = 512
    hop_samples: AtLeastOne = 320
    fft_samples: AtLeastOne = 512
    kind: Literal["mel", "spectrogram", "waveform", "microfrontend"] = "mel"
    window: Literal["hann", "hamming", "povey"] = "hann"
    centred: bool = False
    level_db: Annotated[float, Meta(ge=-120, le=0)] | None = None
    remove_mean: bool = False
    preemphasis: Share = 0.0
    power: Literal[1, 2] = 2
    mel_bins: AtLeastOne = 40
    mel_scale: Literal["slaney", "htk", "kaldi"] = "slaney"
    mel_norm: Literal["slaney", "none"] = "slaney"
    mel_min_hz: float = 20.0
    mel_max_hz: float = 7600.0
    log: Literal["ln", "db", "none", "mu"] = "ln"
    log_floor: Positive = 1e-6
    clip_range_db: NotNegative = 0.0
    mfcc_coefficients: Count = 0
    feature_min: float = -14.0
    feature_max: float = 5.0
    log_offset: NotNegative = dataclasses.field(default=0.0, metadata={HASHED_IF_CHANGED: True})

    def __post_init__(self) -> None:
        check_values(self, "frontend")
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
        if self.kind == "microfrontend":
            self.require(_MICROFRONTEND, "kind microfrontend", ": it has no other")
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
        if self.clip_range_db > 0 and self.log != "db":
            raise ConfigError(
                f"frontend.clip_range_db is {self.clip_range_db} with log {self.log!r}: give "
                "0 (none), or more than 0 with log db"
            )
        if not self.feature_min < self.feature_max:
            raise ConfigError(
                f"frontend.feature_min and feature_max are {self.feature_min} and "
                f"{self.feature_max}: min must be below max"
            )
        if self.mfcc_coefficients > self.mel_bins:
            raise ConfigError(
                f"frontend.mfcc_coefficients is {self.mfcc_coefficients}: give a whole number from "
                f"0 (log-mel) to mel_bins ({self.mel_bins})"
            )
        if self.mfcc_coefficients and self.kind != "mel":
            raise ConfigError(
                f"frontend.mfcc_coefficients is {self.mfcc_coefficients} with kind {self.kind!r}: "
                "cepstra are computed from mel bins; give 0 or kind mel"
            )

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
        return (
            self.kind in ("mel", "spectrogram")
            and self.log != "none"
            and not self.mfcc_coefficients
        )

    @property
    def hop_s(self) -> float:
        """Seconds from one frame to the next."""
        return self.hop_samples / self.sample_rate_hz

    @property
    def feature_step(self) -> float:
        """Feature units in one int8 step."""
        return (self.feature_max - self.feature_min) / 255.0

    @property
    def log_power_unit(self) -> float:
        """Natural logarithm of power in one unit of features that show energies."""
        return (math.log(10.0) / 10.0 if self.log == "db" else 1.0) * (2.0 / self.power)

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

    def require(self, needed: Mapping[str, object], user: str, reason: str) -> None:
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

    def to_dict(self) -> dict[str, object]:
        """The settings as plain values, for recipes, manifests and :meth:`from_dict`.

        Settings that are newer than published results are left out at their defaults, so that
        manifests and fingerprints stay as they are.
        """
        unused = newer_defaults(self)
        return {key: value for key, value in dataclasses.asdict(self).items() if key not in unused}

    @classmethod
    def from_dict(cls, values: Mapping[str, object]) -> FrontendConfig:
        """Build a config from plain values.

        Raises:
            ConfigError: an unknown key, or a value that the config refuses.
        """
        return from_plain(cls, values, "frontend")

    def fingerprint(self) -> str:
        """SHA-256 of all settings, in hex: equal configs give equal features."""
        text = json.dumps(self.to_dict(), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()
