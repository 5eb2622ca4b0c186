# SPDX-License-Identifier: Apache-2.0
"""The arena of a 32-bit core, estimated on this computer."""

import numpy as np
import pytest

from m3net_tf.boards.deployment.arena_estimate import Buffer, Graph, estimate_arena, planned_bytes
from m3net_tf.quantization.ptq import quantize_int8, quantize_int16x8
from m3net_tf.runtime.interpreter import host_allocations, tflm_unavailable_reason
from m3net_tf.system.keras import keras

needs_tflm = pytest.mark.skipif(
    bool(tflm_unavailable_reason()), reason=tflm_unavailable_reason() or "TFLite Micro is there"
)


@pytest.fixture(scope="module")
def network():
    """Two branches and a depthwise convolution that CMSIS-NN gives scratch memory, 5 x 5."""
    keras.utils.set_random_seed(3)
    layers = keras.layers
    inputs = layers.Input((16, 16, 1))
    x = layers.Conv2D(16, 3, strides=2, padding="same", activation="relu")(inputs)
    y = layers.DepthwiseConv2D(5, padding="same")(x)
    x = layers.Conv2D(8, 1)(layers.Concatenate()([x, y]))
    x = layers.Conv2D(4, 1)(layers.AveragePooling2D(8)(x))
    return keras.Model(inputs, layers.Softmax()(layers.Flatten()(x)))


FEATURES = np.random.default_rng(0).integers(-128, 128, (8, 16, 16, 1)).astype(np.int8)


@pytest.fixture(scope="module")
def tflite(network):
    return quantize_int8(network, FEATURES)


@pytest.mark.parametrize(
    ("buffers", "expected"),
    [
        ([], 0),
        ([Buffer(32, 0, 1), Buffer(48, 1, 2)], 80),
        ([Buffer(32, 0, 1), Buffer(48, 2, 3)], 48),  # never both: one place
        # 64 is below, 48 on top of it; 32 and 16 share the gap that 64 leaves at step 2.
        ([Buffer(64, 0, 1), Buffer(48, 1, 2), Buffer(32, 2, 3), Buffer(16, 2, 2)], 112),
        # No gap is large enough: 48 at step 2 goes on top.
        ([Buffer(64, 0, 1), Buffer(56, 1, 2), Buffer(48, 2, 2), Buffer(40, 2, 2)], 160),
    ],
)
def test_the_plan_by_hand(buffers, expected):
    assert planned_bytes(buffers) == expected


@needs_tflm
def test_the_plan_is_that_of_tflite_micro(tflite):
    head, _ = host_allocations(tflite)
    assert planned_bytes(Graph(tflite).buffers()) == head


def test_scratch_memory_is_cmsis_nns(tflite):
    # By the formulas of arm_..._get_buffer_size: convolution 3 x 3 of one channel 4 * 12,
    # depthwise 5 x 5 of 16 channels 2 * 25 * 16, mean of 8 channels 4 * 8; 1 x 1 needs none.
    sizes = {kernels: [b.size for b in Graph(tflite).scratch(kernels)] for kernels in SCRATCH}
    assert sizes == SCRATCH


SCRATCH = {
    "plain": [48],
    "dsp": [48, 800, 32],
    "helium": [64, 4 * 124 * 25],
}


def test_scratch_memory_under_16_bit_activations(network):
    # Convolutions ask for 4 bytes a weight of a filter, 1 x 1 too; a depthwise one asks as in int8.
    wide = Graph(quantize_int16x8(network, FEATURES))
    assert [b.size for b in wide.scratch("dsp")] == [48, 800, 128, 32, 32]


@needs_tflm
def test_networks_that_share_an_arena_share_its_head(tflite):
    head, tail = host_allocations(tflite)
    one_network, two_networks = (estimate_arena([tflite] * count, "plain") for count in (1, 2))
    assert two_networks.used_bytes - one_network.used_bytes == one_network.used_bytes - head
    assert one_network.used_bytes < head + tail  # pointers of 32 bits
    assert one_network.used_bytes < estimate_arena([tflite], "helium").used_bytes


@needs_tflm
def test_planning_counts_where_it_takes_more_than_the_run(tflite):
    estimate = estimate_arena([tflite], "plain")
    assert estimate.needed_bytes == estimate.used_bytes
    keras.utils.set_random_seed(4)
    inputs = x = keras.layers.Input((2, 2, 1))
    for _ in range(12):
        x = keras.layers.Conv2D(2, 1)(x)
    chain = keras.Model(inputs, keras.layers.Softmax()(keras.layers.Flatten()(x)))
    features = np.random.default_rng(0).integers(-128, 128, (8, 2, 2, 1)).astype(np.int8)
    estimate = estimate_arena([quantize_int8(chain, features)], "plain")
    assert estimate.needed_bytes > estimate.used_bytes
