# SPDX-License-Identifier: Apache-2.0
"""Keras models as they are, with an unknown batch size, by the converter's ``from_keras_model``.

TFLite Micro takes the sizes that the file leaves open to be 1, or refuses the file. It is compared
on the same operators with the shapes that LiteRT finds at run time.
"""

import dataclasses
import warnings

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from open_sizes import frozen, interpreter_of
from reference import random_inputs, run_micro
from refusals import refuses
from single_operators import Item, write_model

from m3net_tf.compiler.host import build_host
from m3net_tf.compiler.network import compile_network
from m3net_tf.runtime.interpreter import tflm_unavailable_reason
from m3net_tf.system.errors import ModelError
from m3net_tf.system.keras import keras, tf

CALIBRATION, INPUTS = 4, 4
layers = keras.layers

with_micro = pytest.mark.skipif(
    bool(tflm_unavailable_reason()), reason=tflm_unavailable_reason() or "TFLite Micro is there"
)


def convolutions():
    """Dilation in all forms, squeeze and excitation, a dense layer on a sequence, flattening."""
    source = keras.Input((12, 10, 2))
    image = layers.Conv2D(4, 3, dilation_rate=(2, 1), padding="same", activation="relu")(source)
    image = layers.DepthwiseConv2D(3, dilation_rate=2)(image)
    gate = layers.Reshape((1, 1, 4))(layers.GlobalAveragePooling2D()(image))
    gate = layers.Dense(4, activation="sigmoid")(layers.Dense(3, activation="relu")(gate))
    sequence = layers.Reshape((8, 24))(layers.Multiply()([image, gate]))
    sequence = layers.Conv1D(5, 3, dilation_rate=2, padding="causal")(sequence)
    sequence = layers.Conv1D(5, 2, dilation_rate=3, padding="same")(sequence)
    sequence = layers.Dense(3, activation="sigmoid")(sequence)
    return keras.Model(source, layers.Dense(3, activation="softmax")(layers.Flatten()(sequence)))


def attention():
    """Products of matrices, reductions and fills whose sizes the file leaves open."""
    source = keras.Input((5, 8))
    sequence = layers.MultiHeadAttention(2, 3)(source, source)
    sequence = layers.LayerNormalization()(layers.Add()([source, sequence]))
    pooled = layers.GlobalAveragePooling1D()(sequence)
    return keras.Model(source, layers.Dense(3, activation="softmax")(pooled))


def recurrent():
    """Unrolled cells; the converter refuses loops of an unknown batch size."""
    source = keras.Input((4, 3))
    sequence = layers.LSTM(5, unroll=True, return_sequences=True)(source)
    hidden = layers.GRU(4, unroll=True)(sequence)
    return keras.Model(source, layers.Dense(3, activation="softmax")(hidden))


def reset_before():
    """SPLIT_V with an empty rest, and splits in float where nothing reads one of the parts."""
    source = keras.Input((4, 3))
    hidden = layers.GRU(4, unroll=True, reset_after=False)(source)
    return keras.Model(source, layers.Dense(3, activation="softmax")(hidden))


def convert(model, ends=tf.int8):
    """By the settings of the converter's manual."""
    rng = np.random.default_rng(0)
    shape = (CALIBRATION, 1, *model.input_shape[1:])
    values = rng.normal(size=shape).astype(np.float32)
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ([clip] for clip in values)
    wide = tf.lite.OpsSet.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8
    operators = wide if ends == tf.int16 else tf.lite.OpsSet.TFLITE_BUILTINS_INT8
    converter.target_spec.supported_ops = [operators]
    converter.inference_input_type = converter.inference_output_type = ends
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the converter's own
        return converter.convert()


def blocks():
    """SPACE_TO_BATCH_ND without a convolution behind it."""
    source = Item((2, 5, 4, 3), 0.1, -9)
    block, pads = (np.array(values, np.int32) for values in ([2, 3], [[1, 2], [0, 2]]))
    places = [Item(block.shape, values=block), Item(pads.shape, values=pads)]
    batches = dataclasses.replace(source, shape=(12, 4, 2, 3))
    options = schema.SpaceToBatchNDOptionsT()
    return write_model("SPACE_TO_BATCH_ND", [source, *places], [batches], options)


@pytest.fixture(scope="module")
def models():
    """The files by name; conversion takes a second each."""
    files = {"blocks": blocks()}
    for make in (convolutions, attention, recurrent, reset_before):
        keras.utils.set_random_seed(1)
        files[make.__name__] = convert(make())
    keras.utils.set_random_seed(1)
    return files | {"wide": convert(convolutions(), tf.int16)}


@pytest.fixture(scope="module")
def networks(models):
    return {name: compile_network(tflite) for name, tflite in models.items()}


@pytest.fixture(scope="module")
def hosts(networks, tmp_path_factory):
    return build_host(networks, tmp_path_factory.mktemp("stock"))


@with_micro
@pytest.mark.parametrize("name", ["convolutions", "attention", "recurrent"])
def test_a_model_of_unknown_batch_size_gives_the_bytes_of_tflite_micro(
    name, models, networks, hosts
):
    assert networks[name].saved["operators of constants computed"] > 0
    rng = np.random.default_rng(0)
    answers = set()
    for _ in range(INPUTS):
        (values,) = random_inputs(rng, networks[name])
        (output,) = hosts[name].run(values)
        expected = run_micro(frozen(models[name], values), [values], 1)[0]
        np.testing.assert_array_equal(output, expected)
        answers.add(output.tobytes())
    assert len(answers) > 1


@pytest.mark.parametrize("name", ["blocks", "convolutions", "wide", "reset_before"])
def test_what_tflite_micro_refuses_gives_the_bytes_of_litert(name, models, networks, hosts):
    """TFLite Micro has no SPACE_TO_BATCH_ND of int16, none that pads with the zero point, and no
    split of a float tensor into empty parts.
    """
    rng = np.random.default_rng(0)
    for _ in range(INPUTS):
        (values,) = random_inputs(rng, networks[name])
        interpreter = interpreter_of(models[name], values)
        expected = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
        np.testing.assert_array_equal(hosts[name].run(values)[0], expected)


@pytest.mark.parametrize("name", ["convolutions", "wide"])
def test_dilated_convolutions_are_put_together(name, networks):
    assert networks[name].saved["dilated convolutions put together"] == 4


def test_int16_of_unknown_batch_size_says_what_to_do():
    """The converter gives the state before the first step, which is zero, the scale 0."""
    with refuses(ModelError, "batch_size=1"):
        compile_network(convert(reset_before(), tf.int16))
