# SPDX-License-Identifier: Apache-2.0
"""Arguments that a layer or a network refuses: in one line that names the key and its value."""

import numpy as np
import pytest
from refusals import refuses

from m3net_tf.networks.layers.diffres import DiffRes
from m3net_tf.networks.layers.diffres.warp import FrameScores, FrameWarp, frames_after
from m3net_tf.networks.layers.mirror import Mirror
from m3net_tf.networks.models import build_model
from m3net_tf.networks.models.bc_resnet.broadcasted import SubSpectralNorm
from m3net_tf.networks.models.bilateral.transformer import DotProductAttention
from m3net_tf.networks.models.learnable_frontend.filterbank import SincMagnitude
from m3net_tf.networks.models.m3net.image import SpectrogramImage
from m3net_tf.networks.models.spectromasknet.block_mask import BlockMask
from m3net_tf.system.errors import ConfigError

SMALL = {"name": "m3net", "preset": "mcu"}


def zeros(*shape: int) -> np.ndarray:
    return np.zeros(shape, np.float32)


LAYERS = {
    "set time, frequency or both": lambda: Mirror(),
    "1 channel, not 3": lambda: SpectrogramImage(4, 4)(zeros(1, 4, 5, 3)),
    "3 attention heads cannot share 8": lambda: DotProductAttention(3)([zeros(1, 1, 6, 8)] * 3),
    "4 bins cannot have 5 bands": lambda: SubSpectralNorm(5)(zeros(1, 4, 6, 2)),
    "guide_weight is -1": lambda: FrameScores(0.5, guide_weight=-1),
    "energy_floor is -0.1": lambda: FrameScores(0.5, energy_floor=-0.1),
    "'log2'": lambda: FrameWarp(4, log="log2"),
    "are 3 and 3": lambda: FrameWarp(4, feature_min=3, feature_max=3),
    "channel, not 3": lambda: FrameWarp(4)([zeros(1, 5, 8, 3), zeros(1, 8)]),
    "max_hz 7800": lambda: SincMagnitude(4, 41, sample_rate_hz=8000),
    "4 bins is too small": lambda: BlockMask(learnable=True)(zeros(1, 4, 50, 1)),
}


@pytest.mark.parametrize("named", LAYERS)
def test_a_layer(named):
    with pytest.raises(ConfigError) as caught:
        LAYERS[named]()
    assert named in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("reduction", [5, 0, 1, -0.5, float("nan"), "0.5", None, True])
def test_a_reduction(reduction):
    for use in (DiffRes, FrameScores, lambda share: frames_after(10, share)):
        with refuses(ConfigError, "reduction"):
            use(reduction)


