# SPDX-License-Identifier: Apache-2.0
"""The validation of an epoch, of which each worker computes a part."""

import numpy as np
import numpy.typing as npt

from m3net_tf.system.keras import keras, tf
from m3net_tf.training.clips.features import FeatureSet
from m3net_tf.training.loop.distribution import current_share
from m3net_tf.training.network import has_sigmoids
from m3net_tf.training.recipe import Recipe
from m3net_tf.training.scoring.evaluation import learnt, predict, predict_originals, score


def validate(
    model: keras.Model, validation: FeatureSet, labels: tuple[str, ...], recipe: Recipe
) -> tuple[dict[str, float], dict[str, float]]:
    """Loss and score of a network on the validation clips, and its learnt figures.

    Returns:
        ``validation_loss`` with ``validation_accuracy`` or ``validation_map``; the learnt figures.
    """
    outputs = shared_predictions(model, validation)
    figures = learnt(model, validation, recipe)
    many = validation.matrix is not None
    sigmoids = has_sigmoids(recipe.training, multi_label=many)
    value, loss = score(outputs, validation, labels, sigmoids=sigmoids)
    return {"validation_loss": loss, f"validation_{'map' if many else 'accuracy'}": value}, figures


def shared_predictions(model: keras.Model, features: FeatureSet) -> npt.NDArray[np.float32]:
    """:func:`.predict_originals`, of which each worker computes a part; all get the same result.

    Equal results are necessary: they decide which epoch is the best and when training ends.
    """
    share = current_share()
    if share.workers == 1:
        return predict_originals(model, features)
    for weight in model.non_trainable_weights:  # statistics of batch normalisation
        weight.assign(weight.read_value())  # gives all replicas their mean
    maps = features.features[0]
    parts = np.array_split(np.arange(len(maps)), share.replicas)
    lengths = features.lengths[0] if features.lengths is not None else None

    def part() -> tf.Tensor:
        context = tf.distribute.get_replica_context()
        rows = parts[int(context.replica_id_in_sync_group)]
        outputs = np.zeros((len(maps), model.output_shape[-1]), np.float32)
        if rows.size:
            own = None if lengths is None else lengths[rows]
            outputs[rows] = predict(model, maps[rows][..., None], own)
        # The rows of all other parts are 0, so the sum has the outputs without rounding.
        return context.all_reduce(tf.distribute.ReduceOp.SUM, tf.constant(outputs))

    strategy = tf.distribute.get_strategy()
    (outputs, *_) = strategy.experimental_local_results(strategy.run(part))
    return np.asarray(outputs)
