# SPDX-License-Identifier: Apache-2.0
"""SpectroMaskNet: global attention on a spectrogram and local attention on its masked copy.

Chen et al., "A lightweight dual branch masking network for environmental sound classification".
The paper gives 2.7 million parameters but not their distribution. Where it gives no details, the
choices reproduce this number (docs/design/decisions.md).
"""

import dataclasses
from collections.abc import Sequence
from typing import Annotated, Literal

from msgspec import Meta

from m3net_tf.networks.layers.masked import CentredBins, FrameMask, GroupNorm, MapMean
from m3net_tf.networks.models.spectromasknet.block_mask import BlockMask
from m3net_tf.networks.models.spectromasknet.fusion import WeightedFusion
from m3net_tf.networks.models.spectromasknet.global_attention import global_attention
from m3net_tf.networks.models.spectromasknet.local_attention import local_attention
from m3net_tf.system.conversion import AtLeastOne, NotNegative
from m3net_tf.system.errors import ConfigError
from m3net_tf.system.keras import keras, tf

Attention = Literal["global", "local", "se", "none", "off"]


@dataclasses.dataclass(frozen=True)
class Design:
    """Design of SpectroMaskNet: its sizes, attentions and masks.

    Attributes:
        modules: number of attention modules in each stage.
        channels: channels of each stage.
        strides: stride of each stage's first convolution, along both axes.
        complete: attention of the branch with the complete map: ``global``, ``local``, ``se``
            (squeeze and excitation), ``none`` (convolutions only), or ``off`` to omit the branch.
        masked: the same for the branch with the masked map. Table 4 has global/local,
            local/global, se/se, none/none.
        mask: ``random``, ``grid``, ``high_energy`` or ``none``; masks act only in training.
        mask_parameters: ``fixed``, or ``learnable`` block and ratio.
        mask_block: edge of a fixed block in bins and frames.
        mask_ratio: share of the map that fixed masks hide.
        fusion_l2: factor of the penalty on lambda.
        expansion: factor of the inner channels of local feature enhancement.
        reduction: factor of the hidden layer of channel attentions.
        groups: groups of the normalisation.
        dropout: share of the fused features dropped in training.
        centre_bins: subtract each bin's mean over the clip from the input, as the public toolkit
            does whose names of schedules and features the paper uses.
        lengths: add a second input ``lengths``, (batch, 1), with each clip's number of frames;
            later frames do not affect the output. The weights have the same names as without it;
            their order may differ.

    Raises:
        ConfigError: tables of unequal length, or both branches off.
    """

    modules: tuple[AtLeastOne, ...] = (2, 3, 3, 2)
    channels: tuple[AtLeastOne, ...] = (16, 32, 48, 64)
    strides: tuple[AtLeastOne, ...] = (1, 2, 2, 1)
    complete: Attention = "global"
    masked: Attention = "local"
    mask: Literal["random", "grid", "high_energy", "none"] = "random"
    mask_parameters: Literal["fixed", "learnable"] = "fixed"
    mask_block: Annotated[float, Meta(ge=1)] = 10.0
    mask_ratio: Annotated[float, Meta(gt=0, lt=1)] = 0.5
    fusion_l2: NotNegative = 1e-4
    expansion: int = 12
    reduction: int = 8
    groups: AtLeastOne = 4
    dropout: float = 0.0
    centre_bins: bool = False
    lengths: bool = False

    def __post_init__(self) -> None:
        tables = {"modules": self.modules, "channels": self.channels, "strides": self.strides}
        if len({len(table) for table in tables.values()}) != 1 or not self.modules:
            counts = ", ".join(f"model.{name} has {len(table)}" for name, table in tables.items())
            raise ConfigError(f"stages differ in number ({counts}): give each the same, at least 1")
        if self.complete == self.masked == "off":
            raise ConfigError("model.complete and model.masked are both off: leave one on")


