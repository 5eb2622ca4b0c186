# SPDX-License-Identifier: Apache-2.0
"""Level of a microphone, in integers, bit-exact with ``firmware/core/level.c``.

It counts clipped samples, and estimates by how much loud sounds are below the level that networks
know from training. A network may have a gain before its front end (:class:`Gain`): a fixed one, and
an automatic one that adds what is missing. The automatic gain is 0 unless much is missing, so sound
of a usual level stays as it is. It changes slowly, and only while there is sound above the
background, so pauses stay quiet.

Levels and gains are octaves of amplitude (6.02 dB) with 16 fraction bits, by a logarithm that is
linear within each octave.
"""

import dataclasses
import enum
import math

import numpy as np
import numpy.typing as npt

from m3net_tf.audio.frontend.config import FrontendConfig
from m3net_tf.system.errors import ConfigError

Pcm = npt.NDArray[np.int16]

TARGET_DB = -22.0
"""Level of loud hops that suits networks, RMS relative to a full-scale square wave."""
QUIET_DB = 12.0
"""What is missing to the target where a microphone is too quiet, and automatic gain begins ..."""
ENOUGH_DB = 6.0
"""... and where this ends."""
MOST_DB = 36.0
"""Greatest gain, and the most that can be missing."""
_SOUND_DB = 10.0  # a hop is sound if it is this far above the background
_RISE_DB_S = 2.0  # of the gain, in a second of sound
_FIRST_RISE_DB_S = 20.0  # the same in the first seconds of sound
_FIRST_S = 2.0
_FALL_S = 0.32  # time constants
_BACKGROUND_FALL_S = 0.08
_BACKGROUND_RISE_DB_S = 1.0
_CLIPPED_SHARE = 0.001  # of the samples of a second
_FULL = 32767
_BITS = 16
_OCTAVE_DB = 20 * math.log10(2)


class Verdict(enum.Enum):
    """What a microphone's level is."""

    OK = "ok"
    QUIET = "quiet"
    CLIPS = "clips"


def octaves(decibels: float) -> int:
    """Positive decibels as octaves of amplitude with 16 fraction bits."""
    return int(decibels / _OCTAVE_DB * (1 << _BITS) + 0.5)


def level_settings(config: FrontendConfig) -> dict[str, int]:
    """The constants of ``firmware/core/level.c`` for the hops of a front end."""
    hop_s = config.hop_s

    def share(time_constant_s: float) -> int:
        return min(1 << _BITS, int(hop_s / time_constant_s * (1 << _BITS) + 0.5))

    return {
        "TARGET": (15 << _BITS) - octaves(-TARGET_DB),
        "QUIET": octaves(QUIET_DB),
        "ENOUGH": octaves(ENOUGH_DB),
        "MOST": octaves(MOST_DB),
        "SOUND": octaves(_SOUND_DB),
        "RISE": max(1, octaves(_RISE_DB_S * hop_s)),
        "FIRST_RISE": max(1, octaves(_FIRST_RISE_DB_S * hop_s)),
        "FIRST_HOPS": math.ceil(_FIRST_S / hop_s),
        "FALL": share(_FALL_S),
        "BACKGROUND_FALL": share(_BACKGROUND_FALL_S),
        "BACKGROUND_RISE": max(1, octaves(_BACKGROUND_RISE_DB_S * hop_s)),
        "SECOND_HOPS": max(1, round(1 / hop_s)),
        "CLIPPED": max(1, round(_CLIPPED_SHARE * config.sample_rate_hz)),
    }


@dataclasses.dataclass(frozen=True)
class Gain:
    """Gain of a microphone before the front end.

    Attributes:
        fixed_db: fixed gain, 0 to :data:`MOST_DB`.
        automatic: whether the automatic gain adds to it; the sum is at most :data:`MOST_DB`.

    Raises:
        ConfigError: the fixed gain is out of range.
    """

    fixed_db: float = 0.0
    automatic: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.fixed_db <= MOST_DB:
            raise ConfigError(f"gain_db is {self.fixed_db}: give 0 to {MOST_DB:g}")

    @classmethod
    def parse(cls, text: str) -> "Gain":
        """The gain that a user typed: decibels, or ``auto``.

        Raises:
            ConfigError: it is neither, or out of range.
        """
        if text == "auto":
            return cls(automatic=True)
        try:
            return cls(float(text))
        except ValueError:
            raise ConfigError(f"gain {text!r}: give 0 to {MOST_DB:g} dB, or auto") from None

    @property
    def used(self) -> bool:
        """Whether samples may change."""
        return self.automatic or self.fixed > 0

    @property
    def words(self) -> str:
        """The gain as a user reads it, such as ``6 dB and automatic``."""
        fixed = f"{self.fixed_db:g} dB"
        if not self.automatic:
            return fixed
        return f"{fixed} and automatic" if self.fixed_db else "automatic"

    @property
    def fixed(self) -> int:
        """The fixed gain in octaves with 16 fraction bits."""
        return octaves(self.fixed_db)


NO_GAIN = Gain()


