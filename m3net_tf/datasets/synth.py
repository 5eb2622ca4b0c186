# SPDX-License-Identifier: Apache-2.0
"""Synth: ten procedural city sounds that need no download, for demos and tests.

Classes: air_conditioner, car_horn, children_playing, dog_bark, drilling, engine_idling, gun_shot,
    jackhammer, siren, street_music (the names of UrbanSound8K; the sounds are caricatures).
Clips: 240 of 1 s per class by default (``clips_per_class``): 160 train, 40 validate, 40 test.
Rate: 16 kHz, 16 bit, mono.
Licence: Apache-2.0, like the code that makes them.
Citation: none; made by this module.
Size: nothing on disk; a clip takes a few milliseconds.
Protocol: ``generated-split``: every clip is drawn on its own, so each is its own group.

Tonal classes share one range of pitches and noisy ones one kind of noise. All pass through the
same random equaliser, room, background noise (SNR -3 to 15 dB) and gain (24 dB). What
tells the classes apart is therefore how the sound moves in time, not its mean spectrum. Linear
models on the mean log-mel spectrum stay below 75 %; a test asserts it.

A clip depends only on its split, class, number and the seed, so it is the same in any order and
whatever the number of clips. Its samples lie on the 16-bit grid, which also hides the last-bit
differences between processors.
"""

import dataclasses
import functools
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt

from m3net_tf.datasets.audio import Audio, from_pcm16, resampled, to_pcm16
from m3net_tf.datasets.clips import Clip, DatasetInfo, check_number, delivered
from m3net_tf.datasets.dataset import AudioDataset
from m3net_tf.datasets.registry import register

Float = npt.NDArray[np.float64]
Rng = np.random.Generator

RATE_HZ = 16_000
SAMPLES = RATE_HZ
TIME_S = np.arange(SAMPLES) / RATE_HZ
SHARES = {"train": 4, "validation": 1, "test": 1}  # sixths of clips_per_class

# Nuisances, each drawn uniformly between its two ends for every clip.
PITCH_HZ = (350.0, 800.0)
EQUALISER_DB, EQUALISER_POINTS = 12.0, 7
SNR_DB = (-3.0, 15.0)
GAIN_DB = (-26.0, -2.0)
REVERB_S, REVERB_SHARE = (0.03, 0.12), (0.0, 0.5)


def _pitch(rng: Rng) -> float:
    """A base frequency in Hz, uniform in log frequency."""
    low, high = np.log(PITCH_HZ)
    return float(np.exp(rng.uniform(low, high)))


def _tone(rng: Rng, frequency_hz: Float | float) -> Float:
    """A harmonic tone that follows a frequency curve, shape (samples,)."""
    phase = 2 * np.pi * np.cumsum(np.broadcast_to(frequency_hz, SAMPLES)) / RATE_HZ
    turn = np.cos(phase) + 1j * np.sin(phase)
    weights = rng.uniform(0.2, 1.0, 5) / np.arange(1, 6)
    offsets = rng.uniform(0, 2 * np.pi, 5)
    tone = np.zeros(SAMPLES, complex)
    for weight in (weights * (np.cos(offsets) + 1j * np.sin(offsets)))[::-1]:  # fifth to first
        tone = (tone + weight) * turn
    return tone.imag


def _window(start_s: float, length_s: float, rise_s: float, fall_s: float) -> Float:
    """An envelope with exponential rise and fall around a held part, at most 1."""
    since, until = TIME_S - start_s, start_s + length_s - TIME_S
    rise = -np.expm1(-np.maximum(since, 0) / rise_s)
    return rise * np.exp(np.minimum(until, 0) / fall_s)


def _starts(rng: Rng, count: int, first_s: float, last_s: float) -> Float:
    """``count`` moments between two times, about evenly spread."""
    return first_s + (np.arange(count) + rng.uniform(0.1, 0.9, count)) * (last_s - first_s) / count


def _air_conditioner(rng: Rng) -> Float:
    """Steady noise with a slow flutter."""
    depth, rate_hz, phase = rng.uniform(0, 0.25), rng.uniform(0.5, 1.5), rng.uniform(0, 2 * np.pi)
    flutter = 1 + depth * np.sin(2 * np.pi * rate_hz * TIME_S + phase)
    return flutter * rng.standard_normal(SAMPLES)


def _car_horn(rng: Rng) -> Float:
    """Two steady tones at once, blown once or twice."""
    pitch_hz = _pitch(rng)
    tone = _tone(rng, pitch_hz) + _tone(rng, pitch_hz * rng.uniform(1.18, 1.30))
    count = int(rng.integers(1, 3))
    length_s = rng.uniform(0.5, 0.9) / count
    starts = _starts(rng, count, 0.0, 1.0 - 0.6 * length_s * count)
    if count == 2:
        starts[1] = max(starts[1], starts[0] + length_s + 0.08)
    return tone * sum(_window(s, length_s, 0.006, 0.015) for s in starts)


