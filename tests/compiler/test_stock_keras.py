# SPDX-License-Identifier: Apache-2.0
"""Keras models as they are, with an unknown batch size, by the converter's ``from_keras_model``.

TFLite Micro takes the sizes that the file leaves open to be 1, or refuses the file. It is compared
on the same operators with the shapes that LiteRT finds at run time.
"""

from __future__ import annotations

import copy
import dataclasses
import warnings

import flatbuffers
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from reference import random_inputs, run_micro
from refusals import refuses
from single_operators import Item, write_model

from m3net_tf.compiler.host import build_host
from m3net_tf.compiler.network import compile_network
from m3net_tf.compiler.tflite_names import operator_name
from m3net_tf.runtime.interpreter import tflm_unavailable_reason
from m3net_tf.system.errors import ModelError
from m3net_tf.system.keras import keras, tf

CALIBRATION, INPUTS = 4, 4
INTEGER = (schema.TensorType.INT32, schema.TensorType.INT64)
PAD_OPTIONS = schema.PadOptionsT()
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


def interpreter_of(tflite, values):
    """LiteRT after a run."""
    interpreter = Interpreter(
        model_content=tflite,
        experimental_op_resolver_type=OpResolverType.BUILTIN_REF,
        experimental_preserve_all_tensors=True,
    )
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], values)
    interpreter.invoke()
    return interpreter


def frozen(tflite, values):
    """The file with all shapes, and their arithmetic as constants, as LiteRT finds them."""
    interpreter = interpreter_of(tflite, values)
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAsModel(tflite, 0))
    graph = model.subgraphs[0]
    for index, tensor in enumerate(graph.tensors):
        tensor.shape = list(interpreter.get_tensor(index).shape)
        tensor.shapeSignature = None
    for op in list(graph.operators):
        tensor = graph.tensors[op.outputs[0]]
        if tensor.type in INTEGER or operator_name(model.operatorCodes[op.opcodeIndex]) == "FILL":
            graph.operators.remove(op)
            model.buffers.append(schema.BufferT())
            content = interpreter.get_tensor(op.outputs[0]).tobytes()
            model.buffers[-1].data = np.frombuffer(content, np.uint8)
            tensor.buffer = len(model.buffers) - 1
    for op in list(graph.operators):
        if operator_name(model.operatorCodes[op.opcodeIndex]) == "SPACE_TO_BATCH_ND":
            _pad_before(model, op)
    used = {op.opcodeIndex for op in graph.operators}
    for index, code in enumerate(model.operatorCodes):
        if index not in used:  # TFLite Micro lacks some of them
            code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.ADD
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def _pad_before(model, op):
    """A PAD of its own: TFLite Micro's SPACE_TO_BATCH_ND never sets what it pads with."""
    graph = model.subgraphs[0]
    source, _, pads = (graph.tensors[index] for index in op.inputs)
    amounts = np.asarray(model.buffers[pads.buffer].data, np.uint8).view(np.int32).reshape(-1, 2)
    whole = np.zeros((len(source.shape), 2), np.int32)
    whole[1 : 1 + len(amounts)] = amounts
    wide, where, none = (copy.copy(tensor) for tensor in (source, pads, pads))
    wide.shape = [int(size) for size in source.shape + whole.sum(axis=1)]
    for tensor, values in ((where, whole), (none, np.zeros_like(amounts))):
        tensor.shape, tensor.buffer = list(values.shape), len(model.buffers)
        model.buffers.append(schema.BufferT())
        model.buffers[-1].data = np.frombuffer(values.tobytes(), np.uint8)
    start = len(graph.tensors)
    graph.tensors += [wide, where, none]
    step = schema.OperatorT()
    step.inputs, step.outputs = [int(op.inputs[0]), start + 1], [start]
    step.opcodeIndex = len(model.operatorCodes)
    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.PAD
    model.operatorCodes.append(code)
    step.builtinOptionsType, step.builtinOptions = schema.BuiltinOptions.PadOptions, PAD_OPTIONS
    graph.operators.insert(graph.operators.index(op), step)
    op.inputs = [start, int(op.inputs[1]), start + 2]


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
