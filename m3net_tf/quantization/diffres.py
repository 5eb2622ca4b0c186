# SPDX-License-Identifier: Apache-2.0
"""DiffRes in int8: a network that scores frames, the warp, and the classifier behind it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from m3net_tf.errors import ModelError
from m3net_tf.keras import keras
from m3net_tf.layers.diffres import LOGARITHMS
from m3net_tf.models.diffres import WARP, classifier_network, importance_network
from m3net_tf.quantization.ptq import quantize_int8
from m3net_tf.quantization.runtime import Int8, run_reference, tensor_quantization
from m3net_tf.quantization.warp import WarpConfig, warp_int8

_SCORE_QUANTIZATION = (1 / 256, -128)  # a sigmoid's in TFLite, as the warp reads it


@dataclasses.dataclass(frozen=True)
class Int8Network:
    """What a device runs: one network, or DiffRes's two with the warp between them.

    Attributes:
        tflite: the network that classifies.
        importance: the network that scores frames; empty without DiffRes.
        warp: what merges frames by those scores.
    """

    tflite: bytes
    importance: bytes = b""
    warp: WarpConfig | None = None

    @property
    def parts(self) -> tuple[bytes, ...]:
        """The networks in the order in which they run."""
        return (self.importance, self.tflite) if self.importance else (self.tflite,)

    def run(self, runtime: Callable[[bytes, Int8], Int8], features: Int8) -> Int8:
        """Run clips.

        Args:
            runtime: runs one network: ``run_reference`` or ``run_tflm``.
            features: int8, shape (clips, bins, frames, channels).

        Returns:
            int8 scores, shape (clips, classes).
        """
        if self.warp:
            features = warp_int8(self.warp, features, runtime(self.importance, features))
        return runtime(self.tflite, features)


def quantize_diffres(model: keras.Model, calibration: Int8) -> Int8Network:
    """Convert a network with DiffRes to int8 in two parts.

    The classifier is calibrated on what the int8 scores and the warp make of the clips.

    Args:
        model: network with ``method="diffres"``.
        calibration: int8 features of training clips, shape (clips, bins, frames, 1).

    Raises:
        ModelError: its warp has a form that the device lacks, or a layer has no int8 form.
    """
    warp = warp_of(model)
    importance = quantize_int8(importance_network(model), calibration)
    found = tensor_quantization(importance, "output")
    if found != _SCORE_QUANTIZATION:
        raise ModelError(
            f"{model.name}'s scores have scale {found[0]} and zero point {found[1]} in int8: let "
            "a sigmoid be the last layer of the network that scores frames"
        )
    merged = warp_int8(warp, calibration, run_reference(importance, calibration))
    return Int8Network(quantize_int8(classifier_network(model), merged), importance, warp)


def warp_of(model: keras.Model) -> WarpConfig:
    """The warp of a network with DiffRes, for the device.

    Raises:
        ModelError: it is one of the ablations, or too large for whole numbers of 64 bits.
    """
    layer = model.get_layer(WARP)
    for name in ("fill_rows", "maximum", "encoding"):
        if not getattr(layer, name):
            raise ModelError(
                f"{model.name} is trained with {name}: false, which the device lacks: train with "
                f"{name}: true"
            )
    _, bins, frames, _ = model.input_shape
    unit = LOGARITHMS[layer.log]
    ends = layer.feature_min / unit, layer.feature_max / unit
    return WarpConfig(bins, frames, layer.frames_out, *ends)
