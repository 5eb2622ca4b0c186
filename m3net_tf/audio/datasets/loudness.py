# SPDX-License-Identifier: Apache-2.0
"""How loud a sound is, and where."""

import math

import numpy as np
import numpy.typing as npt

from m3net_tf.audio.datasets.audio import Audio

_FRAME_S = 0.02
_ACTIVE_DB = 20.0  # frames at most this far below the loudest one count as sound
_LEAST_POWER = 1e-9


def active_part_s(sound: Audio, rate_hz: int) -> tuple[float, float]:
    """Start of a sound's first and end of its last loud frame, in seconds."""
    powers = _frame_powers(sound, rate_hz)
    loud = np.flatnonzero(powers >= powers.max() * 10 ** (-_ACTIVE_DB / 10))
    step_s = round(_FRAME_S * rate_hz) / rate_hz
    return float(loud[0] * step_s), float(min((loud[-1] + 1) * step_s, len(sound) / rate_hz))


def loud_power(sound: Audio, rate_hz: int) -> float:
    """Mean square of a sound's loudest third, relative to full scale."""
    powers = np.sort(_frame_powers(sound, rate_hz))
    return float(powers[-max(1, len(powers) // 3) :].mean())


def decibels(power: float) -> float:
    """A power in dBFS, at least -90."""
    return 10 * math.log10(max(power, _LEAST_POWER))


def at_level(sound: Audio, level_db: float) -> Audio:
    """The sound with another RMS level, in dBFS; silence stays silent."""
    rms = math.sqrt(float(np.mean(np.square(sound, dtype=np.float64))))
    return sound * np.float32(10 ** (level_db / 20) / rms) if rms > 0 else sound


def _frame_powers(sound: Audio, rate_hz: int) -> npt.NDArray[np.float64]:
    step = round(_FRAME_S * rate_hz)
    padded = np.pad(sound.astype(np.float64), (0, -len(sound) % step))
    return np.asarray(np.square(padded).reshape(-1, step).mean(axis=1))
