# SPDX-License-Identifier: Apache-2.0
"""Augmentation of the waveforms of stored copies, in NumPy."""

from collections.abc import Sequence

import numpy as np
import soxr

from m3net_tf.audio.datasets.windows import DRAWS, start_with_sound
from m3net_tf.training.augmentation.channels import (
    change_vocal_tract,
    limit_band,
    through_telephone,
)
from m3net_tf.training.augmentation.reverberation import Wave, make_room, reverberate
from m3net_tf.training.recipe.sections import AugmentationSection


def augment_waveform(
    audio: Wave,
    settings: AugmentationSection,
    noises: Sequence[Wave],
    sample_rate_hz: int,
    rng: np.random.Generator,
    rooms: Sequence[Wave] = (),
) -> Wave:
    """Apply stretch, pitch, vocal tract, room, speed, shift, gain, noise, band and telephone.

    Args:
        audio: waveform in [-1, 1), shape (samples,).
        noises: background recordings of at least ``samples`` samples; white noise if empty.
        rng: random generator; equal states give equal results. An effect with probability 0 draws
            no random number, except for speed and noise.
        rooms: recorded room responses; if empty, responses are synthesised from noise.

    Returns:
        A new waveform of the same shape, clipped to [-1, 1].
    """
    if settings.stretch_probability and rng.random() < settings.stretch_probability:
        audio = change_tempo(audio, rng.uniform(*settings.stretch), rng)
    if settings.pitch_probability and rng.random() < settings.pitch_probability:
        audio = change_pitch(audio, rng.uniform(*settings.pitch_semitones), sample_rate_hz)
    if settings.vocal_tract_probability and rng.random() < settings.vocal_tract_probability:
        audio = change_vocal_tract(audio, rng.uniform(*settings.vocal_tract), sample_rate_hz)
    if settings.room_probability and rng.random() < settings.room_probability:
        if rooms:
            room = rooms[int(rng.integers(len(rooms)))]
        else:
            reverberation_s = rng.uniform(*settings.room_s)
            direct_db = rng.uniform(*settings.room_direct_db)
            room = make_room(reverberation_s, direct_db, sample_rate_hz, rng)
        audio = reverberate(audio, room)
    if rng.random() < settings.speed_probability:
        audio = _change_speed(audio, rng.uniform(*settings.speed), rng)
    reach = min(int(settings.shift_s * sample_rate_hz), audio.size)
    shift = int(rng.integers(-reach, reach + 1))
    shifted = np.zeros_like(audio)
    if shift >= 0:
        shifted[shift:] = audio[: audio.size - shift]
    else:
        shifted[:shift] = audio[-shift:]
    shifted *= np.float32(10.0 ** (rng.uniform(*settings.gain_db) / 20.0))
    if rng.random() < settings.noise_probability:
        noise = _cut_noise(noises, audio.size, rng)
        snr = 10.0 ** (rng.uniform(*settings.noise_snr_db) / 20.0)
        power = np.sqrt(np.mean(shifted**2) / (np.mean(noise**2) + 1e-12) + 1e-12)
        shifted += noise * np.float32(power / snr)
    if settings.band_probability and rng.random() < settings.band_probability:
        low_hz = rng.uniform(*settings.band_low_hz)
        high_hz = rng.uniform(*settings.band_high_hz)
        shifted = limit_band(shifted, low_hz, high_hz, sample_rate_hz)
    if settings.telephone_probability and rng.random() < settings.telephone_probability:
        shifted = through_telephone(shifted, sample_rate_hz)
    return np.clip(shifted, -1.0, 1.0)


def cut_at_random(audio: Wave, samples: int, rng: np.random.Generator) -> Wave:
    """A random excerpt of ``samples`` samples; a shorter sound is returned whole.

    A silent excerpt is drawn again; see :func:`.windows.start_with_sound`.
    """
    spare = audio.size - samples
    if spare <= 0:
        return audio
    return audio[start_with_sound(audio, rng.integers(spare + 1, size=DRAWS), samples) :][:samples]


def change_tempo(audio: Wave, tempo: float, rng: np.random.Generator) -> Wave:
    """Change the tempo at constant pitch and length (librosa's phase vocoder)."""
    import librosa

    played = librosa.effects.time_stretch(audio, rate=tempo, n_fft=_vocoder_samples(audio))
    return _fit_played(played.astype(np.float32), audio.size, rng)


def change_pitch(audio: Wave, semitones: float, sample_rate_hz: int) -> Wave:
    """Change the pitch at constant tempo (librosa: phase vocoder and resampling)."""
    import librosa

    size = _vocoder_samples(audio)
    moved = librosa.effects.pitch_shift(audio, sr=sample_rate_hz, n_steps=semitones, n_fft=size)
    return moved.astype(np.float32)


def _vocoder_samples(audio: Wave) -> int:
    """FFT length: librosa's 2048 samples, or less for a shorter sound."""
    return min(2048, 1 << (max(audio.size, 16).bit_length() - 1))


def _change_speed(audio: Wave, speed: float, rng: np.random.Generator) -> Wave:
    """Resample, which changes tempo and pitch together."""
    return _fit_played(soxr.resample(audio, 1000.0 * speed, 1000.0), audio.size, rng)


def _fit_played(played: Wave, samples: int, rng: np.random.Generator) -> Wave:
    """Cut both ends of a longer wave; put a shorter one at a random position."""
    spare = samples - played.size
    if spare <= 0:
        return played[-spare // 2 :][:samples]
    start = int(rng.integers(spare + 1))
    return np.pad(played, (start, spare - start))


def _cut_noise(noises: Sequence[Wave], samples: int, rng: np.random.Generator) -> Wave:
    if not noises:
        return rng.standard_normal(samples).astype(np.float32)
    noise = noises[int(rng.integers(len(noises)))]
    start = int(rng.integers(noise.size - samples + 1))
    return noise[start : start + samples]
