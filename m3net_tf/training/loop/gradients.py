# SPDX-License-Identifier: Apache-2.0
"""What a replica learns from its part of a batch: loss, gradients, changed weights."""

from collections.abc import Callable, Sequence

from m3net_tf.networks.models.interface import feed
from m3net_tf.system.keras import keras, tf
from m3net_tf.training.loop.state import TrainingState
from m3net_tf.training.loss.imitation import imitation_loss
from m3net_tf.training.loss.losses import LabelLoss, teacher_loss
from m3net_tf.training.recipe import Recipe

GradientsOf = Callable[[Sequence[tf.Tensor | None], bool], tuple[tf.Tensor, list[tf.Tensor]]]
"""Loss and gradients of maps, targets, predictions, lengths, vectors; True for sigmoids."""


def learn(
    state: TrainingState,
    gradients_of: GradientsOf,
    parts: int,
    sigmoids: bool,
    *batch: tf.Tensor | None,
) -> tf.Tensor:
    """Change the weights by the mean gradients of all replicas, clipped after averaging.

    Args:
        parts: number of replicas that share the batch.
        batch: maps, targets, predictions, lengths and vectors of all parts.

    Returns:
        The loss of this replica's part.
    """
    loss, gradients = gradients_of([_part(tensor, parts) for tensor in batch], sigmoids)
    if tf.distribute.get_strategy().num_replicas_in_sync > 1:
        context = tf.distribute.get_replica_context()
        gradients = context.all_reduce(tf.distribute.ReduceOp.MEAN, gradients)
    if state.settings.gradient_norm:
        gradients, _ = tf.clip_by_global_norm(gradients, state.settings.gradient_norm)
    state.optimizer.apply_gradients(
        zip(gradients, state.model.trainable_variables, strict=True),
        skip_gradients_aggregation=True,
    )
    return loss


def loss_and_gradients(
    state: TrainingState,
    network: keras.Model,
    recipe: Recipe,
    label_loss: LabelLoss,
    tensors: Sequence[tf.Tensor | None],
    sigmoids: bool,
) -> tuple[tf.Tensor, list[tf.Tensor]]:
    """Loss of maps, targets, predictions, lengths and vectors, and the weights' gradients.

    Args:
        network: the state's model or a form of it with the same weights.
    """
    settings, model, optimizer = recipe.training, state.model, state.optimizer
    maps, targets, predictions, lengths, vectors = tensors
    unconnected = tf.UnconnectedGradients.NONE
    with tf.GradientTape() as tape:
        outputs = network(feed(model, maps, lengths), training=True)
        if vectors is not None:
            loss = imitation_loss(targets, vectors, outputs, label_loss, recipe.distillation)
            unconnected = tf.UnconnectedGradients.ZERO  # without labels, the classifier's
        else:
            loss = label_loss(targets, outputs)
        if predictions is not None:
            last = outputs[0] if isinstance(outputs, list) else outputs
            loss = teacher_loss(loss, predictions, last, recipe.distillation, sigmoids=sigmoids)
        if network.losses:  # penalties that layers add
            loss += tf.add_n([tf.cast(penalty, loss.dtype) for penalty in network.losses])
        scaled = optimizer.get_scaled_loss(loss) if settings.mixed_precision else loss
    gradients = tape.gradient(scaled, model.trainable_variables, unconnected_gradients=unconnected)
    if settings.mixed_precision:
        gradients = optimizer.get_unscaled_gradients(gradients)
    return loss, gradients


def accumulated(
    single: GradientsOf,
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