@dataclasses.dataclass(frozen=True)
class Reading:
    """What a level meter shows.

    Attributes:
        peak: greatest magnitude of the last whole second, without the gain.
        missing_db: by how much loud sounds are below the target, after the fixed gain.
        gain_db: the present gain.
    """

    peak: int
    missing_db: int
    gain_db: int
    verdict: Verdict

    @property
    def peak_db(self) -> float:
        """The peak relative to full scale."""
        return 20 * math.log10(max(self.peak, 1) / (_FULL + 1))

    @property
    def meter(self) -> str:
        """The level in some words."""
        gain = f", gain {self.gain_db} dB" if self.gain_db else ""
        return f"peak {self.peak_db:.0f} dBFS{gain}"

    @property
    def warning(self) -> str:
        """What is wrong with the level, and how to improve it; empty if nothing is."""
        return {
            Verdict.OK: "",
            Verdict.QUIET: f"too quiet: give the microphone {self.missing_db} dB more gain",
            Verdict.CLIPS: "clips: give the microphone less gain",
        }[self.verdict]


class Microphone:
    """Level and gain of a stream of samples.

    Attributes:
        missing: by how much loud sounds are below the target, after the fixed gain, in octaves with
            16 fraction bits.
        peak: greatest magnitude of the last whole second, without the gain.
        clipped: samples of the last whole second at full scale.
        seconds: whole seconds so far.
    """

    def __init__(self, frontend: FrontendConfig, gain: Gain = NO_GAIN) -> None:
        self._settings = level_settings(frontend)
        self._gain = gain
        self._hop = frontend.hop_samples
        self._rest = np.zeros(0, np.int16)
        self._background = -1  # before the first sound
        self._sound_hops = 0
        self._quiet = False
        self._hops = self._peak = self._clipped = 0  # of this second
        self.missing = self.peak = self.clipped = self.seconds = 0

    @property
    def gain(self) -> int:
        """The gain of the next hop, unless it would clip; in octaves with 16 fraction bits."""
        added = self.missing if self._gain.automatic and self._quiet else 0
        return min(self._gain.fixed + added, self._settings["MOST"])

    @property
    def reading(self) -> Reading:
        """What a level meter shows now."""
        return Reading(self.peak, decibels(self.missing), decibels(self.gain), self.verdict)

    @property
    def verdict(self) -> Verdict:
        """What the level is: of the last whole second, and of loud sounds so far."""
        if self.clipped >= self._settings["CLIPPED"]:
            return Verdict.CLIPS
        amplified = self._gain.automatic and self.gain < self._settings["MOST"]
        return Verdict.QUIET if self._quiet and not amplified else Verdict.OK

    def push(self, pcm: Pcm) -> Pcm:
        """Take samples; returns the amplified samples of the hops that are now complete.

        Args:
            pcm: int16 samples, shape (samples,).
        """
        samples = np.concatenate([self._rest, pcm])
        count = len(samples) // self._hop
        self._rest = samples[count * self._hop :]
        hops = samples[: count * self._hop].reshape(count, self._hop).astype(np.int64)
        magnitudes = np.abs(hops)
        peaks = magnitudes.max(axis=1).tolist()
        clipped = (magnitudes >= _FULL).sum(axis=1).tolist()
        sums, squares = hops.sum(axis=1).tolist(), np.square(hops).sum(axis=1).tolist()
        factors = np.empty((count, 1), np.int64)
        for i in range(count):
            # The variance: a microphone's offset is not sound.
            power = (squares[i] * self._hop - sums[i] ** 2) // self._hop**2
            self._hear(power, peaks[i], clipped[i])
            largest = (_FULL << 8) // peaks[i] if peaks[i] else 1 << 15
            factors[i] = min(_factor(self.gain), max(256, largest))
        return ((hops * factors + 128) >> 8).astype(np.int16).reshape(-1)

    def _hear(self, power: int, peak: int, clipped: int) -> None:
        """Take a hop's variance, greatest magnitude and number of clipped samples."""
        self._hops += 1
        self._peak = max(self._peak, peak)
        self._clipped += clipped
        if self._hops == self._settings["SECOND_HOPS"]:
            self.peak, self.clipped = self._peak, self._clipped
            self.seconds += 1
            self._hops = self._peak = self._clipped = 0
        if power > 0 or self._background >= 0:  # microphones start with zeros
            self._estimate(_log2(max(power, 1)) >> 1)

    def _estimate(self, level: int) -> None:
        settings = self._settings
        if self._background < 0:
            self._background = level
        if level < self._background:
            self._background -= (self._background - level) * settings["BACKGROUND_FALL"] >> _BITS
        else:
            self._background += min(settings["BACKGROUND_RISE"], level - self._background)
        if level <= self._background + settings["SOUND"]:
            return
        first = self._sound_hops < settings["FIRST_HOPS"]
        self._sound_hops += first
        wanted = settings["TARGET"] - level - self._gain.fixed
        wanted = min(max(wanted, 0), settings["MOST"])
        if wanted < self.missing:
            self.missing -= (self.missing - wanted) * settings["FALL"] >> _BITS
        else:
            rise = settings["FIRST_RISE" if first else "RISE"]
            self.missing += min(rise, wanted - self.missing)
        self._quiet = self.missing >= settings["ENOUGH" if self._quiet else "QUIET"]


def decibels(gain: int) -> int:
    """Whole decibels of octaves with 16 fraction bits, rounded down; 0 to 42 dB."""
    return gain * 6021 // (1000 << _BITS)


def _log2(value: int) -> int:
    """Logarithm to base 2 with 16 fraction bits, linear within each octave."""
    whole = value.bit_length() - 1
    return (whole << _BITS) + ((value << _BITS >> whole) - (1 << _BITS))


def _factor(gain: int) -> int:
    """The inverse of :func:`_log2`, with 8 fraction bits."""
    return (256 + ((gain & 0xFFFF) >> 8)) << (gain >> _BITS)
