# SPDX-License-Identifier: Apache-2.0
"""A small network in int8: on TFLite Micro's operators, close to float, the same bytes."""

import numpy as np
import pytest

from m3net_tf.export.operators import operators_of
from m3net_tf.quantization.ptq import quantize_int8
from m3net_tf.runtime.interpreter import run_reference, run_tflm, tflm_unavailable_reason
from m3net_tf.system.keras import keras, tf


def check_int8(model: keras.Model, operators: set[str]) -> np.ndarray:
    """Let a network's normalisations see noise, quantise it and compare.

    Args:
        model: network with untrained weights.
        operators: those that its int8 form may have.

    Returns:
        int8 scores of eight maps of noise, shape (8, classes).
    """
    shape = (40, *model.input_shape[1:])
    maps = np.random.default_rng(0).integers(-128, 128, shape).astype(np.int8)
    for _ in range(10):
        model(tf.constant(maps[:16] / 128, tf.float32), training=True)
    tflite = quantize_int8(model, maps[:32])
    assert set(operators_of(tflite)) <= operators  # refuses what TFLite Micro lacks
    scores = run_reference(tflite, maps[32:])
    expected = model(maps[32:] / np.float32(128)).numpy()
    np.testing.assert_allclose((scores + 128.0) / 256, expected, atol=0.02)
    if reason := tflm_unavailable_reason():
        pytest.skip(reason)
    np.testing.assert_array_equal(run_tflm(tflite, maps[32:]), scores)
    return scores
