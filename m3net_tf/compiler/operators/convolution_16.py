# SPDX-License-Identifier: Apache-2.0
"""Convolutions of int16 inputs with int8 weights."""

from __future__ import annotations

import numpy as np

from m3net_tf.compiler.arithmetic import wrap
from m3net_tf.compiler.calls import View
from m3net_tf.compiler.graph import Operation
from m3net_tf.compiler.operators.channels import layer_bias, layer_factors
from m3net_tf.compiler.operators.common import (
    LARGEST_LONG_BIAS,
    LARGEST_LONG_SHIFT,
    activation_range,
    image_of,
    require,
)
from m3net_tf.compiler.structures import Array, Convolution16, Window
from m3net_tf.compiler.weights import long_channel_rows


def layer_16(
    op: Operation, weights: Array, part: slice, window: Window, view: View, target: View
) -> Convolution16:
    """Constants of one call, for some of the output channels."""
    minimum, maximum = activation_range(op, op.output)
    long_sums = _has_long_sums(op)
    return Convolution16(
        weights=weights,
        channels=_channels(op, part, long_sums),
        input=image_of(op, view),
        output=image_of(op, target),
        window=window,
        batches=view.shape[0],
        minimum=minimum,
        maximum=maximum,
        long_sums=long_sums,
    )


def _has_long_sums(op: Operation) -> bool:
    """Whether sums have 64 bits; the type of the bias says it, or an option if there is none."""
    bias = op.inputs[2] if len(op.inputs) > 2 else None
    if bias is not None:
        return bias.dtype == "int64"
    return op.options.get("quantizedBiasType") != _NO_LONG_SUMS


_NO_LONG_SUMS = 2  # schema.TensorType.INT32


def _channels(op: Operation, part: slice, long_sums: bool) -> Array:
    bias, factors = layer_bias(op, part), layer_factors(op, part)
    require(op, bool((np.abs(bias) < LARGEST_LONG_BIAS).all()), "has a bias above 2^46")
    require(
        op,
        not long_sums or all(factor.shift <= LARGEST_LONG_SHIFT for factor in factors),
        "has an output scale too small for its input: quantise the network again",
    )
    return long_channel_rows(bias if long_sums else wrap(bias), factors)
