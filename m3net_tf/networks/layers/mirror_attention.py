# SPDX-License-Identifier: Apache-2.0
"""Mirror attention: as a part of a functional network, and as one layer.

Jiang et al., "M3Net: Efficient Time-Frequency Integration Network with Mirror Attention for Audio
Classification on Edge", AAAI 2025, section 2.2. Maps are (batch, frequency, time, channel).
"""

from collections.abc import Callable
from typing import Any

from m3net_tf.networks.layers.channel_attention import EfficientChannelAttention
from m3net_tf.networks.layers.configured import Layer, MapLayer
from m3net_tf.networks.layers.convolution import ds_conv
from m3net_tf.networks.layers.mirror import Mirror
from m3net_tf.system.keras import keras, tf

View = Callable[..., Layer]
"""Makes the layer of a view from ``time``, ``frequency`` and ``name``, as :class:`Mirror` does."""


def mirror_feature_processing(
    x: tf.Tensor,
    *,
    hmf: bool = True,
    vmf: bool = True,
    depthwise_norm: bool = False,
    view: View = Mirror,
) -> tf.Tensor:
    """MFP (equation 4): concatenate both single mirrors, reduce to C channels, add X, convolve.

    X to X_MFP, both (batch, F, T, C). HMF mirrors time, VMF frequency.
    """
    channels = x.shape[-1]
    in_time = view(time=True, name="mfp_hmf")(x) if hmf else x
    in_frequency = view(frequency=True, name="mfp_vmf")(x) if vmf else x
    both = keras.layers.Concatenate(name="mfp_views")([in_time, in_frequency])  # (F, T, 2C)
    narrowed = ds_conv(both, channels, name="mfp_align", depthwise_norm=depthwise_norm)
    summed = keras.layers.Add(name="mfp_skip")([narrowed, x])  # (F, T, C)
    return ds_conv(summed, channels, name="mfp_out", depthwise_norm=depthwise_norm)  # (F, T, C)


def diagonal_feature_processing(
    x: tf.Tensor,
    *,
    csf: bool = True,
    eca: bool = True,
    depthwise_norm: bool = False,
    view: View = Mirror,
) -> tf.Tensor:
    """DFP (equation 6): rotate the map by 180 degrees, convolve (CB), weight the channels (ECA).

    X to X_DFP, both (batch, F, T, C).
    """
    channels = x.shape[-1]
    # The converter orders branches by name. "turn" sorts after "mfp", so this small branch runs
    # when MFP's wide maps have been freed, and the arena is a tenth smaller.
    if csf:
        x = view(time=True, frequency=True, name="turn_csf")(x)
    x = ds_conv(x, channels, name="dfp_cb", depthwise_norm=depthwise_norm)
    return EfficientChannelAttention(name="dfp_eca")(x) if eca else x


def mirror_attention(
    x: tf.Tensor,
    *,
    mfp: bool = True,
    dfp: bool = True,
    eca: bool = True,
    csf: bool = True,
    vmf: bool = True,
    hmf: bool = True,
    depthwise_norm: bool = False,
    view: View = Mirror,
) -> tf.Tensor:
    """MA: MFP times DFP (equation 7), plus X; (batch, F, T, C) throughout.

    Args:
        depthwise_norm: add normalisation and ReLU between the two parts of every DSConv.
        view: layer of a view; others than :class:`Mirror` are controls. The other arguments omit a
            part each (tables 4 and 5).
    """
    kinds: dict[str, Any] = {"depthwise_norm": depthwise_norm, "view": view}
    branches = []
    if mfp:
        branches.append(mirror_feature_processing(x, hmf=hmf, vmf=vmf, **kinds))
    if dfp:
        branches.append(diagonal_feature_processing(x, csf=csf, eca=eca, **kinds))
    if len(branches) == 2:
        branches = [keras.layers.Multiply(name="ma_product")(branches)]  # equation 7
    return keras.layers.Add(name="ma_skip")([*branches, x])  # second stage of the skip


@keras.utils.register_keras_serializable("m3net_tf")
class MirrorAttention(MapLayer):
    """Mirror attention as one layer, for a network of your own.

    It keeps the shape of a map. Its mirrors have no weights, its convolutions with their
    normalisation about 4 C (C + 14) for C channels.

    Args:
        depthwise_norm: add normalisation and ReLU between the two parts of every depthwise
            separable convolution, with which small networks train better; the paper's have them
            only at the end.
        name: name of the layer.
        trainable: whether its weights are trained.
        dtype: type or policy of the layer.

    Shapes:
        (batch, F, T, C) in and out.

    Raises:
        ConfigError: the input is not a map of known size, or something is an object of Keras 3.
    """

    def __init__(
        self,
        *,
        depthwise_norm: bool = False,
        name: str | None = None,
        trainable: bool = True,
        dtype: Any = None,
    ) -> None:
        super().__init__(name=name, trainable=trainable, dtype=dtype)
        self.depthwise_norm = depthwise_norm

    def build(self, input_shape: tf.TensorShape) -> None:
        """Build the convolutions for a map of this shape."""
        self.require_map(input_shape)
        inputs = keras.Input(input_shape[1:])
        outputs = mirror_attention(inputs, depthwise_norm=self.depthwise_norm)
        self._attention = keras.Model(inputs, outputs)
        super().build(input_shape)

    def call(self, inputs: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        """Map of the same shape."""
        return self._attention(inputs, training=training)

    def get_config(self) -> dict[str, object]:
        """Arguments that rebuild the layer."""
        return {**super().get_config(), "depthwise_norm": self.depthwise_norm}
