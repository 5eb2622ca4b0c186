# SPDX-License-Identifier: Apache-2.0
"""Mixtures of two clips of a batch, drawn in every step: cutmix and between-class."""

from m3net_tf.audio.frontend import FrontendConfig
from m3net_tf.system.keras import tf
from m3net_tf.training.sections import AugmentationSection


def cutmix(
    features: tf.Tensor, targets: tf.Tensor, settings: AugmentationSection, seed: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Paste a rectangle from the reversed batch into some clips; targets are mixed by area.

    Yun et al., "CutMix", ICCV 2019, equations 1 and 2, with the kept share drawn uniformly from
    ``cutmix_min`` to 1. A waveform has one row, so it is cut in time alone.

    Args:
        features: float32, shape (batch, bins, frames, channels).
        targets: float32, shape (batch, classes).
        seed: int32, shape (2,).
    """
    batch = tf.shape(features)[0]
    seeds = tf.random.experimental.stateless_split(seed, 4)
    chosen = tf.random.stateless_uniform([batch], seeds[0]) < settings.cutmix_probability
    kept = tf.random.stateless_uniform([batch], seeds[1], settings.cutmix_min, 1.0)
    one_row = tf.shape(features)[1] == 1
    side = tf.where(one_row, 1.0 - kept, tf.sqrt(1.0 - kept))
    inside = []
    for axis in (1, 2):
        size = tf.shape(features)[axis]
        share = tf.where(one_row, 1.0, side) if axis == 1 else side
        # Rounded down, so that a clip keeps at least the smallest share.
        length = tf.cast(share * tf.cast(size, tf.float32), tf.int32)
        length = tf.where(chosen, length, 0)[:, None]
        starts = tf.cast(size - length + 1, tf.float32)
        position = tf.random.stateless_uniform([batch, 1], seeds[1 + axis])
        start = tf.minimum(tf.cast(position * starts, tf.int32), size - length)
        index = tf.range(size)[None]
        inside.append((index >= start) & (index < start + length))
    box = tf.cast(inside[0][:, :, None] & inside[1][:, None, :], features.dtype)
    weight = 1.0 - tf.reduce_mean(box, axis=[1, 2])[:, None]
    box = box[..., None]
    mixed = features * (1.0 - box) + tf.reverse(features, [0]) * box
    return mixed, targets * weight + tf.reverse(targets, [0]) * (1.0 - weight)


def between_class(
    features: tf.Tensor,
    targets: tf.Tensor,
    settings: AugmentationSection,
    config: FrontendConfig,
    seed: tf.Tensor,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Mix some clips with the clips of the reversed batch by adding their energies.

    Tokozume et al., "Between-class learning", ICLR 2018, equation 2: a ratio r is drawn uniformly
    for the labels, and the louder clip is attenuated so that the sounds have this ratio. The paper
    adds waveforms. Here only maps are available, so their energies are added, which is the average
    result for unrelated waveforms. The louder clip is the one with the higher mean power.

    Args:
        features: the network's input, float32, shape (batch, bins, frames, channels).
        targets: float32, shape (batch, classes).
        config: front end of the features; :class:`~m3net_tf.training.recipe.Recipe` checks that
            they are energies.
        seed: int32, shape (2,).
    """
    batch = tf.shape(features)[0]
    seeds = tf.random.experimental.stateless_split(seed, 2)
    shape = [batch, 1, 1, 1]
    chosen = tf.random.stateless_uniform(shape, seeds[0]) < settings.between_class_probability
    ratio = tf.random.stateless_uniform(shape, seeds[1], 1e-3, 1.0)
    # Convert features to natural logarithms of power.
    unit = config.log_power_unit
    step = 128.0 * config.feature_step * unit
    level = config.feature_min * unit + step  # of a feature of 0
    powers = features * step + level
    partner = tf.reverse(powers, [0])

    def loudness(log_powers: tf.Tensor) -> tf.Tensor:  # ln of the mean power
        count = tf.cast(tf.size(log_powers[0]), tf.float32)
        return tf.reduce_logsumexp(log_powers, axis=[1, 2, 3], keepdims=True) - tf.math.log(count)

    difference = 0.5 * (loudness(powers) - loudness(partner))  # ln of the amplitude ratio
    share = 1.0 / (1.0 + tf.exp(difference) * (1.0 - ratio) / ratio)  # p of the paper
    scale = -tf.math.log(tf.square(share) + tf.square(1.0 - share))
    mixed = scale + tf.reduce_logsumexp(
        tf.stack([powers + 2.0 * tf.math.log(share), partner + 2.0 * tf.math.log(1.0 - share)]),
        axis=0,
    )
    mixed = tf.clip_by_value((mixed - level) / step, -1.0, 127.0 / 128.0)
    weight = tf.where(chosen, ratio, 1.0)[:, :, 0, 0]
    soft = targets * weight + tf.reverse(targets, [0]) * (1.0 - weight)
    return tf.where(chosen, mixed, features), soft
