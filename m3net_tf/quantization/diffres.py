# SPDX-License-Identifier: Apache-2.0
"""A network on a device: a single part, or two parts of DiffRes with the warp between them.

This module handles the difference; methods, report and export work on parts.
"""

import dataclasses
from collections.abc import Callable

import numpy as np

from m3net_tf.audio.frontend import dequantize_features
from m3net_tf.networks.layers.diffres.warp import LOGARITHMS
from m3net_tf.networks.models.diffres import (
    classifier_network,
    has_diffres,
    importance_network,
    warp_layers,
)
from m3net_tf.quantization.observation import Float, Single, open_fast
from m3net_tf.quantization.ptq import quantize_int8
from m3net_tf.runtime.interpreter import Int8, run_raw, run_reference, tensor_quantization
from m3net_tf.runtime.network import Int8Network
from m3net_tf.runtime.warp import WarpConfig, warp_int8
from m3net_tf.system.errors import ModelError
from m3net_tf.system.keras import keras, tf

FloatWarp = Callable[[Single, Single], Single]
_SCORE_QUANTIZATION = (1 / 256, -128)  # of a sigmoid in TFLite, as the warp expects
_CLIPS_AT_ONCE = 256


@dataclasses.dataclass(frozen=True)
class FloatNetwork:
    """The float graphs from which an :class:`Int8Network` was quantised.

    Attributes:
        parts: ``.tflite`` of each part, in the order of execution.
        warp: computes the second part's input from real features and the first part's scores.
    """

    parts: tuple[bytes, ...]
    warp: FloatWarp | None = None

    def inputs(self, features: Int8) -> list[Single]:
        """Input of each part as real numbers."""
        inputs = [dequantize_features(features)]
        for index in range(len(self.parts) - 1):
            inputs.append(self.between(inputs[-1], self.run_part(index, inputs[-1])))
        return inputs

    def run_part(self, index: int, inputs: Single) -> Single:
        """Output of one part."""
        return _run(self.parts[index], inputs)

    def between(self, features: Single, scores: Single) -> Single:
        """Input of the second part."""
        assert self.warp
        return self.warp(features, scores)

    def run_with(self, index: int, part: bytes, inputs: Single) -> Float:
        """Probabilities (clips, classes) with one part replaced.

        Args:
            index: index of the replaced part.
            part: its replacement, with float input and output.
            inputs: input of that part, as from :meth:`inputs`.
        """
        scores = _run(part, inputs)
        for next_part in self.parts[index + 1 :]:
            inputs = self.between(inputs, scores)
            scores = _run(next_part, inputs)
        return scores.astype(float)

    def run(self, features: Int8) -> Float:
        """Probabilities of the float graphs, shape (clips, classes)."""
        return self.run_with(0, self.parts[0], dequantize_features(features))


def _run(part: bytes, inputs: Single) -> Single:
    return run_raw(open_fast(part), inputs).astype(np.float32)


def quantize_network(model: keras.Model, calibration: Int8) -> Int8Network:
    """Convert a network to int8 with the converter's defaults; see :func:`quantize_parts`."""
    return quantize_parts(model, calibration, quantize_int8)


def quantize_parts(
    model: keras.Model, calibration: Int8, quantize: Callable[[keras.Model, Int8], bytes]
) -> Int8Network:
    """Quantise each part of a network, calibrated on the output of the previous part and the warp.

    Args:
        model: network from (batch, bins, frames, channels) to (batch, classes).
        calibration: int8 features of training clips, shape (clips, bins, frames, channels).
        quantize: converts a part to ``.tflite`` with its int8 inputs.

    Raises:
        ModelError: the device does not support its warp, or a layer has no int8 form.
    """
    if not has_diffres(model):
        return Int8Network(quantize(model, calibration))
    warp = warp_of(model)
    importance = quantize(importance_network(model), calibration)
    quantization = tensor_quantization(importance, "output")
    if quantization != _SCORE_QUANTIZATION:
        raise ModelError(
            f"{model.name}'s scores have scale {quantization[0]} and zero point {quantization[1]} "
            "in int8: make a sigmoid the last layer of the frame-importance network"
        )
    merged = warp_int8(warp, calibration, run_reference(importance, calibration))
    return Int8Network(quantize(classifier_network(model), merged), importance, warp)


def float_warp_of(model: keras.Model) -> FloatWarp | None:
    """The trained layers between the two parts; None for a single part."""
    if not has_diffres(model):
        return None
    rescale, warp = warp_layers(model)

    def merge(features: Single, scores: Single) -> Single:
        merged = []
        for start in range(0, len(features), _CLIPS_AT_ONCE):
            chosen = slice(start, start + _CLIPS_AT_ONCE)
            maps = tf.constant(features[chosen])
            merged.append(warp([maps, rescale([maps, tf.constant(scores[chosen])])]).numpy())
        return np.concatenate(merged)

    return merge


def warp_of(model: keras.Model) -> WarpConfig:
    """Configuration of the device's warp for a network with DiffRes.

    Raises:
        ModelError: the network is an ablation, or too large for 64-bit integers.
    """
    scores, layer = warp_layers(model)
    for name in ("fill_rows", "maximum", "encoding"):
        if not getattr(layer, name):
            raise ModelError(
                f"{model.name} is trained with {name}: false, which devices lack: train with "
                f"{name}: true"
            )
    if scores.reading != "paper":
        raise ModelError(
            f"{model.name} is trained with reading: released, which devices lack: train with "
            "reading: paper"
        )
    _, bins, frames, _ = model.input_shape
    unit = LOGARITHMS[layer.log]
    ends = layer.feature_min / unit, layer.feature_max / unit
    return WarpConfig(bins, frames, layer.frames_out, *ends)
