# SPDX-License-Identifier: Apache-2.0
"""Transformer encoder over a sequence of tokens, stored as a map of one row.

Vaswani et al., "Attention Is All You Need", 2017, sections 3.1 to 3.5. A sequence of T tokens with
C channels is a map of shape (batch, 1, T, C), so that every projection is a 1 x 1 convolution.
Unlike a dense layer it gives the same bytes in TFLite and in TFLite Micro.
"""

from collections.abc import Sequence
from typing import Any

from m3net_tf.networks.layers.configured import Layer
from m3net_tf.networks.layers.masked import PointNorm
from m3net_tf.networks.positions import positional_encoding
from m3net_tf.system.errors import ConfigError
from m3net_tf.system.keras import keras, tf

_NORM_EPSILON = 1e-5
_DROPOUT = 0.1
_EXPANSION = 4  # of the channels between the two layers after an attention


@keras.utils.register_keras_serializable("m3net_tf")
class DotProductAttention(Layer):
    """softmax(Q K^T / sqrt(d)) V in each of several heads (equation 1 and section 3.2.2).

    The layer has no weights: :func:`self_attention` adds the projections.

    Args:
        heads: number of heads, which divide the channels among them.

    Shapes:
        three of (batch, 1, tokens, channels) to one of the same shape; the number of tokens must be
        known when the network is built.

    Raises:
        ConfigError: ``heads`` does not divide the channels.
    """

    def __init__(self, heads: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.heads = heads

    def build(self, input_shape: Sequence[tf.TensorShape]) -> None:
        channels = input_shape[0][-1]
        if channels % self.heads:
            raise ConfigError(
                f"{self.heads} attention heads cannot share {channels} channels: give a divisor"
            )
        super().build(input_shape)

    def call(self, inputs: Sequence[tf.Tensor]) -> tf.Tensor:
        queries, keys, values = inputs
        width = queries.shape[-1] // self.heads
        # Scaled before the split, so that the converter folds the factor into the projection.
        queries = self._split(queries * width**-0.5)  # (batch, heads, T, d)
        keys, values = self._split(keys), self._split(values)
        scores = tf.matmul(queries, keys, transpose_b=True)  # (batch, heads, T, T)
        mixed = tf.matmul(tf.nn.softmax(scores), values)  # (batch, heads, T, d)
        joined = tf.transpose(mixed, [0, 2, 1, 3])  # (batch, T, heads, d)
        return tf.reshape(joined, [-1, 1, joined.shape[1], self.heads * width])

    def _split(self, x: tf.Tensor) -> tf.Tensor:
        _, _, tokens, channels = x.shape
        heads = tf.reshape(x, [-1, tokens, self.heads, channels // self.heads])
        return tf.transpose(heads, [0, 2, 1, 3])

    def macs(self, input_shape: Sequence[tuple[int, ...]], output_shape: tuple[int, ...]) -> int:
        """Multiply-accumulates of one inference: two products of T x T x C."""
        del output_shape
        (_, _, queries, channels), (_, _, keys, _) = input_shape[0], input_shape[1]
        return 2 * queries * keys * channels


@keras.utils.register_keras_serializable("m3net_tf")
class SinusoidalPositions(Layer):
    """Add the sinusoidal positional encoding to each channel (section 3.5).

    Channel 2i gets sin(t / 10000^(2i / C)) and channel 2i + 1 the cosine of the same angle.

    Shapes:
        (batch, 1, tokens, channels) in and out.
    """

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        _, _, tokens, channels = inputs.shape
        return inputs + tf.constant(positional_encoding(tokens, channels)[None, None], inputs.dtype)


def self_attention(x: tf.Tensor, heads: int, name: str = "attention") -> tf.Tensor:
    """Multi-head self-attention with its four projections (section 3.2.2).

    Tokens (batch, 1, T, C) in and out; ``heads`` divides C.
    """
    channels = x.shape[-1]
    parts = [
        keras.layers.Conv2D(channels, 1, name=f"{name}_{part}")(x)
        for part in ("query", "key", "value")
    ]
    mixed = DotProductAttention(heads, name=f"{name}_product")(parts)  # (batch, 1, T, C)
    return keras.layers.Conv2D(channels, 1, name=f"{name}_out")(mixed)


def transformer_encoder(x: tf.Tensor, heads: int, name: str = "encoder") -> tf.Tensor:
    """Transformer encoder: positions, then attention and a two-layer network with residuals.

    Tokens (batch, 1, T, C) in and out; ``heads`` divides C. Normalisation over a token's channels
    follows each sum, as in the paper (section 3.1).

    Raises:
        ConfigError: see :class:`DotProductAttention`.
    """
    channels, part = x.shape[-1], f"{name}1"
    x = SinusoidalPositions(name=f"{name}_positions")(x)
    mixed = self_attention(x, heads, name=f"{part}_attention")
    x = _add_and_norm(x, mixed, f"{part}_attention")
    hidden = keras.layers.Conv2D(_EXPANSION * channels, 1, name=f"{part}_mlp_in")(x)
    hidden = keras.layers.ReLU(name=f"{part}_mlp_relu")(hidden)
    hidden = keras.layers.Conv2D(channels, 1, name=f"{part}_mlp_out")(hidden)
    return _add_and_norm(x, hidden, f"{part}_mlp")


def _add_and_norm(x: tf.Tensor, change: tf.Tensor, name: str) -> tf.Tensor:
    change = keras.layers.Dropout(_DROPOUT, name=f"{name}_dropout")(change)
    summed = keras.layers.Add(name=f"{name}_skip")([x, change])
    return PointNorm(epsilon=_NORM_EPSILON, name=f"{name}_norm")(summed)
