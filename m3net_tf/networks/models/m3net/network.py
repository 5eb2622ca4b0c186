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
from m3net_tf.networks.layers.mirror_attention import View, mirror_attention
from m3net_tf.networks.models.m3net.image import SpectrogramImage
from m3net_tf.networks.models.m3net.rearranged import Rearranged
from m3net_tf.networks.models.registry import Preset
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
    time_padding: bool = True

    def __post_init__(self) -> None:
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
    return keras.Model(inputs, outputs, name="m3net")


_PAPER = {
    "image": (256, 256),
    "sfp": (Stage(40, strides=(2, 2), pool=2), Stage(64, strides=(2, 2), pool=2)),
    "tail": (Stage(64),),
}

# A strided convolution instead of the first DSConv, a large frequency stride, and the mirrors on a
# map of 4 x 13: chosen on the validation split of Speech Commands within a Cortex-M4's limits.
_MCU = {
    "sfp": (
        Stage(32, kernel=(10, 5), strides=(5, 2), separable=False),
        Stage(64, strides=(2, 2)),
    ),
    "tail": (Stage(64),),
    "depthwise_norm": True,
    "dropout": 0.2,
}

# Two halves of the spectrum and every second frame: the mirrors get a map of 2 x 25. Keywords
# differ mainly in the timing of their sounds; chosen as above, against maps of 4 x 13 and 4 x 25.
_MCU_S = {
    **_MCU,
    "sfp": (
        Stage(64, kernel=(20, 5), strides=(20, 2), separable=False),
        Stage(64),
    ),
}


def _plain(filters: int, tail: int = 1, **changes: object) -> dict[str, object]:
    """Without mirrors: all 20 mel bins in one row, so that a wide map costs little.

    Chosen on the validation split of Speech Commands by ``m3net lab search``.
    """
    stem = Stage(filters, kernel=(20, 5), strides=(20, 2), separable=False)
    stages = {"sfp": (stem, Stage(filters)), "tail": (Stage(filters),) * tail}
    return {**_MCU, **stages, "mirror_attention": False, **changes}


# Wider maps before and in the mirror attention, for microcontrollers with more memory.
_MCU_M = {
    **_MCU,
    "sfp": (
        Stage(64, kernel=(10, 5), strides=(4, 2), separable=False),
        Stage(128, strides=(2, 2)),
    ),
    "tail": (Stage(128), Stage(128)),
}
_MCU_L = {
    **_MCU,
    "sfp": (
        Stage(64, kernel=(10, 5), strides=(2, 2), separable=False),
        Stage(224, strides=(2, 2)),
    ),
    "tail": (Stage(224), Stage(224), Stage(224)),
}

PRESETS = {
    "paper": Preset(
        input_shape=(256, 256, 3),
        classes=10,
        parameters=29_243,
        macs=11_379_520,
        summary="the paper's network, on a 256 x 256 x 3 image of the mel spectrogram",
        arguments=_PAPER,
    ),
    "mcu": Preset(
        input_shape=(40, 49, 1),
        parameters=31_599,
        macs=1_657_152,
        summary="for a Cortex-M4, on the int8 log-mel columns of the device's front end",
        arguments=_MCU,
    ),
    "s": Preset(
        input_shape=(40, 49, 1),
        parameters=39_055,
        macs=1_722_560,
        summary="64 kB of arena, 200 kB of weights, for keywords: whole time steps, two rows",
        arguments=_MCU_S,
    ),
    "plain": Preset(
        input_shape=(20, 49, 1),
        parameters=52_620,
        macs=1_198_336,
        summary="no mirror attention, 128 channels: 20 mel bins in one row, a column each 20 ms",
        arguments=_plain(128),
    ),
    # A hop costs one column of each layer, so that another layer is cheap. Chosen on the validation
    # split of Speech Commands (experiments/results/README.md).
    "plain_stream": Preset(
        input_shape=(20, 64, 1),
        parameters=71_436,
        macs=1_753_344,
        summary="`plain` without padding in time, a layer deeper: streams a column of each layer",
        arguments=_plain(128, tail=2, time_padding=False),
    ),
    "plain_m": Preset(
        input_shape=(20, 49, 1),
        parameters=103_500,
        macs=2_411_904,
        summary="no mirror attention, 192 channels: 20 mel bins in one row, a column each 20 ms",
        arguments=_plain(192),
    ),
    "plain_xs": Preset(
        input_shape=(20, 33, 1),
        parameters=55_404,
        macs=849_792,
        summary="no mirror attention, 96 channels: 20 mel bins in one row, a column each 30 ms",
        arguments=_plain(96, tail=3),
    ),
    # Two seconds of sound in real time at 25 MHz.
    "plain_xxs": Preset(
        input_shape=(20, 33, 1),
        parameters=23_436,
        macs=347_840,
        summary="no mirror attention, 64 channels: 20 mel bins in one row, a column each 30 ms",
        arguments=_plain(64, tail=2),
    ),
    "m": Preset(
        input_shape=(40, 49, 1),
        parameters=127_057,
        macs=8_211_136,
        summary="192 kB of arena, 500 kB of weights: 128 channels in the mirror attention",
        arguments=_MCU_M,
    ),
    "l": Preset(
        input_shape=(40, 49, 1),
        parameters=402_481,
        macs=51_037_088,
        summary="512 kB of arena, 1.5 MB of weights: 224 channels and maps of twice the height",
        arguments=_MCU_L,
    ),
}
