# SPDX-License-Identifier: Apache-2.0
"""Makes recordings/ as from a phone, ten of each of four classes, and evening.wav to detect."""

from pathlib import Path

import numpy as np
import soundfile

RATE_HZ = 48_000
CLIP_S = 3.0
rng = np.random.default_rng(0)


def tone(frequency_hz: float, seconds: float, decay_s: float) -> np.ndarray:
    """A tone with three overtones that fades away."""
    time_s = np.arange(round(seconds * RATE_HZ)) / RATE_HZ
    parts = [np.sin(2 * np.pi * frequency_hz * (1 + n) * time_s) / (1 + n) ** 2 for n in range(4)]
    return np.sum(parts, axis=0) * np.exp(-time_s / decay_s)


def doorbell() -> np.ndarray:
    """Two falling tones."""
    high_hz = rng.uniform(600, 800)
    return np.concatenate([tone(high_hz, 0.6, 0.4), tone(0.8 * high_hz, 1.0, 0.5)])


def smoke_alarm() -> np.ndarray:
    """Three beeps."""
    beep = tone(rng.uniform(2900, 3300), 0.4, 9.0)
    return np.concatenate([beep, np.zeros(RATE_HZ // 5)] * 3)


def tap() -> np.ndarray:
    """Water that runs."""
    noise = rng.normal(0, 1, 2 * RATE_HZ)
    return np.convolve(noise, np.ones(rng.integers(8, 16)), "same")


def other() -> np.ndarray:
    """Knocks."""
    knocks = [tone(rng.uniform(80, 250), rng.uniform(0.15, 0.4), 0.03) for _ in range(5)]
    return np.concatenate(knocks)


def recorded(sound: np.ndarray, seconds: float, start_s: float) -> np.ndarray:
    """A sound in a room, some metres from the phone."""
    room = rng.normal(0, 1, RATE_HZ // 5) * np.exp(-np.arange(RATE_HZ // 5) / (0.05 * RATE_HZ))
    room *= 0.03
    room[0] = 1
    sound = np.convolve(sound, room)
    recording = np.zeros(round(seconds * RATE_HZ) + len(sound))
    start = round(start_s * RATE_HZ)
    recording[start : start + len(sound)] = rng.uniform(0.05, 0.3) * sound / np.abs(sound).max()
    return recording[: round(seconds * RATE_HZ)] + hum(seconds)


def hum(seconds: float) -> np.ndarray:
    """The room alone."""
    return rng.normal(0, 0.002, round(seconds * RATE_HZ))


def write(path: str, sound: np.ndarray) -> None:
    """Write a recording."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, sound, RATE_HZ)


for number in range(10):
    for make in (doorbell, smoke_alarm, tap, other):
        start_s = rng.uniform(0.2, 0.8)
        write(f"recordings/{make.__name__}/{number:02}.wav", recorded(make(), CLIP_S, start_s))
write("recordings/_background_noise_/room.wav", hum(60))
write("evening.wav", recorded(doorbell(), 15, 4) + recorded(smoke_alarm(), 15, 10))
