# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from m3net_tf.quantization import ptq
from m3net_tf.quantization.products import align_products
from m3net_tf.quantization.ptq import quantize_int8
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
        patch.setattr(ptq, "align_products", lambda tflite: tflite)
        return quantize_int8(model, features(8))


def multipliers(tflite: bytes) -> list[tuple[int, int]]:
    """Fixed-point multiplier of each MUL in single precision and in double."""
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAsModel(tflite, 0))
    graph, pairs = model.subgraphs[0], []
    for operator in graph.operators:
        if model.operatorCodes[operator.opcodeIndex].builtinCode == schema.BuiltinOperator.MUL:
            tensors = (*operator.inputs, *operator.outputs)
            a, b, c = (np.float32(graph.tensors[i].quantization.scale[0]) for i in tensors)
            pair = float(a * b / c), float(a) * float(b) / float(c)
            pairs.append(tuple(round(np.frexp(value)[0] * 2**31) for value in pair))
    return pairs


def test_both_precisions_give_the_same_multipliers(unaligned):
    before, after = multipliers(unaligned), multipliers(align_products(unaligned))
    assert len(before) == len(after) == 3
    assert any(single != double for single, double in before)
    assert all(single == double for single, double in after)


def test_nothing_but_scales_changes_and_those_little(unaligned):
    aligned = align_products(unaligned)
    assert len(aligned) == len(unaligned)
    assert align_products(aligned) == aligned
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
    aligned, clips = align_products(unaligned), features(200)
    np.testing.assert_array_equal(run_tflm(aligned, clips), run_reference(aligned, clips))
