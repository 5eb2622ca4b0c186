# SPDX-License-Identifier: Apache-2.0
"""Augmentation of waveforms in the graph, in every epoch and without stored copies or cache.

The operations of :func:`.waveforms.augment_waveform`, in TensorFlow and with stateless seeds:
eager, traced and ``tf.data`` execution give equal results. Effects that need resampling or a phase
vocoder (speed, stretch, pitch) exist only for stored copies.
"""

import functools
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from m3net_tf.audio.datasets import AudioDataset, Clip
from m3net_tf.audio.datasets.audio import FitRule, fit_length
from m3net_tf.audio.datasets.windows import DRAWS, start_with_sound
from m3net_tf.audio.frontend import FrontendConfig, graph
from m3net_tf.system.errors import M3NetError
from m3net_tf.system.keras import tf
from m3net_tf.training.recipe.sections import AugmentationSection

_AMPLITUDE_EXPONENTS = {"white": 0.0, "pink": -0.5, "brown": -1.0, "blue": 0.5, "violet": 1.0}


def crop_waves(waves: tf.Tensor, samples: int, seed: tf.Tensor) -> tf.Tensor:
    """Cut a random excerpt of ``samples`` samples from each waveform.

    Args:
        waves: float32, shape (..., longer).
        seed: int32, shape (2,).
    """
    spare = tf.shape(waves)[-1] - samples
    starts = tf.random.stateless_uniform(tf.shape(waves)[:-1], seed, 0, spare + 1, tf.int32)
    index = starts[..., None] + tf.range(samples)
    return tf.gather(waves, index, batch_dims=waves.shape.rank - 1)


def augment_waves(
    waves: tf.Tensor,
    settings: AugmentationSection,
    sample_rate_hz: int,
    seed: tf.Tensor,
    noises: tf.Tensor | None = None,
    rooms: tf.Tensor | None = None,
) -> tf.Tensor:
    """Apply room, shift, gain and noise.

    Args:
        waves: waveforms in [-1, 1), float32, shape (batch, samples).
        seed: int32, shape (2,); equal seeds give equal results.
        noises: background recordings, float32, shape (recordings, at least samples); white
            noise if None. ``settings.noise_kinds`` replaces both.
        rooms: recorded room responses, float32, shape (responses, samples); synthesised from
            noise if None.

    Returns:
        float32, shape (batch, samples), clipped to [-1, 1].
    """
    seeds = tf.unstack(tf.random.experimental.stateless_split(seed, 8))
    batch = tf.shape(waves)[0]
    samples = tf.shape(waves)[1]
    if settings.room_probability:
        if rooms is None:
            rooms = make_rooms(batch, settings, sample_rate_hz, seeds[0])
        else:
            which = tf.random.stateless_uniform([batch], seeds[0], 0, tf.shape(rooms)[0], tf.int32)
            rooms = tf.gather(rooms, which)
        chosen = tf.random.stateless_uniform([batch, 1], seeds[1]) < settings.room_probability
        waves = tf.where(chosen, reverberate_waves(waves, rooms), waves)

    reach = tf.minimum(int(settings.shift_s * sample_rate_hz), samples)
    shift = tf.random.stateless_uniform([batch, 1], seeds[2], -reach, reach + 1, tf.int32)
    index = tf.range(samples)[None] - shift
    inside = (index >= 0) & (index < samples)
    waves = tf.gather(waves, tf.clip_by_value(index, 0, samples - 1), batch_dims=1)
    waves = tf.where(inside, waves, 0.0)

    waves *= _factor(tf.random.stateless_uniform([batch, 1], seeds[3], *settings.gain_db))

    if settings.noise_probability:
        if settings.noise_kinds:
            noise = coloured_noise(tf.shape(waves), settings.noise_kinds, seeds[4])
        elif noises is None:
            noise = tf.random.stateless_normal(tf.shape(waves), seeds[4])
        else:
            which = tf.random.stateless_uniform([batch], seeds[4], 0, tf.shape(noises)[0], tf.int32)
            noise = crop_waves(tf.gather(noises, which), samples, seeds[5])
        ratio = _factor(-tf.random.stateless_uniform([batch, 1], seeds[6], *settings.noise_snr_db))
        level = tf.sqrt(_power(waves) / (_power(noise) + 1e-12) + 1e-12)
        chosen = tf.random.stateless_uniform([batch, 1], seeds[7]) < settings.noise_probability
        waves += tf.where(chosen, noise * level * ratio, 0.0)
    return tf.clip_by_value(waves, -1.0, 1.0)


