# SPDX-License-Identifier: Apache-2.0
"""MobileNet compared with YAMNet's layers."""

import pytest
from refusals import refuses

from m3net_tf.audio.frontend import frontend_preset
from m3net_tf.networks.models import build_model, presets_of
from m3net_tf.system.errors import ConfigError


def test_the_largest_has_the_layers_of_yamnet():
    """Origin: yamnet.py in tensorflow/models, research/audioset/yamnet."""
    model = build_model("mobilenet", "sounds_l")
    layers = [model.get_layer("stem_conv")]
    layers += [model.get_layer(f"block{number}_pw") for number in range(1, 9)]
    shapes = [layer.output_shape[1:] for layer in layers]
    assert shapes == [
        (32, 48, 32),
        *[(32, 48, 64), (16, 24, 128), (16, 24, 128), (8, 12, 256), (8, 12, 256)],
        *[(4, 6, 512), (4, 6, 512), (4, 6, 512)],
    ]


@pytest.mark.parametrize("preset", ["sounds_s", "sounds_m", "sounds_l"])
def test_its_input_is_a_patch_of_yamnets_front_end(preset):
    bins, frames, _ = presets_of("mobilenet")[preset].input_shape
    frontend = frontend_preset("yamnet", hop_ms=960 / frames)
    assert (frontend.feature_bins, frontend.frame_count(15_600)) == (bins, frames)


def test_channels_and_strides_belong_together():
    with refuses(ConfigError, "mobilenet", "sounds_s"):
        build_model("mobilenet", "sounds_s", overrides={"strides": (1, 2)})
