# SPDX-License-Identifier: Apache-2.0
"""One optimiser step: masks and mixtures, loss, gradients, moving average."""

import functools
from collections.abc import Callable, Sequence

from m3net_tf.audio.frontend.config import FEATURE_SCALE
from m3net_tf.system.keras import keras, tf
from m3net_tf.training.augmentation import change_frequency_gains, mixup, spec_augment, warp
from m3net_tf.training.distribution import current_share
from m3net_tf.training.evaluation import feed
from m3net_tf.training.losses import LabelLoss, has_sigmoids, teacher_loss
from m3net_tf.training.mixing import between_class, cutmix
from m3net_tf.training.recipe import Recipe
from m3net_tf.training.schedules import learning_rate
from m3net_tf.training.state import TrainingState

Batch = dict[str, tf.Tensor]
Step = Callable[[Batch, tf.Tensor, tf.Tensor], tf.Tensor]
_GradientsOf = Callable[[Sequence[tf.Tensor | None], bool], tuple[tf.Tensor, list[tf.Tensor]]]


def make_step(
    state: TrainingState,
    recipe: Recipe,
    label_loss: LabelLoss,
    teacher: keras.Model | None = None,
    *,
    own_batches: bool = False,
) -> Step:
    """The compiled training step.

    Args:
        teacher: network whose output for the same augmented batch is a target.
        own_batches: whether each worker process gets batches of its own instead of the same ones,
            of which it computes a part.

    Returns:
        Function of a batch, a seed (2,) and a factor on the learning rate that returns the loss. A
        batch has ``features``, int8 or float32 (batch, bins, frames); ``labels``, class indices
        (batch,) or 0 and 1 (batch, classes); optionally ``lengths`` in frames (batch,) and
        ``predictions``, a teacher's probabilities (batch, classes) for the original clips.
    """
    settings, optimizer = recipe.training, state.optimizer
    classes = state.inference_model.output_shape[-1]
    strategy, share = tf.distribute.get_strategy(), current_share()
    parts = share.replicas // share.workers if own_batches else share.replicas
    gradients_of = _gradients_of(state, recipe, label_loss)

    def learn(sigmoids: bool, *batch: tf.Tensor | None) -> tf.Tensor:
        own = [_part(tensor, parts) for tensor in batch]
        loss, gradients = gradients_of(own, sigmoids)
        gradients = _mean_of_replicas(gradients, settings.gradient_norm)
        optimizer.apply_gradients(
            zip(gradients, state.model.trainable_variables, strict=True),
            skip_gradients_aggregation=True,
        )
        return loss

    # No tensor decides a branch or a loop in here, so rewriting Python's own would only take time.
    def step(batch: Batch, seed: tf.Tensor, factor: tf.Tensor) -> tf.Tensor:
        features, labels = batch["features"], batch["labels"]
        scale = FEATURE_SCALE if features.dtype == tf.int8 else 1.0
        maps = tf.cast(features, tf.float32)[..., None] * scale
        multi_label = labels.shape.rank == 2
        targets = tf.cast(labels, tf.float32) if multi_label else tf.one_hot(labels, classes)
        maps, targets, predictions, lengths = augment_batch(batch, maps, targets, recipe, seed)
        if teacher is not None:
            predictions = teacher(maps, training=False)
        done = tf.cast(optimizer.iterations, tf.float32)
        rate = learning_rate(settings, done, state.steps_per_epoch) * factor
        optimizer.learning_rate.assign(tf.maximum(rate, settings.learning_rate_floor))
        sigmoids = has_sigmoids(settings, multi_label=multi_label)
        losses = strategy.run(learn, (sigmoids, maps, targets, predictions, lengths))
        loss = strategy.reduce(tf.distribute.ReduceOp.MEAN, losses, axis=None)
        _average_weights(state, done)
        return loss

    compiled: Step = tf.function(step, reduce_retracing=True, autograph=False)
    return compiled


def _average_weights(state: TrainingState, done: tf.Tensor) -> None:
    """Update the moving average of the weights, if there is one, after ``done + 1`` steps."""
    if state.average:
        # A smaller decay at first, so that the mean does not retain the random initial weights.
        decay = tf.minimum(state.settings.weight_average, (1.0 + done) / (10.0 + done))
        for mean, weight in zip(state.average, state.model.weights, strict=True):
            mean.assign(decay * mean + (1.0 - decay) * weight)