def build(input_shape: tuple[int, int | None, int], classes: int, design: Design) -> keras.Model:
    """Build SpectroMaskNet from top to bottom as in the paper's figures 1 and 2.

    The number of frames may be None, for batches padded to their longest clip. With ``lengths`` the
    input is a dict of ``features`` and ``lengths``.
    """
    inputs = x = keras.Input(input_shape, name="features")  # (F, T, channels)
    count = keras.Input((1,), dtype="int32", name="lengths") if design.lengths else None
    valid = None
    if design.lengths:
        valid = FrameMask(name="frames")(x, lengths=count)  # (batch, 1, T, 1)
        x = keras.layers.Multiply(name="features_keep")([x, valid])
    if design.centre_bins:
        x = CentredBins(name="centred_bins")(x, valid=valid)  # (F, T, channels)
    stages = list(zip(design.modules, design.channels, design.strides, strict=True))

    branches = []
    if design.complete != "off":
        is_global = design.complete != "local"
        y, y_valid = _stages(x, count, stages, design.complete, is_global, "complete", design)
        branches.append(MapMean(name="complete_pool")(y, valid=y_valid))  # (1, 1, 64)
    if design.masked != "off":
        if design.mask != "none":
            learnable = design.mask_parameters == "learnable"
            x = BlockMask(
                design.mask, design.mask_block, design.mask_ratio, learnable=learnable, name="mask"
            )(x, valid=valid)
        is_global = design.masked == "global"
        y, y_valid = _stages(x, count, stages, design.masked, is_global, "masked", design)
        branches.append(MapMean(name="masked_pool")(y, valid=y_valid))  # (1, 1, 64)

    fused = branches[0]
    if len(branches) == 2:
        fused = WeightedFusion(l2=design.fusion_l2, name="fusion")(branches)
    if design.dropout:
        fused = keras.layers.Dropout(design.dropout, name="dropout")(fused)
    logits = keras.layers.Conv2D(classes, 1, name="dense")(fused)  # (1, 1, classes)
    logits = keras.layers.Flatten(name="logits")(logits)
    outputs = keras.layers.Softmax(dtype="float32", name="probabilities")(logits)
    feeds = {"features": inputs, "lengths": count} if design.lengths else inputs
    return keras.Model(feeds, outputs, name="spectromasknet")


def learnt(model: keras.Model, features: tf.Tensor) -> dict[str, float]:
    """Learnt quantities for the training log: ``lambda``, ``mask_block``, ``mask_ratio``.

    They do not depend on features. A single branch has no lambda, and fixed masks have no learnt
    size or ratio.
    """
    values: dict[str, float] = {}
    for layer in model.layers:
        if isinstance(layer, WeightedFusion | BlockMask):
            values.update(layer.learnt())
    return values


def _stages(
    x: tf.Tensor,
    lengths: tf.Tensor | None,
    stages: Sequence[tuple[int, int, int]],
    attention: str,
    is_global: bool,
    branch: str,
    design: Design,
) -> tuple[tf.Tensor, tf.Tensor | None]:
    """One branch: each stage has a convolution to more channels, then attention modules.

    Returns the last map, (batch, F / 4, T / 4, 64) in the paper's sizes, and its frames' mask.
    """
    step, valid = 1, None
    for number, (modules, channels, stride) in enumerate(stages, start=1):
        name = f"{branch}{number}"
        step *= stride
        x = _strided_conv(x, channels, 7 if is_global else 3, stride, f"{name}_in")
        if lengths is not None:
            valid = FrameMask(step, name=f"{name}_frames")(x, lengths=lengths)  # (1, T / step, 1)
        x = GroupNorm(design.groups, name=f"{name}_in_norm")(x, valid=valid)
        x = keras.layers.ReLU(name=f"{name}_in_relu")(x)  # (F / step, T / step, channels)
        for index in range(1, modules + 1):
            sizes = {"reduction": design.reduction, "groups": design.groups}
            module = f"{name}_{index}"
            if is_global:
                x = global_attention(x, attention=attention, **sizes, valid=valid, name=module)
            else:
                sizes["expansion"] = design.expansion
                x = local_attention(x, attention=attention, **sizes, valid=valid, name=module)
    return x, valid


def _strided_conv(x: tf.Tensor, filters: int, kernel: int, stride: int, name: str) -> tf.Tensor:
    """First convolution of a stage, padded equally on both sides.

    Keras's own padding is asymmetric on maps of even size, so the same clip would give another
    result in a batch of longer clips.
    """
    padding = "same"
    if stride > 1:
        x = keras.layers.ZeroPadding2D(kernel // 2, name=f"{name}_pad")(x)
        padding = "valid"
    return keras.layers.Conv2D(
        filters, kernel, stride, padding=padding, use_bias=False, name=f"{name}_conv"
    )(x)