NETWORKS = {
    "baselines/mobilenet_v3_small": [
        ({"body": "vgg16"}, "'vgg16'"),
        ({"shape": (40, 49, 2)}, "1 or 3 channels, not 2"),
    ],
    "bc_resnet/tau1": [
        ({"shape": (32, 98, 1)}, "not 32: change frontend.mel_bins"),
        ({"tau": 0.1}, "model.tau is 0.1"),
        ({"bands": 0}, "bands is 0"),
    ],
    "bilateral/small": [
        ({"semantic": False, "detail": False}, "model.detail are both off"),
        ({"fusion": "mean"}, "fusion is 'mean'"),
        ({"fd_modules": "AAXBR"}, "fd_modules is 'AAXBR'"),
        ({"fd_modules": "AAB"}, "semantic_filters"),
        ({"detail_filters": [4, 4, 8]}, "detail_filters 3"),
        ({"token_filters": 7}, "token_filters is 7"),
        ({"token_step": 0}, "token_step is 0"),
        ({"stem_step": 0}, "stem_step is 0"),
        ({"heads": 3}, "3 attention heads"),
        ({"heads": 0}, "heads is 0"),
        ({"garm": "yes"}, "model.arguments.garm is 'yes'"),
        ({"shape": (40, 98, 1)}, "not (40, 98, 1)"),
        ({"shape": (1, 4000, 2)}, "not (1, 4000, 2)"),
        ({"early_exits": True, "head": "sigmoid"}, "early exits"),
    ],
    "diffres/mcu": [
        ({"method": "maxpool"}, "'maxpool'"),
        ({"classifier": {"name": "m3net"}}, "'preset' is missing"),
        ({"classifier": {**SMALL, "size": 3}}, "unknown key 'size'"),
        ({"classifier": {**SMALL, "name": "diffres"}}, "classifier.name is diffres"),
        ({"classifier": {**SMALL, "name": "m4net"}}, "unknown model 'm4net'"),
        ({"classifier": {**SMALL, "preset": "xxl"}}, "unknown preset 'xxl'"),
        ({"reading": "code"}, "reading is 'code'"),
        ({"reduction": 1.0}, "reduction is 1.0"),
        ({"feature_range": {"min": 3}}, "unknown key 'min' in section 'model.arguments.feature"),
        ({"feature_range": {"log": "log2"}}, "'log2'"),
        ({"shape": (40, 50, 3)}, "1 channel, not 3"),
    ],
    "efficientnet_attention/b0": [
        ({"heads": 0}, "heads is 0"),
        ({"backbone": "b9"}, "backbone is 'b9': choose one of b0, b2"),
    ],
    "learnable_frontend/leaf": [
        ({"frontend": "mel"}, "'mel'"),
        ({"classifier": {"name": "learnable_frontend", "preset": "leaf"}}, "is learnable_frontend"),
        ({"classifier": {"name": "diffres", "preset": "mcu"}}, "cannot follow learnable"),
        ({"window_s": 0.2, "shape": (1, 1600, 1)}, "windows of 3200 samples at a hop of 160"),
        ({"hop_s": 0.0}, "at a hop of 0"),
        ({"max_hz": 9000.0}, "the sample rate, 8000"),
        ({"bins": 0}, "bins is 0"),
        ({"shape": (40, 98, 1)}, "not (40, 98, 1): set frontend.kind"),
    ],
    "m3net/mcu": [
        ({"sfp": [{"filters": 8, "width": 3}]}, "section 'model.arguments.sfp[0]'"),
        ({"mirrors": 3}, "unknown key 'mirrors' in section 'model.arguments'"),
        ({"classes": 3}, "unknown key 'classes' in section 'model.arguments'"),
        ({"head": "linear"}, "'linear'"),
        ({"views": "turn"}, "views is 'turn'"),
        ({"norm_momentum": 1.0}, "model.norm_momentum is 1.0, not from 0 to below 1"),
        ({"image_channels": "rainbow"}, "choose one of delta, replicate, colormap"),
        ({"mfp": False, "dfp": False}, "model.dfp are both off: set model.mirror_attention"),
        ({"time_padding": False}, "model.time_padding: false needs model.mirror_attention: false"),
        ({"sfp": [{"filters": 8, "pool": 64}]}, "model m3net"),
        ({"sfp": 3}, "model.arguments.sfp is 3"),
        ({"sfp": [3]}, "model.arguments.sfp[0]"),
        ({"sfp": [{"kernel": [3, 3]}]}, "'filters' is missing in section 'model.arguments.sfp[0]'"),
        ({"sfp": [{"filters": "many"}]}, "model.arguments.sfp[0].filters"),
        ({"sfp": [{"filters": 8, "strides": [2, 1]}]}, "model m3net"),
        ({"dropout": 1.5}, "model m3net"),
        ({"dropout": "half"}, "model.arguments.dropout"),
        ({"dropout": True}, "model.arguments.dropout"),
        ({"mirror_attention": "off"}, "model.arguments.mirror_attention"),
    ],
    "m3net/huge": [({}, "unknown preset 'huge' of model m3net")],
    "sparknet/mcu": [
        ({"shape": (40, 49, 3)}, "one channel, not 3"),
        ({"filters": 0}, "filters is 0"),
        ({"noise": 0.0}, "noise is 0.0"),
        ({"sparsity": -1.0}, "sparsity is -1.0"),
    ],
    "spectromasknet/mcu": [
        ({"complete": "loud"}, "complete is 'loud'"),
        ({"masked": "dense"}, "masked is 'dense'"),
        ({"complete": "off", "masked": "off"}, "are both off"),
        ({"mask": "round"}, "mask is 'round'"),
        ({"mask_parameters": "free"}, "mask_parameters is 'free'"),
        ({"mask_ratio": 1.5}, "mask_ratio is 1.5"),
        ({"mask_ratio": 0.0}, "mask_ratio is 0.0"),
        ({"mask_block": 0.5}, "mask_block is 0.5"),
        ({"fusion_l2": -1.0}, "fusion_l2 is -1.0"),
        ({"groups": 0}, "groups is 0"),
        ({"modules": [1], "channels": [8, 16]}, "modules has 1, model.channels has 2"),
        ({"modules": [], "channels": [], "strides": []}, "at least 1"),
        ({"channels": [8, 0], "modules": [1, 1], "strides": [1, 2]}, "channels[1] is 0"),
        ({"channels": [8, 8], "modules": [1, 1], "strides": [1, 0.5]}, "strides[1] is 0.5"),
        ({"expansion": "wide"}, "model.arguments.expansion is 'wide'"),
        ({"masks": 3}, "unknown key 'masks' in section 'model.arguments'"),
    ],
}
SHAPES = {"bilateral": (1, 8000, 1), "learnable_frontend": (1, 16_000, 1)}


@pytest.mark.parametrize(
    ("name", "changes", "named"),
    [(name, changes, named) for name, rows in NETWORKS.items() for changes, named in rows],
)
def test_a_network(name, changes, named):
    model, preset = name.split("/")
    arguments = {key: value for key, value in changes.items() if key not in ("shape", "head")}
    shape = changes.get("shape", SHAPES.get(model, (40, 98, 1)))
    with pytest.raises(ConfigError) as caught:
        build_model(
            model,
            preset,
            input_shape=shape,
            classes=3,
            overrides=arguments,
            head=changes.get("head", "softmax"),
        )
    assert named in str(caught.value) and "\n" not in str(caught.value)