def _factor(decibels: tf.Tensor) -> tf.Tensor:
    return tf.pow(10.0, decibels / 20.0)


def _power(waves: tf.Tensor) -> tf.Tensor:
    return tf.reduce_mean(tf.square(waves), axis=-1, keepdims=True)


def coloured_noise(shape: tf.Tensor, kinds: Sequence[str], seed: tf.Tensor) -> tf.Tensor:
    """Noise of one of the kinds, which the seed draws, float32 of shape (batch, samples)."""
    seeds = tf.unstack(tf.random.experimental.stateless_split(seed, 2))
    exponents = tf.constant([_AMPLITUDE_EXPONENTS[kind] for kind in kinds], tf.float32)
    exponent = exponents[tf.random.stateless_uniform([], seeds[0], 0, len(kinds), tf.int32)]
    spectrum = tf.signal.rfft(tf.random.stateless_normal(shape, seeds[1]))
    bins = tf.shape(spectrum)[-1]
    # Flat in the lowest bins, which would otherwise hold almost all of brown noise's energy.
    frequency = tf.maximum(tf.cast(tf.range(bins), tf.float32) / tf.cast(bins, tf.float32), 1 / 400)
    return tf.signal.irfft(spectrum * tf.cast(frequency**exponent, tf.complex64), shape[-1:])


def make_rooms(
    count: tf.Tensor | int, settings: AugmentationSection, sample_rate_hz: int, seed: tf.Tensor
) -> tf.Tensor:
    """Room responses of decaying noise, shape (count, longest); see :mod:`.reverberation`."""
    seeds = tf.random.experimental.stateless_split(seed, 3)
    samples = max(2, round(settings.room_s[1] * sample_rate_hz))
    decay_s = tf.random.stateless_uniform([count, 1], seeds[0], *settings.room_s)
    direct = tf.random.stateless_uniform([count, 1], seeds[1], *settings.room_direct_db)
    time_s = tf.range(1, samples, dtype=tf.float32) / sample_rate_hz
    echoes = tf.random.stateless_normal([count, samples - 1], seeds[2])
    echoes *= tf.pow(10.0, -3.0 * time_s / decay_s)
    echoes *= _factor(-direct) / tf.norm(echoes, axis=1, keepdims=True)
    return tf.concat([tf.ones([count, 1]), echoes], axis=1)


def reverberate_waves(waves: tf.Tensor, rooms: tf.Tensor) -> tf.Tensor:
    """Apply a room response to each waveform, keeping length and RMS level.

    Args:
        waves: float32, shape (batch, samples).
        rooms: float32, shape (batch, response samples).
    """
    samples = tf.shape(waves)[1]
    size = samples + tf.shape(rooms)[1]
    spectrum = tf.signal.rfft(waves, [size]) * tf.signal.rfft(rooms, [size])
    reverberant = tf.signal.irfft(spectrum, [size])[:, :samples]
    return reverberant * tf.sqrt(_power(waves) / tf.maximum(_power(reverberant), 1e-20))


