# SPDX-License-Identifier: Apache-2.0
"""Augmentation of training clips: stored waveforms (NumPy) and features (TensorFlow)."""

import math
from collections.abc import Sequence

import numpy as np
import soxr

from m3net_tf.audio.datasets.windows import DRAWS, start_with_sound
from m3net_tf.audio.frontend.config import FEATURE_SCALE, FrontendConfig
from m3net_tf.system.keras import tf
from m3net_tf.training.channels import change_vocal_tract, limit_band, through_telephone
from m3net_tf.training.reverberation import Wave, make_room, reverberate
from m3net_tf.training.sections import AugmentationSection

_KNOTS = 6  # places of a map at which a tempo or a gain is drawn


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
        low_hz, high_hz = rng.uniform(*settings.band_low_hz), rng.uniform(*settings.band_high_hz)
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


def spec_augment(features: tf.Tensor, settings: AugmentationSection, seed: tf.Tensor) -> tf.Tensor:
    """Replace random bands of frames and bins with each clip's mean; shapes stay.

    Park et al., "SpecAugment", Interspeech 2019, section 2, without time warping.

    Args:
        features: float32, shape (batch, bins, frames, channels).
        seed: int32, shape (2,); the same seed gives the same masks.
    """
    mean = tf.reduce_mean(features, axis=[1, 2, 3], keepdims=True)
    keep = tf.ones_like(features[:, :, :, :1])
    rows = (
        (1, settings.frequency_masks, settings.frequency_mask_bins, settings.frequency_mask_share),
        (2, settings.time_masks, settings.time_mask_frames, settings.time_mask_share),
    )
    for axis, masks, largest, share in rows:
        size = features.shape[axis]
        largest = int(share * size) if share else largest
        for number in range(masks):
            band = _keep_band(size, largest, tf.shape(features)[0], seed, axis, number)
            keep *= band[:, :, None, None] if axis == 1 else band[:, None, :, None]
    return features * keep + mean * (1.0 - keep)


def _keep_band(
    size: int, largest: int, batch: tf.Tensor, seed: tf.Tensor, axis: int, number: int
) -> tf.Tensor:
    """One random band per clip: 0 inside it, 1 outside, shape (batch, size)."""
    seeds = tf.random.experimental.stateless_split(seed + tf.constant([axis, number]), 2)
    largest = min(largest, size)
    width = tf.random.stateless_uniform([batch, 1], seeds[0], 0, largest + 1, tf.int32)
    starts = tf.cast(size - width + 1, tf.float32)
    start = tf.cast(tf.random.stateless_uniform([batch, 1], seeds[1]) * starts, tf.int32)
    index = tf.range(size)[None]
    return tf.cast((index < start) | (index >= start + width), tf.float32)


def warp(features: tf.Tensor, settings: AugmentationSection, seed: tf.Tensor) -> tf.Tensor:
    """Draw the tempo of each clip anew from moment to moment, and likewise its frequencies.

    The logarithm of the tempo is a line through normal values at a few places. The last frame and
    the lowest bin stay.

    Args:
        features: float32, shape (batch, bins, frames, channels).
        seed: int32, shape (2,).

    Returns:
        Features of the same shape; at the ends, the outermost frames and bins repeat.
    """
    seeds = tf.random.experimental.stateless_split(seed, 2)
    if settings.time_warp:
        features = tf.reverse(tf.transpose(features, [0, 2, 1, 3]), [1])
        features = _warped(features, settings.time_warp, seeds[0])
        features = tf.transpose(tf.reverse(features, [1]), [0, 2, 1, 3])
    if settings.frequency_warp:
        features = _warped(features, settings.frequency_warp, seeds[1])
    return features


def _warped(features: tf.Tensor, deviation: float, seed: tf.Tensor) -> tf.Tensor:
    """Stretch and shrink parts of the second axis, whose first position stays."""
    size = features.shape[1]
    knots = tf.random.stateless_normal([tf.shape(features)[0], _KNOTS, 1, 1], seed, 0.0, deviation)
    steps = tf.exp(tf.image.resize(knots, [size, 1])[:, :, 0, 0])
    source = tf.minimum(tf.cumsum(steps, axis=1, exclusive=True), float(size - 1))
    low = tf.floor(source)
    share = (source - low)[:, :, None, None]
    before = tf.cast(low, tf.int32)
    after = tf.minimum(before + 1, size - 1)
    first, second = (tf.gather(features, place, batch_dims=1) for place in (before, after))
    return first * (1.0 - share) + second * share


def change_frequency_gains(
    features: tf.Tensor, settings: AugmentationSection, config: FrontendConfig, seed: tf.Tensor
) -> tf.Tensor:
    """Draw each clip's gains along frequency anew, as if other microphones had heard it.

    Nam et al., "FilterAugment", ICASSP 2022, the linear type: the gains in dB are a line through
    values at a few places, which are normal here.

    Args:
        features: float32, shape (batch, bins, frames, channels).
        config: front end of the features; :class:`~m3net_tf.training.recipe.Recipe` checks that
            they are energies.
        seed: int32, shape (2,).

    Returns:
        Features of the same shape.
    """
    log_power = settings.frequency_gain_db * math.log(10.0) / 10.0
    deviation = log_power / config.log_power_unit / config.feature_step * FEATURE_SCALE
    shape = [tf.shape(features)[0], _KNOTS, 1, 1]
    knots = tf.random.stateless_normal(shape, seed, 0.0, deviation)
    gains = tf.image.resize(knots, [features.shape[1], 1])
    return tf.clip_by_value(features + gains, -1.0, 127.0 / 128.0)


def mixup(
    features: tf.Tensor, targets: tf.Tensor, settings: AugmentationSection, seed: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Mix some clips with the clips of the reversed batch, and their targets likewise.

    Zhang et al., "mixup", ICLR 2018, equation 1, with a weight drawn uniformly from ``mixup_min``
    to 1, so that the first clip dominates.

    Args:
        features: float32, shape (batch, bins, frames, channels).
        targets: float32, shape (batch, classes).
        seed: int32, shape (2,).
    """
    batch = tf.shape(features)[0]
    seeds = tf.random.experimental.stateless_split(seed, 2)
    mixed = tf.random.stateless_uniform([batch, 1], seeds[0]) < settings.mixup_probability
    weight = tf.random.stateless_uniform([batch, 1], seeds[1], settings.mixup_min, 1.0)
    weight = tf.where(mixed, weight, 1.0)
    map_weight = weight[:, :, None, None]
    features = features * map_weight + tf.reverse(features, [0]) * (1.0 - map_weight)
    return features, targets * weight + tf.reverse(targets, [0]) * (1.0 - weight)
