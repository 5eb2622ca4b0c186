# SPDX-License-Identifier: Apache-2.0
"""Counts the multiply-accumulates of one inference layer by layer."""

import math
from typing import Any

from m3net_tf.networks.layers.channel_attention import EfficientChannelAttention
from m3net_tf.networks.layers.masked import GroupNorm, PointNorm
from m3net_tf.networks.models.bc_resnet.broadcasted import SubSpectralNorm
from m3net_tf.networks.models.efficientnet_attention.attention_pooling import AttentionHeads
from m3net_tf.networks.models.learnable_frontend.compression import PCEN
from m3net_tf.networks.models.spectromasknet.block_mask import BlockMask
from m3net_tf.networks.models.spectromasknet.fusion import WeightedFusion
from m3net_tf.system.errors import ModelError
from m3net_tf.system.keras import keras

_SCALE_ONLY = (
    keras.layers.BatchNormalization,
    keras.layers.LayerNormalization,
    keras.layers.Normalization,
    AttentionHeads,
    BlockMask,
    GroupNorm,
    PCEN,
    PointNorm,
    SubSpectralNorm,
    WeightedFusion,
)
"""Layers whose weights only scale, shift or select: not counted."""


def count_macs(model: keras.Model) -> int:
    """Multiply-accumulates of one inference in convolutions, dense layers, LSTMs and attention.

    A custom layer that multiplies has a method ``macs(input_shape, output_shape)``.

    Raises:
        ModelError: a layer has weights whose cost is unknown.
    """
    return sum(_macs_of(layer) for layer in model.layers)


def work_of(model: keras.Model) -> dict[str, int]:
    """Quantities on which the cost of one inference depends about linearly.

    Returns:
        Multiply-accumulates by kind of layer, ``elements`` (values that all other layers give),
        ``widest`` (most values that enter and leave one layer), ``layers`` and ``parameters``.

    Raises:
        ModelError: a layer has weights whose cost is unknown.
    """
    work = dict.fromkeys(("elements", "widest"), 0)
    work |= {"layers": len(model.layers), "parameters": model.count_params()}
    for layer in model.layers:
        if isinstance(layer, keras.layers.InputLayer):
            continue
        sizes = [math.prod(tensor.shape[1:]) for tensor in (*_tensors(layer.input), layer.output)]
        work["widest"] = max(work["widest"], sum(sizes))
        macs = _macs_of(layer)
        kind = _kind_of(layer) if macs else "elements"
        work[kind] = work.get(kind, 0) + (macs or sizes[-1])
    return work


def roofline_s(model: keras.Model, flops: float, bytes_per_s: float) -> float:
    """Seconds of an inference if each layer computes or moves its values at a machine's rate.

    A layer takes the longer of both (Williams, Waterman and Patterson, "Roofline", 2009): two
    operations for a multiply-accumulate, and four bytes for a value that enters or leaves it. Its
    weights, which a batch reads once, are not counted.

    Args:
        flops: sustained floating-point operations per second.
        bytes_per_s: sustained bytes per second from and to memory; infinite counts operations only.
    """
    seconds = 0.0
    for layer in model.layers:
        if not isinstance(layer, keras.layers.InputLayer):
            tensors = (*_tensors(layer.input), *_tensors(layer.output))
            moved = 4 * sum(math.prod(tensor.shape[1:]) for tensor in tensors)
            seconds += max(2 * _macs_of(layer) / flops, moved / bytes_per_s)
    return seconds


def _tensors(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else [value]


def _kind_of(layer: keras.layers.Layer) -> str:
    pointwise = isinstance(layer, keras.layers.Conv2D) and set(layer.kernel_size) == {1}
    return f"{type(layer).__name__}{' 1x1' if pointwise else ''}"


def _points(layer: keras.layers.Layer) -> int:
    return math.prod(map(int, layer.kernel_size))


def _macs_of(layer: keras.layers.Layer) -> int:
    source: tuple[int, ...] = layer.input_shape
    target: tuple[int, ...] = layer.output_shape
    if isinstance(layer, keras.layers.DepthwiseConv2D):
        return math.prod(target[1:]) * _points(layer)
    if isinstance(layer, keras.layers.Conv2D) and not isinstance(
        layer, keras.layers.Conv2DTranspose
    ):
        return math.prod(target[1:]) * (_points(layer) * source[-1] // int(layer.groups))
    if isinstance(layer, keras.layers.Dense):
        return math.prod(target[1:]) * source[-1]
    if isinstance(layer, keras.layers.LSTM):
        steps, channels = source[1:]
        units = int(layer.units)
        return steps * 4 * units * (channels + units)
    if hasattr(layer, "macs"):
        return int(layer.macs(source, target))
    if isinstance(layer, EfficientChannelAttention):
        return source[-1] * int(layer.kernel.shape[1])
    if layer.weights and not isinstance(layer, _SCALE_ONLY):
        raise ModelError(
            f"layer {layer.name!r} ({type(layer).__name__}) has weights of unknown cost: give it a "
            "method macs(input_shape, output_shape)"
        )
    return 0
