# SPDX-License-Identifier: Apache-2.0
"""Softmax over rows of any length: TFLite Micro's bytes, which stops where a sum reaches 512."""

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from reference import run_micro
from refusals import refuses
from single_operators import Item, write_model

from m3net_tf.compiler.host import build_host
from m3net_tf.compiler.network import compile_network
from m3net_tf.runtime.interpreter import tflm_unavailable_reason
from m3net_tf.system.errors import ModelError

LENGTHS = (511, 512, 1024, 4095, 4096, 8191, 8192, 20_000)
LARGEST_TO_16 = 4095  # TFLite Micro's sum overflows where 4096 items are equal
SCALE = 0.1


def softmax_of(length, wide=False):
    options = schema.SoftmaxOptionsT(beta=1.0)
    shape = 1, length
    output = Item(shape, 1 / 256, -128)
    if wide:
        output = Item(shape, 1 / 65536, -32768, dtype="int16")
    return write_model("SOFTMAX", [Item(shape, SCALE, 0)], [output], options)


@pytest.fixture(scope="module")
def hosts(tmp_path_factory):
    networks = {f"softmax_{length}": compile_network(softmax_of(length)) for length in LENGTHS}
    built = build_host(networks, tmp_path_factory.mktemp("softmax"))
    return {length: built[f"softmax_{length}"] for length in LENGTHS}


def rows(length):
    """Equal items, noise, and one item far above the others."""
    rng = np.random.default_rng(length)
    above = np.full(length, -60, np.int8)
    above[length // 2] = 127
    return [np.full(length, 5, np.int8), rng.integers(-128, 128, length).astype(np.int8), above]


@pytest.mark.parametrize("length", LENGTHS)
def test_every_item_is_within_a_step_of_the_true_share(length, hosts):
    for values in rows(length):
        shares = np.exp(SCALE * (values.astype(float) - values.max()))
        expected = np.clip(256 * shares / shares.sum() - 128, -128, 127)
        (output,) = hosts[length].run(values[None])
        assert np.abs(output[0] - expected).max() < 0.6, values[:3]


@pytest.mark.skipif(bool(tflm_unavailable_reason()), reason="TFLite Micro is not there")
@pytest.mark.parametrize("length", LENGTHS)
def test_the_bytes_of_tflite_micro_where_it_does_not_stop(length, hosts):
    for values in rows(length):
        sum_of_exponentials = np.exp(SCALE * (values.astype(float) - values.max())).sum()
        if sum_of_exponentials < 511.5:
            (expected,) = run_micro(softmax_of(length), [values[None]], 1)
            (output,) = hosts[length].run(values[None])
            np.testing.assert_array_equal(output, expected)


@pytest.mark.skipif(bool(tflm_unavailable_reason()), reason="TFLite Micro is not there")
def test_shares_of_16_bits_are_the_bytes_of_tflite_micro(tmp_path):
    tflite = softmax_of(LARGEST_TO_16, wide=True)
    host = build_host({"network": compile_network(tflite)}, tmp_path)["network"]
    for values in rows(LARGEST_TO_16):
        (expected,) = run_micro(tflite, [values[None]], 1)
        np.testing.assert_array_equal(host.run(values[None])[0], expected)


def test_shares_of_16_bits_of_a_longer_row_are_refused():
    with refuses(ModelError, "SOFTMAX", "too many items"):
        compile_network(softmax_of(LARGEST_TO_16 + 1, wide=True))
