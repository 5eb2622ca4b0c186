# SPDX-License-Identifier: Apache-2.0
"""Fake quantisation: trains a network with the rounding of int8.

Weights are rounded as by the converter: symmetric, one scale per output channel, 255 steps. Tensors
that exist on the device are rounded with one scale each; their range starts at the extremes over
the calibration clips and follows a moving average. Batch normalisation keeps its statistics,
factors and offsets: folding it into a convolution multiplies weights and scale of each output
channel equally, so rounding before and after folding is the same.

The quantisers and the layer wrapper come from tfmot, but not its ``quantize_apply``, which requires
a configuration for products and most layers of this package anyway, uses one scale for all channels
of a depthwise kernel where the device has one per channel, and starts every range at -6 to 6, from
which a moving average of 0.999 does not recover in a few hundred steps.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from m3net_tf.audio.frontend import dequantize_features
from m3net_tf.networks.layers.channel_attention import EfficientChannelAttention
from m3net_tf.networks.layers.diffres.warp import FrameScores, FrameWarp
from m3net_tf.networks.layers.masked import FrameMask, GroupNorm, MapMean, PointNorm
from m3net_tf.networks.layers.mirror import Mirror
from m3net_tf.networks.layers.training_form import readers
from m3net_tf.networks.models.bilateral.sequence import LeakySum, UnrolledBiLSTM
from m3net_tf.networks.models.bilateral.transformer import DotProductAttention, SinusoidalPositions
from m3net_tf.networks.models.efficientnet_attention.attention_pooling import AttentionHeads
from m3net_tf.networks.models.m3net.image import SpectrogramImage
from m3net_tf.networks.models.spectromasknet.block_mask import BlockMask
from m3net_tf.networks.models.spectromasknet.fusion import WeightedFusion
from m3net_tf.quantization.tfmot import tfmot
from m3net_tf.quantization.wrapping import Wrapped, copy_wrapped, plain_copy
from m3net_tf.runtime.interpreter import Int8
from m3net_tf.system.errors import ConfigError
from m3net_tf.system.keras import keras, tf

_OBSERVED_CLIPS = 16  # per batch, because the outputs of all layers are kept
_FIXED = {"sigmoid": (0.0, 255 / 256), "tanh": (-1.0, 127 / 128)}  # TFLite's fixed ranges


@dataclasses.dataclass(frozen=True)
class Simulation:
    """Simulation of an int8 layer; its output is rounded if it is a tensor on the device.

    Attributes:
        kernels: attributes with weights, and the number of last axes along which each index has its
            own scale; 0 for a single scale.
    """

    kernels: Mapping[str, int] = dataclasses.field(default_factory=dict)


_NORM = Simulation({"gamma": 0, "beta": 0})

SIMULATED: dict[type, Simulation] = {
    keras.layers.Conv2D: Simulation({"kernel": 1}),
    keras.layers.DepthwiseConv2D: Simulation({"depthwise_kernel": 2}),
    keras.layers.Dense: Simulation({"kernel": 1}),
    keras.layers.BatchNormalization: Simulation(),
    keras.layers.ReLU: Simulation(),
    keras.layers.LeakyReLU: Simulation(),
    keras.layers.Activation: Simulation(),
    keras.layers.Add: Simulation(),
    keras.layers.Multiply: Simulation(),
    keras.layers.Concatenate: Simulation(),
    keras.layers.Rescaling: Simulation(),
    keras.layers.Normalization: Simulation(),
    LeakySum: Simulation(),
    EfficientChannelAttention: Simulation({"kernel": 1}),
    AttentionHeads: Simulation({"head_weights": 1}),
    GroupNorm: _NORM,
    PointNorm: _NORM,
    WeightedFusion: Simulation(),
    DotProductAttention: Simulation(),
    SinusoidalPositions: Simulation(),
    SpectrogramImage: Simulation(),
    # Kernel and recurrent kernel of both directions; each column is a channel of a convolution.
    UnrolledBiLSTM: Simulation({"directions": 1}),
}
"""Simulated layers. Inside layers with several operators only weights are rounded."""

_MOVES = "moves values, or averages them without changing their scale"
_TRAINING = "acts only in training"
LEFT_OUT: dict[type, str] = {
    keras.layers.InputLayer: "the front end's features are already int8",
    keras.layers.AveragePooling2D: _MOVES,
    keras.layers.Cropping2D: _MOVES,
    keras.layers.Flatten: _MOVES,
    keras.layers.GlobalAveragePooling2D: _MOVES,
    keras.layers.MaxPooling2D: _MOVES,
    keras.layers.Permute: _MOVES,
    keras.layers.Reshape: _MOVES,
    keras.layers.ZeroPadding2D: _MOVES,
    MapMean: _MOVES,
    Mirror: _MOVES,
    BlockMask: _TRAINING,
    keras.layers.Dropout: _TRAINING,
    keras.layers.Softmax: "its scale of 1/256 would give the loss probabilities of 0",
    keras.layers.LSTM: "its loop becomes one operator whose inner states have their own scales",
    FrameMask: "masks for padded batches are float; such networks have no int8 form",
    FrameScores: "the device computes the warp in integers, without rounding",
    FrameWarp: "the device computes the warp in integers, without rounding",
}
"""Layers that are not simulated, with reasons."""

_BEFORE_NORM = (keras.layers.Conv2D, keras.layers.DepthwiseConv2D, keras.layers.Dense)
_BEFORE_RELU = (
    *_BEFORE_NORM,
    keras.layers.BatchNormalization,
    keras.layers.Add,
    keras.layers.Multiply,
    GroupNorm,
)


class ChannelQuantizer(tfmot.quantization.keras.quantizers.LastValueQuantizer):  # type: ignore[misc]
    """Rounds weights like the converter.

    Args:
        axes: number of last axes along which each index has its own scale.
        mask: 0 for weights that stay 0, of the weights' shape; None for no mask.
    """

    def __init__(self, axes: int, mask: npt.NDArray[np.float32] | None = None) -> None:
        super().__init__(num_bits=8, per_axis=axes > 0, symmetric=True, narrow_range=True)
        self.axes = axes
        self.mask = mask

    def build(
        self, tensor_shape: tf.TensorShape, name: str, layer: keras.layers.Layer
    ) -> dict[str, object]:
        """Create the ranges."""
        shape = tf.TensorShape([self._channels(tensor_shape)])
        ranges: dict[str, object] = super().build(shape, name, layer)
        return ranges

    def __call__(
        self, inputs: tf.Tensor, training: bool, weights: dict[str, object], **kwargs: Any
    ) -> tf.Tensor:
        """Round the weights."""
        if self.mask is not None:
            inputs = inputs * self.mask
        rows = tf.reshape(inputs, (-1, self._channels(inputs.shape)))
        rounded = super().__call__(rows, training, weights, **kwargs)
        return tf.reshape(rounded, inputs.shape)

    def _channels(self, shape: tf.TensorShape) -> int:
        return int(np.prod(shape[len(shape) - self.axes :], dtype=int))

    def get_config(self) -> dict[str, object]:
        """Arguments that rebuild the quantiser."""
        return {"axes": self.axes, "mask": self.mask}


class RangeQuantizer(tfmot.quantization.keras.quantizers.MovingAverageQuantizer):  # type: ignore[misc]
    """Rounds a tensor to 256 steps of a range with given initial limits and a moving average."""

    def __init__(self, low: float, high: float) -> None:
        super().__init__(num_bits=8, per_axis=False, symmetric=False, narrow_range=False)
        self.low = low
        self.high = high

    def build(
        self, tensor_shape: tf.TensorShape, name: str, layer: keras.layers.Layer
    ) -> dict[str, object]:
        """Create the range."""
        del tensor_shape
        ends = {"min_var": min(self.low, 0.0), "max_var": max(self.high, 1e-6)}
        return {
            key: layer.add_weight(
                f"{name}_{key}", initializer=keras.initializers.Constant(end), trainable=False
            )
            for key, end in ends.items()
        }

    def get_config(self) -> dict[str, object]:
        """Arguments that rebuild the quantiser."""
        return {"low": self.low, "high": self.high}


class LayerConfig(tfmot.quantization.keras.QuantizeConfig):  # type: ignore[misc]
    """Selects the weights and the output of a layer that tfmot's wrapper rounds.

    Args:
        kernels: as in :class:`Simulation`.
        output: quantiser of the output; None for no rounding.
        keep_zeros: weights that are 0 stay 0.
    """

    def __init__(self, kernels: Mapping[str, int], output: Any, *, keep_zeros: bool) -> None:
        self.kernels = kernels
        self.output = output
        self.keep_zeros = keep_zeros

    def get_weights_and_quantizers(
        self, layer: keras.layers.Layer
    ) -> list[tuple[tf.Variable, Any]]:
        """Rounded weights with their quantisers."""
        pairs = []
        for name, axes in self.kernels.items():
            value = getattr(layer, name)
            directions = name == "directions"
            weights = [weight for pair in value for weight in pair[:2]] if directions else [value]
            for weight in weights:
                mask = (weight.numpy() != 0).astype(np.float32) if self.keep_zeros else None
                pairs.append((weight, ChannelQuantizer(axes, mask)))
        return pairs

    def set_quantize_weights(
        self, layer: keras.layers.Layer, quantize_weights: Sequence[tf.Tensor]
    ) -> None:
        """Make the layer compute with rounded weights."""
        if "directions" in self.kernels:
            biases = [direction[2] for direction in layer.directions]
            kernels = zip(quantize_weights[::2], quantize_weights[1::2], biases, strict=True)
            layer.directions = list(kernels)
            return
        for name, weight in zip(self.kernels, quantize_weights, strict=True):
            setattr(layer, name, weight)

    def get_activations_and_quantizers(self, layer: keras.layers.Layer) -> list[tuple[Any, Any]]:
        """No activations: only outputs are rounded."""
        del layer
        return []

    def set_quantize_activations(
        self, layer: keras.layers.Layer, quantize_activations: Sequence[Any]
    ) -> None:
        """Do nothing."""
        del layer, quantize_activations

    def get_output_quantizers(self, layer: keras.layers.Layer) -> list[Any]:
        """Quantiser of the output."""
        del layer
        return [self.output] if self.output else []

    def get_config(self) -> dict[str, object]:
        """Arguments that rebuild the configuration."""
        return {"kernels": self.kernels, "output": self.output, "keep_zeros": self.keep_zeros}


class _Simulated(tfmot.quantization.keras.QuantizeWrapperV2):  # type: ignore[misc]
    """tfmot's wrapper with support for frozen layers."""

    @property
    def trainable_weights(self) -> list[tf.Variable]:
        """Trainable weights."""
        return super().trainable_weights if self.layer.trainable else []


