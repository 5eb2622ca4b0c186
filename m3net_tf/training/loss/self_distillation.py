# SPDX-License-Identifier: Apache-2.0
"""Self-distillation: a network's early exits learn from its own last output.

Zhang et al., "Be Your Own Teacher", ICCV 2019, section 3.2, losses 1 (labels) and 2 (the last
exit's output), as used for the bilateral network (section 4.1.2 of its paper). Loss 3, on the
features, is omitted: it requires bottlenecks that bring the exits to the last one's width, which
the bilateral paper does not mention.
"""

from collections.abc import Sequence

from m3net_tf.system.errors import ConfigError
from m3net_tf.system.keras import keras, tf
from m3net_tf.training.scoring.evaluation import SMALLEST_PROBABILITY


def self_distillation_loss(
    targets: tf.Tensor,
    outputs: Sequence[tf.Tensor],
    *,
    temperature: float = 3.0,
    weight: float = 0.3,
    label_smoothing: float = 0.0,
    clip_weights: tf.Tensor | None = None,
) -> tf.Tensor:
    """Cross-entropy of every exit, and divergence of the early exits from the last: their sum.

    The loss of the last exit is its cross-entropy. The loss of an early exit is (1 - weight) times
    its cross-entropy plus weight * temperature**2 * KL(last || early), both softened by the
    temperature, whose square preserves the size of the gradients (Hinton et al., "Distilling the
    Knowledge in a Neural Network"). No gradient flows into the last exit as teacher.

    Args:
        targets: true classes as probabilities, shape (batch, classes).
        outputs: probabilities, each (batch, classes): the network's last output first, then the
            early exits, as from a network with ``early_exits``.
        temperature: above 1 increases the influence of small probabilities.
        weight: weight of the teacher in an early exit's loss, 0 to 1.
        clip_weights: weight of each clip in the cross-entropies, shape (batch,).

    Raises:
        ConfigError: there is no early exit.
    """
    if len(outputs) < 2:
        raise ConfigError(
            "self-distillation needs early exits: set early_exits: true in model.arguments"
        )
    last, *early = outputs
    teacher = soften(tf.stop_gradient(last), temperature)
    total = cross_entropy(targets, last, label_smoothing, clip_weights)
    for probabilities in early:
        difference = teacher - soften(probabilities, temperature)
        divergence = tf.reduce_mean(tf.reduce_sum(tf.exp(teacher) * difference, axis=-1))
        total += (1.0 - weight) * cross_entropy(
            targets, probabilities, label_smoothing, clip_weights
        )
        total += weight * temperature**2 * divergence
    return total


def cross_entropy(
    targets: tf.Tensor,
    probabilities: tf.Tensor,
    label_smoothing: float,
    clip_weights: tf.Tensor | None = None,
) -> tf.Tensor:
    """Mean cross-entropy over a batch or a device's part of a batch, a scalar.

    Args:
        targets: shape (batch, classes).
        probabilities: the network's output, of the same shape.
        clip_weights: weight of each clip, shape (batch,).
    """
    losses = keras.losses.categorical_crossentropy(
        targets, probabilities, label_smoothing=label_smoothing
    )
    return tf.reduce_mean(losses if clip_weights is None else losses * clip_weights)


def soften(probabilities: tf.Tensor, temperature: float) -> tf.Tensor:
    """Logarithms of the probabilities at another temperature of the logits."""
    logs = tf.math.log(tf.maximum(probabilities, SMALLEST_PROBABILITY))
    return tf.nn.log_softmax(logs / temperature)
