# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from m3net_tf.networks.layers import classifier, conv_block
from m3net_tf.quantization import ptq
from m3net_tf.quantization.ptq import choose_calibration, quantize_int8
from m3net_tf.runtime.interpreter import run_reference, tensor_quantization
from m3net_tf.system.errors import ModelError
from m3net_tf.system.keras import keras, tf

SHAPE = (8, 10, 1)


def network(block=lambda x: conv_block(x, 4), name: str = "tiny") -> keras.Model:
    keras.utils.set_random_seed(2)
    inputs = keras.Input(SHAPE)
    return keras.Model(inputs, classifier(block(inputs), 3), name=name)


def features(clips: int, reach: int = 128) -> np.ndarray:
    rng = np.random.default_rng(clips)
    return rng.integers(-reach, reach, (clips, *SHAPE)).astype(np.int8)


@settings(deadline=None)
@given(st.lists(st.integers(0, 4), min_size=1, max_size=80), st.integers(1, 90), st.integers(0, 9))
def test_calibration_clips_are_spread_over_the_classes(labels, count, seed):
    labels = np.array(labels, np.int32)
    chosen = choose_calibration(labels, count, seed)
    assert len(chosen) == min(count, len(labels))
    assert (np.diff(chosen) > 0).all()  # sorted, none twice
    np.testing.assert_array_equal(chosen, choose_calibration(labels, count, seed))
    drawn = np.bincount(labels[chosen], minlength=5)
    undrawn = np.bincount(labels, minlength=5) - drawn
    # A class may have fewer clips than another only if all its clips are drawn.
    assert drawn[undrawn > 0].min(initial=99) >= drawn.max() - 1


def test_calibration_depends_on_the_seed():
    labels = np.arange(100, dtype=np.int32) % 5
    assert choose_calibration(labels, 20, 0).tolist() != choose_calibration(labels, 20, 1).tolist()


def test_bytes_are_the_same_twice_and_the_ends_are_int8():
    # Calibration that reaches neither end of int8: the input's scale must not follow it.
    first, second = (quantize_int8(network(), features(20, reach=50)) for _ in range(2))
    assert first == second
    assert tensor_quantization(first, "input") == (1 / 128, 0)
    assert tensor_quantization(first, "output") == (1 / 256, -128)
    scores = run_reference(first, features(5))
    assert scores.dtype == np.int8
    assert scores.shape == (5, 3)


def test_calibration_itself_stays_as_it_is():
    calibration = features(20)
    before = calibration.copy()
    quantize_int8(network(), calibration)
    np.testing.assert_array_equal(calibration, before)


def test_a_layer_without_int8_form():
    erf = keras.layers.Lambda(tf.math.erf, name="bend")
    message = "crooked has a layer without int8 form: replace it"
    with pytest.raises(ModelError, match=message) as caught:
        quantize_int8(network(erf, "crooked"), features(4))
    assert "\n" not in str(caught.value)


def test_an_input_scale_that_is_not_the_front_ends(monkeypatch):
    monkeypatch.setattr(ptq, "tensor_quantization", lambda *_: (0.5, 3))
    message = "tiny's int8 input has scale 0.5 and zero point 3 instead of 0.0078125 and 0"
    with pytest.raises(ModelError, match=message):
        quantize_int8(network(), features(4))