def simulate_int8(
    model: keras.Model,
    calibration: Int8,
    first_layer: str | None = None,
    *,
    keep_zeros: bool = False,
) -> Wrapped:
    """A copy of a network with the rounding of int8.

    Args:
        calibration: int8 features of training clips, shape (clips, bins, frames, channels).
        first_layer: layers before this one, in the network's order, keep their weights.
        keep_zeros: weights that are 0 stay 0.

    Raises:
        ConfigError: the network lacks ``first_layer``, or has a layer that is in neither table.
    """
    names = [layer.name for layer in model.layers]
    if first_layer is not None and first_layer not in names:
        raise ConfigError(
            f"{model.name} has no layer {first_layer!r}: choose one of {', '.join(names)}"
        )
    frozen = set(names[: names.index(first_layer)] if first_layer else ())
    for layer in model.layers:
        if type(layer) not in SIMULATED and type(layer) not in LEFT_OUT:
            raise ConfigError(
                f"layer {layer.name} of {model.name} is a {type(layer).__name__}, which fake "
                "quantisation does not support: use a method of ptq"
            )
    ranges = _observe(model, calibration)
    fused = {layer.name for layer in model.layers if _is_fused(model, layer)}
    last = {layer.name for layer in model.layers if layer.output is model.output}
    masks: dict[int, npt.NDArray[np.float32]] = {}

    def wrap(twin: keras.layers.Layer) -> keras.layers.Layer:
        is_norm = isinstance(twin, keras.layers.BatchNormalization)
        twin.trainable = twin.name not in frozen and not is_norm
        if type(twin) in LEFT_OUT:
            return twin
        output = None
        if twin.name not in fused | last:
            output = _output_quantizer(twin, ranges)
        config = LayerConfig(SIMULATED[type(twin)].kernels, output, keep_zeros=keep_zeros)
        if keep_zeros:
            for weight, quantizer in config.get_weights_and_quantizers(twin):
                masks[id(weight)] = quantizer.mask
        return _Simulated(twin, config)

    copy, weights = copy_wrapped(model, wrap)

    def strip() -> keras.Model:
        for values in weights.values():
            for weight in values:
                if id(weight) in masks:
                    weight.assign(weight * masks[id(weight)])
        return plain_copy(model, weights)

    return Wrapped(copy, strip)


