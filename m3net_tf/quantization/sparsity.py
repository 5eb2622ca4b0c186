# SPDX-License-Identifier: Apache-2.0
"""Pruning and clustering: zero weights or few different values, so that a network compresses well.

The device's arena and time do not change, because TFLite Micro's kernels multiply by every weight.
Only a compressed image becomes smaller, such as an update or an image that is unpacked from flash.
"""

import numpy as np

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


def cluster(model: keras.Model, centroids: int, *, keep_zeros: bool = False) -> Wrapped:
    """A copy of a network whose kernels have few different values, which are trained.

    In int8 each output channel is divided by its largest weight, so a centroid would have another
    value in every channel. Therefore channels are first scaled to a largest weight of 1 if a
    following normalisation can compensate the factor. Normalisations keep their statistics.

    Args:
        centroids: number of values that a kernel may have; smaller kernels do not change.
        keep_zeros: weights that are 0 stay 0, as one of the values.
    """
    settings = {
        "number_of_clusters": centroids,
        "cluster_centroids_init": tfmot.clustering.keras.CentroidInitialization.KMEANS_PLUS_PLUS,
        "preserve_sparsity": keep_zeros,
    }

    def wrap(twin: keras.layers.Layer) -> keras.layers.Layer:
        if isinstance(twin, keras.layers.BatchNormalization):
            twin.trainable = False
        if type(twin) not in _KERNELS or np.unique(twin.kernel).size <= centroids:
            return twin
        return tfmot.clustering.keras.cluster_weights(twin, **settings)

    scaled = scale_channels(model)
    copy, _ = copy_wrapped(scaled, wrap)

    def strip() -> keras.Model:
        stripped = tfmot.clustering.keras.strip_clustering(copy)
        return plain_copy(scaled, {layer.name: layer.weights for layer in stripped.layers})

    return Wrapped(copy, strip)


def scale_channels(model: keras.Model) -> keras.Model:
    """An equivalent network whose convolutions' output channels have a largest weight of 1.

    Only convolutions followed by a normalisation change; its factor and mean compensate.
    """
    scaled = keras.models.clone_model(model)
    scaled.set_weights(model.get_weights())
    for layer in scaled.layers:
        readers = [node.layer for node in layer.outbound_nodes]
        if type(layer) not in _KERNELS or len(readers) != 1:
            continue
        norm = readers[0]
        if type(norm) is not keras.layers.BatchNormalization or not norm.scale:
            continue
        peak = np.abs(layer.kernel.numpy()).reshape(-1, layer.kernel.shape[-1]).max(0)
        peak = np.where(peak > 0, peak, 1.0).astype(np.float32)
        layer.kernel.assign(layer.kernel / peak)
        if layer.use_bias:
            layer.bias.assign(layer.bias / peak)
        norm.gamma.assign(norm.gamma * peak)
        norm.moving_mean.assign(norm.moving_mean / peak)
    return scaled
