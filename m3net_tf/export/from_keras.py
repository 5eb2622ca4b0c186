# SPDX-License-Identifier: Apache-2.0
"""Writes a Keras network of your own as a ``.tflite`` that ``m3net export`` takes."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from m3net_tf.audio.frontend import FrontendConfig
from m3net_tf.networks.layers.diffres.warp import LOGARITHMS
from m3net_tf.quantization.diffres import quantize_network
from m3net_tf.runtime.foreign import described
from m3net_tf.runtime.interpreter import Int8
from m3net_tf.runtime.metadata import attach_metadata
from m3net_tf.system.artifacts import write_bytes
from m3net_tf.system.errors import ConfigError
from m3net_tf.system.keras import keras, require_keras_2


def save_tflite(
    model: keras.Model,
    path: str | Path,
    calibration: Int8,
    *,
    frontend: FrontendConfig,
    labels: Sequence[str],
) -> None:
    """Quantise a network to int8 and write it with its front end and class names.

    A network that begins with :class:`m3net_tf.networks.layers.DiffRes` becomes two networks in
    one file, with the warp between them.

    Args:
        model: network from (batch, bins, frames, 1) to (batch, classes) probabilities.
        path: the ``.tflite``.
        calibration: features of some training sounds, by :func:`.features_int8` of this front end,
            shape (clips, bins, frames, 1).
        frontend: the front end.
        labels: class names, in the order of the outputs.

    Raises:
        ConfigError: an object of Keras 3, calibration of another shape, or layers before DiffRes.
        ModelError: a layer has no int8 form, or input or output do not fit the front end and the
            class names.
    """
    require_keras_2("save_tflite", model)
    path = Path(path)
    if calibration.shape[1:] != model.input_shape[1:] or calibration.dtype != "int8":
        raise ConfigError(
            f"the calibration is {calibration.dtype} of shape {calibration.shape}: give int8 "
            f"features of shape (clips, {', '.join(map(str, model.input_shape[1:]))})"
        )
    network = quantize_network(model, calibration)
    if network.warp:
        unit = LOGARITHMS[frontend.log]
        ends = frontend.feature_min / unit, frontend.feature_max / unit
        if not np.allclose((network.warp.ln_min, network.warp.ln_max), ends):
            wanted = {key: getattr(frontend, key) for key in ("feature_min", "feature_max", "log")}
            raise ConfigError(
                "DiffRes converts features of another range than the front end's: give it "
                f"feature_range={wanted}, and train again"
            )
    manifest = described(path, network, frontend, tuple(labels)).manifest
    write_bytes(path, attach_metadata(network.tflite, manifest, network.importance))