def _gradients_of(state: TrainingState, recipe: Recipe, label_loss: LabelLoss) -> _GradientsOf:
    """Function of a replica's part of a batch that returns its loss and gradients."""
    single: _GradientsOf = functools.partial(_loss_and_gradients, state, recipe, label_loss)
    if recipe.training.xla:
        single = tf.function(single, jit_compile=True, autograph=False, reduce_retracing=True)
    count = recipe.training.accumulate
    if count == 1:
        return single
    return functools.partial(_accumulated, single, state.model.trainable_variables, count)


def _loss_and_gradients(
    state: TrainingState,
    recipe: Recipe,
    label_loss: LabelLoss,
    tensors: Sequence[tf.Tensor | None],
    sigmoids: bool,
) -> tuple[tf.Tensor, list[tf.Tensor]]:
    """Loss of maps, targets, predictions and lengths, and the gradients of the weights."""
    settings, model, optimizer = recipe.training, state.model, state.optimizer
    maps, targets, predictions, lengths = tensors
    with tf.GradientTape() as tape:
        outputs = model(feed(model, maps, lengths), training=True)
        loss = label_loss(targets, outputs)
        if predictions is not None:
            last = outputs[0] if isinstance(outputs, list) else outputs
            loss = teacher_loss(loss, predictions, last, recipe.distillation, sigmoids=sigmoids)
        if model.losses:  # penalties that layers add
            loss += tf.add_n([tf.cast(penalty, loss.dtype) for penalty in model.losses])
        scaled = optimizer.get_scaled_loss(loss) if settings.mixed_precision else loss
    gradients = tape.gradient(scaled, model.trainable_variables)
    if settings.mixed_precision:
        gradients = optimizer.get_unscaled_gradients(gradients)
    return loss, gradients


def _accumulated(
    single: _GradientsOf,
    weights: Sequence[tf.Variable],
    count: int,
    tensors: Sequence[tf.Tensor | None],
    sigmoids: bool,
) -> tuple[tf.Tensor, list[tf.Tensor]]:
    """Mean loss and gradients of ``count`` equal parts, computed one after the other.

    A loop, because TensorFlow would compute repeated operations at once, in the memory of all.
    """

    def add(number: tf.Tensor, *sums: tf.Tensor) -> tuple[tf.Tensor, ...]:
        part = [_slice(tensor, number, count) for tensor in tensors]
        loss, gradients = single(part, sigmoids)
        added = zip(sums, (loss, *gradients), strict=True)
        return number + 1, *(old if new is None else old + new for old, new in added)

    start = [tf.constant(0), tf.zeros([]), *map(tf.zeros_like, weights)]
    _, loss, *gradients = tf.while_loop(
        lambda number, *_: number < count, add, start, parallel_iterations=1
    )
    return loss / count, [gradient / count for gradient in gradients]


def _mean_of_replicas(gradients: list[tf.Tensor], largest_norm: float) -> list[tf.Tensor]:
    """The mean gradients of all replicas, clipped afterwards."""
    if tf.distribute.get_strategy().num_replicas_in_sync > 1:
        context = tf.distribute.get_replica_context()
        gradients = context.all_reduce(tf.distribute.ReduceOp.MEAN, gradients)
    if largest_norm:
        gradients, _ = tf.clip_by_global_norm(gradients, largest_norm)
    return gradients


def _part(tensor: tf.Tensor | None, parts: int) -> tf.Tensor | None:
    """This replica's part of a batch."""
    if parts == 1 or tensor is None:
        return tensor
    number = tf.distribute.get_replica_context().replica_id_in_sync_group
    return _slice(tensor, number % parts, parts)


def _slice(tensor: tf.Tensor | None, number: int | tf.Tensor, parts: int) -> tf.Tensor | None:
    """One of equal parts of a batch."""
    if tensor is None:
        return None
    size = tf.shape(tensor)[0] // parts
    return tensor[number * size : (number + 1) * size]


def augment_batch(
    batch: Batch, maps: tf.Tensor, targets: tf.Tensor, recipe: Recipe, seed: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor | None, tf.Tensor | None]:
    """Apply masks, then mixtures; mix targets, a teacher's predictions and lengths likewise.

    A mixture is as long as its longest clip; mixing the identity matrix gives its clips.
    """
    augmentation = recipe.augmentation
    classes, size = targets.shape[-1], tf.shape(targets)[0]
    predictions, lengths = batch.get("predictions"), batch.get("lengths")
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