def _children_playing(rng: Rng) -> Float:
    """Two to four calls whose pitch rises and falls, of several voices."""
    sound = np.zeros(SAMPLES)
    count = int(rng.integers(2, 5))
    for start_s in _starts(rng, count, -0.05, 0.9):
        length_s, range_octaves = rng.uniform(0.15, 0.35), rng.uniform(0.3, 0.7)
        arc = np.sin(np.pi * np.clip((TIME_S - start_s) / length_s, 0, 1))
        envelope = np.sqrt(arc) * rng.uniform(0.5, 1.0)
        sound += envelope * _tone(rng, _pitch(rng) * 2 ** (range_octaves * (arc - 0.5)))
    return sound


def _dog_bark(rng: Rng) -> Float:
    """One to three short barks: hoarse tones that drop quickly."""
    pitch_hz, hoarse = _pitch(rng), rng.uniform(0.3, 0.8)
    length_s = rng.uniform(0.06, 0.12)
    count = int(rng.integers(1, 4))
    sound = np.zeros(SAMPLES)
    for start_s in _starts(rng, count, 0.0, 0.85):
        drop = np.clip((TIME_S - start_s) / (2 * length_s), 0, 1)
        tone = _tone(rng, 1.5 * pitch_hz * 2 ** (-1.2 * drop))
        breath = hoarse * rng.standard_normal(SAMPLES)
        sound += (tone + breath) * _window(start_s, length_s, 0.012, 0.03)
    return sound


def _drilling(rng: Rng) -> Float:
    """A motor that spins up or down and rattles, half whine and half noise."""
    spin_s, turn_s = rng.uniform(0.12, 0.35), rng.uniform(-0.1, 0.5)
    speed = -np.expm1(-np.maximum(TIME_S - turn_s, 0) / spin_s)
    speed = speed if rng.random() < 0.6 else speed[::-1]
    whine = _tone(rng, _pitch(rng) * 2 ** (speed - 0.5)) * (0.1 + speed)
    rattle_hz = rng.uniform(20, 24) * (0.5 + 0.5 * speed)
    rattle = 1 + np.sin(2 * np.pi * np.cumsum(rattle_hz) / RATE_HZ)
    return whine + rng.uniform(0.3, 0.9) * speed * rattle * rng.standard_normal(SAMPLES)


def _engine_idling(rng: Rng) -> Float:
    """Noise that swells softly, four to seven times a second."""
    rate_hz, phase = rng.uniform(4.0, 7.0), rng.uniform(0, 2 * np.pi)
    jitter = np.cumsum(rng.standard_normal(SAMPLES)) / SAMPLES
    swell = 0.5 + 0.5 * np.sin(2 * np.pi * rate_hz * TIME_S + phase + jitter)
    return (0.08 + swell ** rng.uniform(1.0, 2.0)) * rng.standard_normal(SAMPLES)


def _gun_shot(rng: Rng) -> Float:
    """One or two bangs of noise that die away."""
    tail_s = rng.uniform(0.05, 0.2)
    starts = _starts(rng, int(rng.integers(1, 3)), 0.0, 0.7)
    return rng.standard_normal(SAMPLES) * sum(_window(s, 0.0, 0.001, tail_s) for s in starts)


def _jackhammer(rng: Rng) -> Float:
    """Hard blows of noise, eleven to eighteen times a second."""
    rate_hz, phase = rng.uniform(11.0, 18.0), rng.uniform(0, 1)
    since_s = ((TIME_S * rate_hz + phase) % 1) / rate_hz
    return (0.05 + np.exp(-since_s / rng.uniform(0.008, 0.018))) * rng.standard_normal(SAMPLES)


def _siren(rng: Rng) -> Float:
    """A tone that sweeps up and down without a pause."""
    rate_hz, phase, depth = rng.uniform(1.0, 3.5), rng.uniform(0, 1), rng.uniform(0.6, 1.1)
    cycle = (TIME_S * rate_hz + phase) % 1
    peak = rng.uniform(0.3, 0.7)
    sweep = np.where(cycle < peak, cycle / peak, (1 - cycle) / (1 - peak))
    return _tone(rng, _pitch(rng) * 2 ** (depth * (sweep - 0.5)))


def _street_music(rng: Rng) -> Float:
    """A quick tune of plucked notes on a five-tone scale."""
    rate_hz, base_hz = rng.uniform(4.5, 8.0), _pitch(rng) / 1.4
    note = np.floor(TIME_S * rate_hz + rng.uniform(0, 1)).astype(int)
    scale = 2 ** (np.array([0, 2, 4, 7, 9, 12]) / 12)
    tune = np.cumsum(rng.integers(1, len(scale), note[-1] + 1)) % len(scale)  # never repeats a note
    onsets = np.flatnonzero(np.diff(note, prepend=note[0] - 1))
    since_s = (np.arange(SAMPLES) - onsets[note - note[0]]) / RATE_HZ
    pluck = -np.expm1(-since_s / 0.004) * np.exp(-since_s / rng.uniform(0.08, 0.25))
    return pluck * _tone(rng, base_hz * scale[tune[note]])


