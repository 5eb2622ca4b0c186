# SPDX-License-Identifier: Apache-2.0
"""Augmentation of feature maps, drawn in every step: warps, gains, masks, mixtures of two clips."""

import functools
import math
from collections.abc import Callable, Mapping

from m3net_tf.audio.frontend.config import FEATURE_SCALE, FrontendConfig
from m3net_tf.system.keras import tf
from m3net_tf.training.recipe import Recipe
from m3net_tf.training.recipe.sections import AugmentationSection

_KNOTS = 6  # places of a map at which a tempo or a gain is drawn


def augment_batch(
    batch: Mapping[str, tf.Tensor],
    maps: tf.Tensor,
    targets: tf.Tensor,
    recipe: Recipe,
    seed: tf.Tensor,
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor | None, tf.Tensor | None]:
    """Apply masks, then mixtures; mix targets, a teacher's predictions and lengths likewise.

    A mixture is as long as its longest clip; mixing the identity matrix gives its clips.
    """
    augmentation = recipe.augmentation
    classes = targets.shape[-1]
    size = tf.shape(targets)[0]
    predictions = batch.get("predictions")
    lengths = batch.get("lengths")
    mixed = targets
    if predictions is not None:
        mixed = tf.concat([mixed, predictions], axis=1)
    if lengths is not None:
        mixed = tf.concat([mixed, tf.eye(size)], axis=1)
    seeds = tf.random.experimental.stateless_split(seed, 2)
    if augmentation.time_warp or augmentation.frequency_warp:
        maps = warp(maps, augmentation, seed + 4)
    if augmentation.frequency_gain_db:
        maps = change_frequency_gains(maps, augmentation, recipe.frontend, seed + 5)
    if augmentation.time_masks or augmentation.frequency_masks:
        maps = spec_augment(maps, augmentation, seeds[0])
    maps, mixed = _mix(maps, mixed, recipe, seeds[1], seed)
    if predictions is not None:
        predictions = mixed[:, classes : 2 * classes]
    if lengths is not None:
        share = mixed[:, -size:]
        lengths = tf.reduce_max(tf.where(share > 0, lengths[None], 0), axis=1, keepdims=True)
    return maps, mixed[:, :classes], predictions, lengths


def _mix(
    maps: tf.Tensor, targets: tf.Tensor, recipe: Recipe, mixup_seed: tf.Tensor, seed: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Apply the recipe's mixtures in turn, or one of them that the seed draws."""
    settings = recipe.augmentation
    mixtures: list[Callable[[tf.Tensor, tf.Tensor], tuple[tf.Tensor, tf.Tensor]]] = []
    if settings.mixup_probability:
        mixtures.append(lambda x, y: mixup(x, y, settings, mixup_seed))
    if settings.between_class_probability:
        mixtures.append(lambda x, y: between_class(x, y, settings, recipe.frontend, seed + 1))
    if settings.cutmix_probability:
        mixtures.append(lambda x, y: cutmix(x, y, settings, seed + 2))
    if settings.one_mixture and len(mixtures) > 1:
        drawn = tf.random.stateless_uniform([], seed + 3, 0, len(mixtures), tf.int32)
        branches = [functools.partial(mixture, maps, targets) for mixture in mixtures]
        mixed: tuple[tf.Tensor, tf.Tensor] = tf.switch_case(drawn, branches)
        return mixed
    for mixture in mixtures:
        maps, targets = mixture(maps, targets)
    return maps, targets


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
