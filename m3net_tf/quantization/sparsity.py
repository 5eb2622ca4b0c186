# SPDX-License-Identifier: Apache-2.0
"""Pruning: zero weights, so that a network compresses well.

The device's arena and time do not change, because TFLite Micro's kernels multiply by every weight.
Only a compressed image becomes smaller, such as an update or an image that is unpacked from flash.
"""

from m3net_tf.quantization.tfmot import tfmot
from m3net_tf.quantization.wrapping import Wrapped, copy_wrapped, plain_copy
from m3net_tf.system.keras import keras

# Depthwise kernels have few, important weights; tfmot excludes them, too.
_KERNELS = (keras.layers.Conv2D, keras.layers.Dense)
_UPDATES = 10  # of the masks, until the sparsity is reached


def prune(model: keras.Model, sparsity: float, steps: int) -> Wrapped:
    """A copy of a network that is pruned in training (Zhu and Gupta, 2017).

    Convolutions and dense layers reach the sparsity, the share of each kernel's weights that are 0,
    after half of the steps; the other half recovers accuracy.
    """
    every = max(1, steps // (2 * _UPDATES))
    end = max(1, steps // 2 // every * every)
    schedule = tfmot.sparsity.keras.PolynomialDecay(0.0, sparsity, 0, end, frequency=every)

    def wrap(twin: keras.layers.Layer) -> keras.layers.Layer:
        if type(twin) not in _KERNELS:
            return twin
        return tfmot.sparsity.keras.prune_low_magnitude(twin, pruning_schedule=schedule)

    copy, weights = copy_wrapped(model, wrap)
    updates = tfmot.sparsity.keras.UpdatePruningStep()
    updates.set_model(copy)
    return Wrapped(
        copy,
        lambda: plain_copy(model, weights),
        begin=updates.on_train_begin,
        close_epoch=lambda: updates.on_epoch_end(0),
    )