SOUNDS: dict[str, Callable[[Rng], Float]] = {
    "air_conditioner": _air_conditioner,
    "car_horn": _car_horn,
    "children_playing": _children_playing,
    "dog_bark": _dog_bark,
    "drilling": _drilling,
    "engine_idling": _engine_idling,
    "gun_shot": _gun_shot,
    "jackhammer": _jackhammer,
    "siren": _siren,
    "street_music": _street_music,
}

INFO = DatasetInfo(
    name="synth",
    labels=tuple(SOUNDS),
    sample_rate_hz=RATE_HZ,
    clip_s=SAMPLES / RATE_HZ,
    protocols=("generated-split",),
    licence="Apache-2.0",
    citation="none: made by m3net_tf.datasets.synth",
    url="m3net_tf/datasets/synth.py",
    needs_folder=False,
)


@register(INFO)
def build(
    root: Path | None,
    *,
    protocol: str,
    fold: int | None,
    seed: int,
    clips_per_class: int = 240,
    sample_rate_hz: int = RATE_HZ,
) -> AudioDataset:
    """List the clips.

    Options:
        clips_per_class: at least 6; four sixths train, one validates, one tests.
        sample_rate_hz: rate of delivery; the sounds are made at 16 kHz.
    """
    sixths = sum(SHARES.values())
    check_number("synth", "clips_per_class", clips_per_class, sixths, 60_000)
    clips = []
    for split, share in SHARES.items():
        count = round(clips_per_class * share / sixths)
        names = [f"{split}/{label}/{i:05d}" for label in SOUNDS for i in range(count)]
        clips += [Clip(n, n.split("/")[1], split, n, synthetic=True) for n in names]
    info = delivered(INFO, sample_rate_hz=sample_rate_hz)
    info = dataclasses.replace(info, protocol=protocol, notes=(f"data seed {seed}",))
    make = functools.partial(synthesise, seed=seed, sample_rate_hz=sample_rate_hz)
    return AudioDataset(info, tuple(clips), make)


def synthesise(clip: Clip, *, seed: int = 0, sample_rate_hz: int = RATE_HZ) -> Audio:
    """Make a clip of a second: float32 on the 16-bit grid, shape (sample_rate_hz,)."""
    rng = np.random.default_rng([zlib.crc32(clip.clip_id.encode()), seed])
    sound = _equalise(rng, _reverberate(rng, SOUNDS[clip.label](rng)))
    noise = _equalise(rng, rng.standard_normal(SAMPLES))
    # The level of a sound is that of its loudest tenth: short sounds get no quieter noise.
    level = np.sqrt(np.sort(np.square(sound).reshape(50, -1).mean(axis=1))[-5:].mean())
    noise *= level / np.sqrt(np.square(noise).mean()) * _decibels(rng, -SNR_DB[1], -SNR_DB[0])
    mix = sound + noise
    mix *= _decibels(rng, *GAIN_DB) / np.abs(mix).max()
    if sample_rate_hz == RATE_HZ:
        return from_pcm16(to_pcm16(mix))
    return from_pcm16(to_pcm16(resampled(mix.astype(np.float32), RATE_HZ, sample_rate_hz)))


def _decibels(rng: Rng, low_db: float, high_db: float) -> float:
    """A factor, uniform in decibels."""
    return float(10 ** (rng.uniform(low_db, high_db) / 20))


def _equalise(rng: Rng, sound: Float) -> Float:
    """Raise and lower broad bands of the spectrum at random."""
    spectrum = np.fft.rfft(sound)
    octaves = np.log2(np.linspace(0, RATE_HZ / 2, len(spectrum)) / 100 + 1)
    points = np.linspace(0, octaves[-1], EQUALISER_POINTS)
    gain_db = np.interp(octaves, points, rng.uniform(-EQUALISER_DB, EQUALISER_DB, len(points)))
    return np.fft.irfft(spectrum * 10 ** (gain_db / 20), SAMPLES)


def _reverberate(rng: Rng, sound: Float) -> Float:
    """Add a room: convolution with a short tail of noise that dies away."""
    tail = rng.standard_normal(RATE_HZ // 4) * np.exp(
        -TIME_S[: RATE_HZ // 4] / rng.uniform(*REVERB_S)
    )
    tail /= np.sqrt(np.square(tail).sum())
    size = SAMPLES + len(tail)
    wet = np.fft.irfft(np.fft.rfft(sound, size) * np.fft.rfft(tail, size), size)[:SAMPLES]
    share = rng.uniform(*REVERB_SHARE)
    return (1 - share) * sound + share * wet