def _output_quantizer(layer: keras.layers.Layer, ranges: dict[str, tuple[float, float]]) -> Any:
    if isinstance(layer, keras.layers.Activation):
        name = layer.activation.__name__
        if name == "linear":
            return None
        if name in _FIXED:
            low, high = _FIXED[name]
            quantizers = tfmot.quantization.keras.quantizers
            return quantizers.FixedQuantizer(8, low, high, narrow_range=False)
    return RangeQuantizer(*ranges[layer.name])


def _is_fused(model: keras.Model, layer: keras.layers.Layer) -> bool:
    """Whether the device has no tensor between a layer and its only reader."""
    following = readers(model, layer)
    if len(following) != 1:
        return False
    if isinstance(following[0], keras.layers.BatchNormalization):
        return isinstance(layer, _BEFORE_NORM)
    return isinstance(following[0], keras.layers.ReLU) and isinstance(layer, _BEFORE_RELU)


def _observe(model: keras.Model, calibration: Int8) -> dict[str, tuple[float, float]]:
    """Smallest and largest output of each simulated layer."""
    layers = [layer for layer in model.layers if type(layer) in SIMULATED]
    watched = keras.Model(model.input, [layer.output for layer in layers])
    lows, highs = np.full(len(layers), np.inf), np.full(len(layers), -np.inf)
    for first in range(0, len(calibration), _OBSERVED_CLIPS):
        maps = tf.constant(dequantize_features(calibration[first : first + _OBSERVED_CLIPS]))
        values = watched(maps, training=False)
        lows = np.minimum(lows, [float(tf.reduce_min(value)) for value in values])
        highs = np.maximum(highs, [float(tf.reduce_max(value)) for value in values])
    ranges = zip(lows.tolist(), highs.tolist(), strict=True)
    return {layer.name: pair for layer, pair in zip(layers, ranges, strict=True)}
