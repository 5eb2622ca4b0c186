# SPDX-License-Identifier: Apache-2.0
"""Time of a training step, measured on noise or calculated from rates; needs no data."""

import dataclasses
import statistics
import time
from collections.abc import Sequence

import numpy as np

from m3net_tf.audio.datasets import DatasetInfo
from m3net_tf.networks.models.complexity import roofline_s
from m3net_tf.networks.models.interface import takes_lengths
from m3net_tf.system.errors import ConfigError
from m3net_tf.system.keras import keras, tf
from m3net_tf.system.processor import use_instruction_set
from m3net_tf.training.clips.checks import input_shape
from m3net_tf.training.clips.features import FeatureSet
from m3net_tf.training.loop.batches import TrainingClips
from m3net_tf.training.loop.state import TrainingState
from m3net_tf.training.loop.steps import make_step
from m3net_tf.training.loss.distillation import ensemble
from m3net_tf.training.loss.losses import label_loss
from m3net_tf.training.network import build_network, half_precision
from m3net_tf.training.recipe import Recipe


def seconds_per_clip(
    recipe: Recipe,
    info: DatasetInfo,
    *,
    teachers: Sequence[Recipe] = (),
    clips: int = 0,
    steps: int = 2,
) -> float:
    """Median time of a training step per clip.

    A step includes masks and mixtures, loss, gradients, optimiser and moving average, but not the
    computation of features and waveforms.

    Args:
        teachers: recipes of the teachers, which run in each step.
        clips: clips per step, at most the recipe's; 0 means the recipe's.
        steps: number of timed steps, after one that traces the graph.

    Raises:
        ConfigError: the network does not fit its input, or there is nothing to time.
    """
    if steps < 1 or clips < 0:
        raise ConfigError(f"steps is {steps} and clips {clips}: give at least 1 and 0")
    batch_size = min(clips or recipe.training.batch_size, recipe.training.batch_size)
    shape = input_shape(info, recipe.frontend)
    classes = info.classes
    keras.backend.clear_session()
    use_instruction_set(half_precision=recipe.training.mixed_precision)
    with half_precision(recipe.training):
        model = build_network(recipe, shape, info.multi_label, classes)
    models = [build_network(teacher, shape, info.multi_label, classes) for teacher in teachers]
    teacher_model = ensemble(models, shape)
    noise = _noise(batch_size, shape, classes, info, with_lengths=takes_lengths(model))
    settings = dataclasses.replace(recipe.training, batch_size=batch_size, accumulate=1)
    recipe = dataclasses.replace(recipe, training=settings)
    state = TrainingState(model, settings, batch_size)
    step = make_step(state, recipe, label_loss(settings, noise.features, classes), teacher_model)
    indices = np.arange(batch_size)
    batch = noise.batch(noise.features.features[0], indices, indices)
    times_s = []
    for _ in range(steps + 1):
        start = time.perf_counter()
        step(batch, tf.constant([1, 2], tf.int32), tf.constant(1.0)).numpy()
        times_s.append(time.perf_counter() - start)
    return statistics.median(times_s[1:]) / batch_size


def roofline_per_clip(
    recipe: Recipe,
    info: DatasetInfo,
    flops: float,
    bytes_per_s: float,
    *,
    teachers: Sequence[Recipe] = (),
) -> float:
    """Seconds of a training step per clip on a machine of given rates.

    A step costs three inferences: the forward pass, the gradients of the weights and the gradients
    of the inputs. Each teacher adds one inference. The optimiser is not counted.
    """
    shape = input_shape(info, recipe.frontend)
    classes = info.classes
    keras.backend.clear_session()
    built = [build_network(each, shape, info.multi_label, classes) for each in (recipe, *teachers)]
    network, *others = (roofline_s(model, flops, bytes_per_s) for model in built)
    return 3 * network + sum(others)


def _noise(
    clips: int, shape: tuple[int, int, int], classes: int, info: DatasetInfo, *, with_lengths: bool
) -> TrainingClips:
    rng = np.random.default_rng(0)
    bins, frames, _ = shape
    labels = np.arange(clips, dtype=np.int32) % classes
    return TrainingClips(
        FeatureSet(
            clips=(),
            labels=labels,
            features=rng.integers(-128, 128, (1, clips, bins, frames)).astype(np.int8),
            matrix=np.eye(classes, dtype=np.uint8)[labels] if info.multi_label else None,
            lengths=np.full((2, clips), frames, np.int32) if with_lengths else None,
        )
    )
