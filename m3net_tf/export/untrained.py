# SPDX-License-Identifier: Apache-2.0
"""The export of an untrained network, which costs a board what the trained one does.

Arena and model size depend on the network's structure alone. Instructions and flash differ by less
than a thousandth, because some constants of the generated code are computed from the weights.
"""

import hashlib
from pathlib import Path

import numpy as np

from m3net_tf.audio.datasets import DatasetInfo
from m3net_tf.audio.datasets.audio import to_pcm16
from m3net_tf.audio.frontend import column_count, dequantize_features, features_int8
from m3net_tf.export.bundle import Bundle
from m3net_tf.export.default_detector import default_detector
from m3net_tf.export.from_run import unplanned_manifest
from m3net_tf.export.manifest import Calibration, Quantization
from m3net_tf.export.pushes import streaming_detector
from m3net_tf.export.writing import Vectors, write_export
from m3net_tf.quantization.diffres import quantize_network
from m3net_tf.runtime.interpreter import Int8
from m3net_tf.runtime.network import Int8Network
from m3net_tf.system.keras import keras
from m3net_tf.system.progress import Log, silent
from m3net_tf.training.recipe import Recipe

_CLIPS = 4


def export_untrained(
    model: keras.Model, recipe: Recipe, info: DatasetInfo, folder: Path, log: Log = silent
) -> Bundle:
    """Quantise an untrained network on noise and export it; no clip of the data set is read.

    Raises:
        ModelError: the network has no int8 form, or the compiler does not support it.
        ConfigError: the front end has a form that the device code lacks.
    """
    vectors = _noise(recipe, info)
    network = quantize_untrained(model, vectors.features)
    columns = column_count(recipe.frontend, model.input_shape[2])
    detector = default_detector(recipe, columns, info.labels)
    manifest = unplanned_manifest(
        recipe,
        model,
        info,
        network,
        calibration=Calibration(
            tuple(vectors.origin["clips"]), hashlib.sha256(vectors.features.tobytes()).hexdigest()
        ),
        detector=streaming_detector(detector, network, recipe.frontend),
        quantization=Quantization("ptq", chosen=False),
        trained_model_sha256="",
    )
    return write_export(folder, manifest, network, vectors, log)


def quantize_untrained(model: keras.Model, maps: Int8) -> Int8Network:
    """An untrained network in int8, its normalisations settled on maps.

    Args:
        maps: int8, shape (clips, bins, frames, channels).

    Raises:
        ModelError: a layer has no int8 form.
    """
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.0
    model(dequantize_features(maps), training=True)
    return quantize_network(model, maps)


def _noise(recipe: Recipe, info: DatasetInfo) -> Vectors:
    """Clips of noise, each louder than the one before."""
    rng = np.random.default_rng(0)
    waves = (
        rng.normal(0, 1, (_CLIPS, info.clip_samples)) * np.geomspace(0.003, 0.3, _CLIPS)[:, None]
    )
    pcm = np.stack([to_pcm16(wave.astype(np.float32)) for wave in waves])
    features = np.stack([features_int8(recipe.frontend, wave / 32768.0) for wave in pcm])
    names = [f"noise/{index}" for index in range(_CLIPS)]
    return Vectors(pcm, features[..., None], {"clips": names, "source": "noise"})
