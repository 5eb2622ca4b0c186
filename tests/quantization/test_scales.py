# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from single_operators import Item, write_network

from m3net_tf.quantization import ptq
from m3net_tf.quantization.ptq import quantize_int8
from m3net_tf.quantization.scales import align_scales
from m3net_tf.runtime.interpreter import run_reference, run_tflm, tflm_unavailable_reason
from m3net_tf.system.keras import keras

SHAPE = (8, 10, 4)


def features(clips: int) -> np.ndarray:
    return np.random.default_rng(clips).integers(-128, 128, (clips, *SHAPE)).astype(np.int8)


@pytest.fixture(scope="module")
def unaligned() -> bytes:
    """Products joined to others by a concatenation, and a product of those."""
    keras.utils.set_random_seed(1)
    inputs = keras.Input(SHAPE)
    a, b, c = (keras.layers.Conv2D(4, 1)(inputs) for _ in range(3))
    joined = keras.layers.Concatenate()([a * b, b * c])
    pooled = keras.layers.AveragePooling2D(SHAPE[:2])(joined)
    outputs = keras.layers.Conv2D(3, 1)(joined * pooled)
    model = keras.Model(inputs, keras.layers.Flatten()(outputs), name="products")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ptq, "align_scales", lambda tflite: tflite)
        return quantize_int8(model, features(8))


def multipliers(tflite: bytes) -> list[tuple[int, int]]:
    """Fixed-point multiplier of each MUL in single precision and in double."""
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAsModel(tflite, 0))
    graph = model.subgraphs[0]
    pairs = []
    for operator in graph.operators:
        if model.operatorCodes[operator.opcodeIndex].builtinCode == schema.BuiltinOperator.MUL:
            tensors = (*operator.inputs, *operator.outputs)
            a, b, c = (np.float32(graph.tensors[i].quantization.scale[0]) for i in tensors)
            pair = float(a * b / c), float(a) * float(b) / float(c)
            pairs.append(tuple(round(np.frexp(value)[0] * 2**31) for value in pair))
    return pairs


def test_both_precisions_give_the_same_multipliers(unaligned):
    before = multipliers(unaligned)
    after = multipliers(align_scales(unaligned))
    assert len(before) == len(after) == 3
    assert any(single != double for single, double in before)
    assert all(single == double for single, double in after)


def test_nothing_but_scales_changes_and_those_little(unaligned):
    aligned = align_scales(unaligned)
    assert len(aligned) == len(unaligned)
    assert align_scales(aligned) == aligned
    old, new = (
        schema.ModelT.InitFromObj(schema.Model.GetRootAsModel(tflite, 0)).subgraphs[0].tensors
        for tflite in (unaligned, aligned)
    )
    for first, second in zip(old, new, strict=True):
        if first.quantization is not None and first.quantization.scale is not None:
            np.testing.assert_allclose(
                second.quantization.scale, first.quantization.scale, rtol=5e-4
            )
    clips = features(6)
    difference = run_reference(aligned, clips).astype(int) - run_reference(unaligned, clips)
    assert np.abs(difference).max() <= 1


@pytest.mark.skipif(bool(tflm_unavailable_reason()), reason="TFLite Micro is missing")
def test_same_bytes(unaligned):
    aligned = align_scales(unaligned)
    clips = features(200)
    np.testing.assert_array_equal(run_tflm(aligned, clips), run_reference(aligned, clips))


@pytest.mark.skipif(bool(tflm_unavailable_reason()), reason="TFLite Micro is missing")
@pytest.mark.parametrize(("kind", "scale"), [("LOGISTIC", 1 / 256), ("TANH", 1 / 128)])
def test_values_between_two_integers(kind, scale):
    # Origin: the preset m of the bilateral network. tanh(48 * middle) is 110.499998 / 128.
    middle, zero = 0.027210086584091187, -47
    inputs = Item((1, 1, 1, 256), middle, zero)
    between = Item((1, 1, 1, 256), middle, zero)
    outputs = Item((1, 1, 1, 256), scale, -128 if kind == "LOGISTIC" else 0)
    network = write_network(
        [("QUANTIZE", [inputs], [between], None), (kind, [between], [outputs], None)]
    )
    every = np.arange(-128, 128, dtype=np.int8).reshape(1, 1, 1, -1)
    assert np.any(run_tflm(network, every) != run_reference(network, every))
    aligned = align_scales(network)
    np.testing.assert_array_equal(run_tflm(aligned, every), run_reference(aligned, every))
    assert align_scales(aligned) == aligned
