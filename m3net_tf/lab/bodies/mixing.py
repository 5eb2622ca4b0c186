# SPDX-License-Identifier: Apache-2.0
"""Mixtures of unlabelled sound, so that few hours of it give many different patches."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from m3net_tf.audio.datasets.audio import from_pcm16
from m3net_tf.lab.bodies.sounds import PATCH_SAMPLES, RATE_HZ, Source
from m3net_tf.training.augmentation.reverberation import make_room, reverberate

Wave = npt.NDArray[np.float32]

_FFT = 1 << (PATCH_SAMPLES - 1).bit_length()
_LOWEST_HZ = 60.0
_SILENT = 1e-6


class Mixer:
    """Draws mixtures of the patches of some sources.

    Args:
        shares: how often each patch is drawn, shape (patches of all sources,); see :mod:`.kinds`.
    """

    def __init__(self, sources: Sequence[Source], shares: npt.NDArray[np.float64]) -> None:
        self._sources = sources
        self._ends = np.cumsum([len(source.patches) for source in sources])
        self._limits = np.cumsum(shares)
        hz = np.maximum(np.fft.rfftfreq(_FFT, 1.0 / RATE_HZ), _LOWEST_HZ)
        self._octaves = np.log2(hz / 1000.0)

    def draw(self, rng: np.random.Generator) -> Wave:
        """A mixture, float32 in [-1, 1], shape (15 600,); equal generators give equal ones."""
        sound = self.patch(rng)
        if rng.random() < 0.4:
            sound = _at_speed(sound, rng.uniform(0.75, 1.35))
        if rng.random() < 0.3:
            sound = np.roll(sound, rng.integers(PATCH_SAMPLES))
        sound = _levelled(sound)
        if rng.random() < 0.45:
            sound = sound + _levelled(self.patch(rng)) * _gain(rng.uniform(-15.0, 3.0))
        if rng.random() < 0.15:
            room = make_room(rng.uniform(0.1, 0.5), rng.uniform(-6.0, 6.0), RATE_HZ, rng)
            sound = reverberate(sound, room)
        if rng.random() < 0.35:
            sound = self._coloured(sound, rng)
        if rng.random() < 0.1:
            noise = rng.standard_normal(PATCH_SAMPLES).astype(np.float32)
            sound = sound + noise * _gain(rng.uniform(-40.0, -10.0)) * sound.std()
        sound = _levelled(sound) * _gain(rng.uniform(-45.0, -12.0))
        return np.clip(sound, -1.0, 1.0)

    def patch(self, rng: np.random.Generator) -> Wave:
        """A patch as it was recorded, drawn by its share; float32, shape (15 600,)."""
        index = int(np.searchsorted(self._limits, rng.random() * self._limits[-1], "right"))
        number = int(np.searchsorted(self._ends, index, "right"))
        from_end = index - self._ends[number]
        return from_pcm16(self._sources[number].patches[from_end])

    def _coloured(self, sound: Wave, rng: np.random.Generator) -> Wave:
        """The sound as another microphone would give it: a slope and a bend along frequency."""
        slope_db, bend_db = rng.uniform(-4.0, 4.0), rng.uniform(-1.0, 1.0)
        gains = 10.0 ** ((slope_db * self._octaves + bend_db * self._octaves**2) / 20.0)
        spectrum = np.fft.rfft(sound, _FFT) * np.clip(gains, 0.02, 20.0)
        return np.asarray(np.fft.irfft(spectrum, _FFT)[:PATCH_SAMPLES], np.float32)


def _at_speed(sound: Wave, speed: float) -> Wave:
    """The sound faster or slower, repeated to its length."""
    places = np.arange(PATCH_SAMPLES) * speed % (PATCH_SAMPLES - 1)
    return np.asarray(np.interp(places, np.arange(PATCH_SAMPLES), sound), np.float32)


def _levelled(sound: Wave) -> Wave:
    """The sound with an RMS level of 1."""
    return sound / np.float32(np.sqrt(np.mean(sound**2)) + _SILENT)


def _gain(level_db: float) -> np.float32:
    return np.float32(10.0 ** (level_db / 20.0))
