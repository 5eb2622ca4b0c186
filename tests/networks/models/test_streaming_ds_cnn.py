# SPDX-License-Identifier: Apache-2.0
"""MLPerf Tiny's streaming wake word: the published layers, and what a hop computes."""

import numpy as np
import pytest
from refusals import refuses

from m3net_tf.compiler.streaming.network import stream_network
from m3net_tf.export.untrained import quantize_untrained
from m3net_tf.networks.models import build_model
from m3net_tf.system.errors import ConfigError


def test_the_layers_are_those_of_the_published_file():
    model = build_model("streaming_ds_cnn", "mlperf")
    shapes = {layer.name: layer.output_shape[1:] for layer in model.layers}
    # Origin: str_ww_ref_model.tflite, (frames, 1, channels) there.
    expected = {"ds1_dw": (1, 28, 40), "ds2_dw": (1, 24, 128), "ds3_dw": (1, 15, 128)}
    expected |= {"ds3_relu": (1, 15, 128), "last_dw": (1, 1, 128), "last_relu": (1, 1, 32)}
    assert expected.items() <= shapes.items()


def test_a_hop_computes_one_column_of_each_layer():
    maps = np.random.default_rng(0).integers(-128, 128, (4, 40, 30, 1)).astype(np.int8)
    network = quantize_untrained(build_model("streaming_ds_cnn", "mlperf"), maps)
    push = stream_network(network.tflite, 2).push
    assert (push.hop, push.window) == (1, 30)
    assert (push.products, push.window_products) == (46_040, 826_368)


def test_a_stride_halves_the_decisions_and_each_computes_one_column():
    maps = np.random.default_rng(0).integers(-128, 128, (4, 40, 69, 1)).astype(np.int8)
    network = quantize_untrained(build_model("streaming_ds_cnn", "wake"), maps)
    push = stream_network(network.tflite, 2).push
    assert (push.hop, push.window) == (2, 69)
    assert (push.products, push.window_products) == (38_560, 834_640)


@pytest.mark.parametrize(
    ("preset", "shape", "least"),
    [
        ("mlperf", (40, 15, 1), 16),
        ("mlperf", (40, 30, 2), 16),
        ("wake", (40, 34, 1), 35),
        ("wake", (10, 69, 1), 35),
    ],
)
def test_shapes_that_do_not_fit(preset, shape, least):
    with refuses(ConfigError, "channel", f"{least} frames"):
        build_model("streaming_ds_cnn", preset, input_shape=shape)


def test_a_stem_has_two_numbers_of_channels():
    with refuses(ConfigError, "stem is [8]", "two numbers"):
        build_model("streaming_ds_cnn", "wake", overrides={"stem": (8,)})


def test_the_least_frames_fit():
    assert build_model("streaming_ds_cnn", "wake", input_shape=(11, 35, 1)).output_shape == (
        None,
        2,
    )