def epoch_stream(
    dataset: AudioDataset,
    split: str,
    config: FrontendConfig,
    settings: AugmentationSection,
    *,
    seed: int,
    epoch: int,
    batch_size: int,
    order: npt.NDArray[np.int64],
    rooms: Sequence[npt.NDArray[np.float32]] = (),
    dtype: str = "int8",
) -> tf.data.Dataset:
    """One epoch of batches with waveforms augmented on the fly, without a cache.

    Args:
        settings: augmentation of waveforms, without ``copies`` and effects that need them.
        seed: determines the augmentation together with ``epoch``.
        batch_size: clips per batch; a smaller last batch is dropped.
        order: indices of the clips in the split, shape (clips,).

    Returns:
        Batches of features (batch, bins, frames) and the clips' indices in the split (batch,). An
        unreadable clip ends the stream with a TensorFlow error that ends in this package's.
    """
    clips = dataset.split(split)
    samples = dataset.info.clip_samples
    start = tf.constant([seed & 0x7FFFFFFF, epoch], tf.int32)
    read = functools.partial(_read_clip, dataset, clips, settings.random_crop)

    def choose(
        sound: npt.NDArray[np.float32], drawn: npt.NDArray[np.int32]
    ) -> npt.NDArray[np.int32]:
        return np.array(start_with_sound(sound, drawn, samples), np.int32)

    def wave(number: tf.Tensor, index: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        sound = tf.ensure_shape(tf.numpy_function(read, [index], tf.float32), [None])
        crop_seed = tf.random.experimental.stateless_fold_in(start, 2 * number)
        if not settings.random_crop:
            return crop_waves(sound, samples, crop_seed), index
        spare = tf.shape(sound)[0] - samples
        drawn = tf.random.stateless_uniform([DRAWS], crop_seed, 0, spare + 1, tf.int32)
        first = tf.numpy_function(choose, [sound, drawn], tf.int32)
        return tf.ensure_shape(tf.slice(sound, [first], [samples]), [samples]), index

    waves = tf.data.Dataset.from_tensor_slices((np.arange(len(order), dtype=np.int64), order)).map(
        wave, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True
    )
    return feature_stream(waves, dataset, config, settings, start, batch_size, rooms, dtype)


def feature_stream(
    waves: tf.data.Dataset,
    dataset: AudioDataset,
    config: FrontendConfig,
    settings: AugmentationSection | None,
    start: tf.Tensor,
    batch_size: int,
    rooms: Sequence[npt.NDArray[np.float32]] = (),
    dtype: str = "int8",
) -> tf.data.Dataset:
    """Batches of features of a stream of waveforms, augmented first.

    Args:
        waves: waveforms, shape (samples,), and the clips' indices in their split.
        start: seed of the augmentation, int32 of shape (2,).
    """
    samples, noises = dataset.info.clip_samples, []
    if settings:
        noises = list(map(dataset.read, dataset.noise))
    noises = [sound for sound in noises if sound.size >= samples]
    noise = tf.constant(_stack(noises, "loop")) if noises else None
    room = tf.constant(_stack(rooms, "pad")) if rooms else None

    def features(
        number: tf.Tensor, batch: tuple[tf.Tensor, tf.Tensor]
    ) -> tuple[tf.Tensor, tf.Tensor]:
        augmented = batch[0]
        if settings:
            seed = tf.random.experimental.stateless_fold_in(start, 2 * number + 1)
            augmented = augment_waves(augmented, settings, config.sample_rate_hz, seed, noise, room)
        return graph.features_of(dtype)(config, augmented), batch[1]

    return (
        waves.batch(batch_size, drop_remainder=True)
        .enumerate()
        .map(features, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
        .prefetch(2)
    )


def _read_clip(
    dataset: AudioDataset, clips: Sequence[Clip], random_crop: bool, index: int
) -> npt.NDArray[np.float32]:
    """A clip with the delivered length, or longer if an excerpt is then cropped at random."""
    try:
        sound = dataset.read(clips[index]) if random_crop else dataset.load(clips[index])
    except M3NetError as error:
        raise ValueError(str(error)) from None
    samples = dataset.info.clip_samples
    longer = random_crop and sound.size > samples
    return sound if longer else fit_length(sound, samples, dataset.info.fit)


def _stack(waves: Sequence[npt.NDArray[np.float32]], rule: FitRule) -> npt.NDArray[np.float32]:
    """Stack waveforms, fitting shorter ones to the longest."""
    longest = max(wave.size for wave in waves)
    return np.stack([fit_length(wave, longest, rule) for wave in waves])
