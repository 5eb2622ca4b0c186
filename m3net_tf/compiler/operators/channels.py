# SPDX-License-Identifier: Apache-2.0
"""Biases and factors of the output channels of convolutions and fully connected layers."""

from __future__ import annotations

import numpy as np

from m3net_tf.compiler.arithmetic import quantize_factor
from m3net_tf.compiler.graph import Operation
from m3net_tf.compiler.operators.common import require
from m3net_tf.compiler.structures import Factor
from m3net_tf.compiler.weights import Weights


def layer_bias(op: Operation, part: slice) -> Weights:
    """Bias of some output channels, one-dimensional; zeros if the layer has none."""
    if len(op.inputs) < 3 or op.inputs[2] is None:
        return np.zeros(part.stop - part.start, np.int64)
    return np.asarray(op.constant(2), np.int64).reshape(-1)[part]


def layer_factors(op: Operation, part: slice) -> list[Factor]:
    """Factors of some output channels from sums to outputs, computed as TFLite Micro does."""
    source, filters = op.input(0), op.input(1)
    scales = filters.scales
    count = part.stop - part.start
    to = float(op.output.scale)
    if op.kind == "FULLY_CONNECTED" and len(scales) == 1:
        # A product in single precision, unlike that of convolutions.
        real = float(np.float32(source.scale * np.float32(scales[0]))) / to
        return [quantize_factor(real)] * count
    if len(scales) == 1:
        return [quantize_factor(float(source.scale) * float(scales[0]) / to)] * count
    axis = 3 if op.kind == "DEPTHWISE_CONV_2D" else 0
    require(
        op,
        filters.channel_axis == axis and len(scales) == filters.shape[axis],
        "has weights with scales along another dimension than its outputs",
    )
    return [quantize_factor(float(source.scale) * float(scale) / to) for scale in scales[part]]
