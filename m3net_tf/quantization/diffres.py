# SPDX-License-Identifier: Apache-2.0
"""A network on a device: one part, or DiffRes's two and the warp between them.

All that differs between the two forms is here; methods, report and export see parts.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np

from m3net_tf.errors import ModelError
from m3net_tf.frontend import dequantize_features
from m3net_tf.keras import keras, tf
from m3net_tf.models.diffres import (
    SCORES,
    WARP,
    classifier_network,
    has_diffres,
    importance_network,
)
from m3net_tf.models.diffres.warp import LOGARITHMS
from m3net_tf.quantization.observation import Float, Single, open_quick
from m3net_tf.quantization.ptq import quantize_int8
from m3net_tf.runtime.interpreter import Int8, run_raw, run_reference, tensor_quantization
from m3net_tf.runtime.network import Int8Network
from m3net_tf.runtime.warp import WarpConfig, warp_int8

FloatWarp = Callable[[Single, Single], Single]
_SCORE_QUANTIZATION = (1 / 256, -128)  # a sigmoid's in TFLite, as the warp reads it
_CLIPS_AT_ONCE = 256


@dataclasses.dataclass(frozen=True)
class FloatNetwork:
    """The float graphs that an :class:`Int8Network` was made of.

    Attributes:
        parts: ``.tflite`` of each part, in the order in which they run.
        warp: what stands between two parts: of real features and scores it makes the second's
            input.
    """

    parts: tuple[bytes, ...]
    warp: FloatWarp | None = None

    def inputs(self, features: Int8) -> list[Single]:
        """Inputs of each part, in real numbers."""
        inputs = [dequantize_features(features)]
        for index in range(len(self.parts) - 1):
            inputs.append(self.between(inputs[-1], self.answers_of(index, inputs[-1])))
        return inputs

    def answers_of(self, index: int, given: Single) -> Single:
        """Output of one part."""
        return _answers(self.parts[index], given)

    def between(self, features: Single, scores: Single) -> Single:
        """Input of the second part."""
        assert self.warp
        return self.warp(features, scores)

    def answers_with(self, index: int, part: bytes, given: Single) -> Float:
        """Answers with another network in one part's place.

        Args:
            index: which part.
            part: what runs there, with float ends.
            given: that part's input, as :meth:`inputs` has it.

        Returns:
            Shape (clips, classes).
        """
        scores = _answers(part, given)
        for behind in self.parts[index + 1 :]:
            given = self.between(given, scores)
            scores = _answers(behind, given)
        return scores.astype(float)

    def run(self, features: Int8) -> Float:
        """Answers of the float graphs, shape (clips, classes)."""
        return self.answers_with(0, self.parts[0], dequantize_features(features))


def _answers(part: bytes, features: Single) -> Single:
    return run_raw(open_quick(part), features).astype(np.float32)


def quantize_network(model: keras.Model, calibration: Int8) -> Int8Network:
    """Convert a network to int8 as the converter does by itself.

    Args:
        model: network from (batch, bins, frames, channels) to (batch, classes).
        calibration: int8 features of training clips, shape (clips, bins, frames, channels).

    Raises:
        ModelError: its warp has a form that the device lacks, or a layer has no int8 form.
    """
    return quantize_parts(model, calibration, quantize_int8)


def quantize_parts(
    model: keras.Model, calibration: Int8, quantize: Callable[[keras.Model, Int8], bytes]
) -> Int8Network:
    """Quantise each part of a network on what the part before it and the warp make of the clips.

    Args:
        model: network from (batch, bins, frames, channels) to (batch, classes).
        calibration: int8 features of training clips, shape (clips, bins, frames, channels).
        quantize: makes a ``.tflite`` of a part and of its int8 inputs.

    Raises:
        ModelError: its warp has a form that the device lacks, or a layer has no int8 form.
    """
    if not has_diffres(model):
        return Int8Network(quantize(model, calibration))
    warp = warp_of(model)
    importance = quantize(importance_network(model), calibration)
    quantization = tensor_quantization(importance, "output")
    if quantization != _SCORE_QUANTIZATION:
        raise ModelError(
            f"{model.name}'s scores have scale {quantization[0]} and zero point {quantization[1]} "
            "in int8: let a sigmoid be the last layer of the network that scores frames"
        )
    merged = warp_int8(warp, calibration, run_reference(importance, calibration))
    return Int8Network(quantize(classifier_network(model), merged), importance, warp)


def float_warp_of(model: keras.Model) -> FloatWarp | None:
    """The trained layers between the two parts; None if there is only one part."""
    if not has_diffres(model):
        return None
    rescale, warp = model.get_layer(SCORES), model.get_layer(WARP)

    def merge(features: Single, scores: Single) -> Single:
        merged = []
        for start in range(0, len(features), _CLIPS_AT_ONCE):
            chosen = slice(start, start + _CLIPS_AT_ONCE)
            maps = tf.constant(features[chosen])
            merged.append(warp([maps, rescale([maps, tf.constant(scores[chosen])])]).numpy())
        return np.concatenate(merged)

    return merge


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
