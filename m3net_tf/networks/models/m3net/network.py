# SPDX-License-Identifier: Apache-2.0
"""M3Net: a few convolutions around a mirror attention.

Jiang et al., "M3Net: Efficient Time-Frequency Integration Network with Mirror Attention for Audio
Classification on Edge", AAAI 2025. The authors publish no code. Where the paper gives no details,
the choices reproduce the published number of parameters (docs/design/decisions.md).
"""

import dataclasses
import functools
from typing import Literal

from m3net_tf.networks.layers import Mirror, classifier, conv_block, ds_conv
from m3net_tf.networks.layers.convolution import NORM_MOMENTUM
from m3net_tf.networks.layers.mirror_attention import View, mirror_attention
from m3net_tf.networks.models.m3net.image import SpectrogramImage
from m3net_tf.networks.models.m3net.rearranged import Rearranged
from m3net_tf.system.errors import ConfigError
from m3net_tf.system.keras import keras, tf


@dataclasses.dataclass(frozen=True)
class Stage:
    """A convolution before (SFP) or after the mirror attention.

    Attributes:
        kernel: kernel size in (frequency, time).
        strides: strides in (frequency, time).
        pool: size of a max pooling after it; 1 = none.
        separable: True for a depthwise separable (DSConv), False for a standard convolution.
    """

    filters: int
    kernel: tuple[int, int] = (3, 3)
    strides: tuple[int, int] = (1, 1)
    pool: int = 1
    separable: bool = True

    def __call__(
        self, x: tf.Tensor, name: str, *, depthwise_norm: bool = False, time_padding: bool = True
    ) -> tf.Tensor:
        """Apply the stage; ``name`` is the prefix of its layers' names."""
        shape = (self.filters, self.kernel, self.strides, name)
        if self.separable:
            x = ds_conv(x, *shape, depthwise_norm=depthwise_norm, time_padding=time_padding)
        else:
            x = conv_block(x, *shape, time_padding=time_padding)
        if self.pool > 1:
            x = keras.layers.MaxPooling2D(self.pool, name=f"{name}_pool")(x)
        return x


@dataclasses.dataclass(frozen=True)
class Design:
    """Design of M3Net: its convolutions and its ablations.

    Attributes:
        sfp: shallow feature processing, the convolutions before the mirror attention; the
            ablation "w/o SFP" omits one.
        tail: the "standard" convolutions after it.
        image: (height, width) to which one-channel features are resized, with three channels;
            features that already have this shape are used directly.
        image_channels: kind of the three channels; see ``SpectrogramImage``.
        dropout: share of the pooled features dropped in training.
        depthwise_norm: add normalisation and ReLU between the two parts of every DSConv, so that
            small networks train better; the paper's DSConv has them only at the end.
        mirror_attention: False gives "w/o MA" (table 3).
        mfp: False gives "w/o MFP" (table 4).
        dfp: False gives "w/o DFP" (table 4).
        eca: channel attention in DFP (table 5).
        csf: centre-symmetric mirror in DFP (table 5).
        vmf: frequency mirror in MFP (table 5).
        hmf: time mirror in MFP (table 5).
        views: ``mirror``, or a control that puts the ``shuffle`` or the ``shift`` of
            :class:`.Rearranged` in place of each mirror (docs/evidence/mirror_attention.md).
        norm_momentum: share of the moving mean and variance that every training step keeps.
        time_padding: pad maps in time; without it the network streams at the cost of one column
            of each layer (docs/design/streaming.md). The mirror attention needs it.

    Raises:
        ConfigError: the mirror attention is on but both its branches are off, or without
            ``time_padding``.
    """

    sfp: tuple[Stage, ...]
    tail: tuple[Stage, ...]
    image: tuple[int, int] | None = None
    image_channels: Literal["delta", "replicate", "colormap"] = "delta"
    dropout: float = 0.0
    depthwise_norm: bool = False
    mirror_attention: bool = True
    mfp: bool = True
    dfp: bool = True
    eca: bool = True
    csf: bool = True
    vmf: bool = True
    hmf: bool = True
    views: Literal["mirror", "shuffle", "shift"] = "mirror"
    norm_momentum: float = NORM_MOMENTUM
    time_padding: bool = True

    def __post_init__(self) -> None:
        if not 0 <= self.norm_momentum < 1:
            raise ConfigError(f"model.norm_momentum is {self.norm_momentum}, not from 0 to below 1")
        if self.mirror_attention and not (self.mfp or self.dfp):
            raise ConfigError(
                "model.mfp and model.dfp are both off: set model.mirror_attention: false"
            )
        if self.mirror_attention and not self.time_padding:
            raise ConfigError(
                "model.time_padding: false needs model.mirror_attention: false, since the mirrors "
                "add maps of one size"
            )


def _view(design: Design) -> View:
    if design.views == "mirror":
        return Mirror
    return functools.partial(Rearranged, design.views)


def build(input_shape: tuple[int, int, int], classes: int, design: Design) -> keras.Model:
    """Build M3Net from top to bottom as in the paper's figure 2."""
    inputs = x = keras.Input(input_shape, name="features")  # (F, T, channels)
    if design.image and input_shape != (*design.image, 3):
        x = SpectrogramImage(*design.image, design.image_channels, name="image")(x)
    kinds = {"depthwise_norm": design.depthwise_norm, "time_padding": design.time_padding}
    for index, stage in enumerate(design.sfp, start=1):
        x = stage(x, f"sfp{index}", **kinds)
    if design.mirror_attention:
        x = mirror_attention(
            x,
            mfp=design.mfp,
            dfp=design.dfp,
            eca=design.eca,
            csf=design.csf,
            vmf=design.vmf,
            hmf=design.hmf,
            depthwise_norm=design.depthwise_norm,
            view=_view(design),
        )
    for index, stage in enumerate(design.tail, start=1):
        x = stage(x, f"tail{index}", **kinds)
    outputs = classifier(x, classes, design.dropout)
    model = keras.Model(inputs, outputs, name="m3net")
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = design.norm_momentum
    return model
