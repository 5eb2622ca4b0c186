# SPDX-License-Identifier: Apache-2.0
"""Files that the compiler refuses: one clear error each, whatever is wrong with them."""

import dataclasses

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from single_operators import MAKERS, Item, write_model, write_network

from m3net_tf.compiler.network import compile_network
from m3net_tf.compiler.read import read_network
from m3net_tf.errors import ModelError

SOURCE = Item((1, 4), 0.1, 3)


def test_what_is_read():
    graph = read_network(MAKERS["CONV_2D"](np.random.default_rng(0)))
    (op,) = graph.operations
    assert op.kind == "CONV_2D"
    assert graph.inputs == [op.input(0)]
    assert graph.outputs == [op.output]
    assert op.input(1).data.shape == op.input(1).shape
    assert len(graph.sha256) == 64


@pytest.mark.parametrize("size", [0, 8, 100, 400])
def test_a_file_that_is_cut_off(size):
    tflite = MAKERS["CONV_2D"](np.random.default_rng(0))
    with pytest.raises(ModelError, match=r"no TFLite model|damaged|has the shape|operator"):
        compile_network(tflite[:size])


def test_wrong_offsets_end_in_one_error_or_none_at_all():
    tflite = bytearray(MAKERS["CONV_2D"](np.random.default_rng(1)))
    rng = np.random.default_rng(2)
    refused = 0
    for _ in range(300):
        broken = bytearray(tflite)
        for place in rng.integers(8, len(broken), 3):
            broken[place] = rng.integers(0, 256)
        try:
            compile_network(bytes(broken))
        except ModelError as error:
            assert "\n" not in str(error)
            refused += 1
    assert refused > 30


def test_an_operator_outside_the_list_is_named_with_its_tensor():
    tflite = write_model("COS", [SOURCE], [dataclasses.replace(SOURCE)])
    with pytest.raises(ModelError, match=r"operator COS 'tensor1' is not supported"):
        compile_network(tflite)


def test_a_cycle():
    later = dataclasses.replace(SOURCE)
    early = dataclasses.replace(SOURCE)
    options = schema.AddOptionsT()
    tflite = write_network(
        [("ADD", [SOURCE, later], [early], options), ("RELU", [early], [later], None)]
    )
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAsModel(tflite, 0))
    model.subgraphs[0].inputs = [0]
    with pytest.raises(ModelError, match=r"ADD 'tensor2' reads tensor 'tensor1' before"):
        read_network(pack(model))


def test_a_float_network():
    tflite = write_model("RELU", [SOURCE], [dataclasses.replace(SOURCE)])
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAsModel(tflite, 0))
    for tensor in model.subgraphs[0].tensors:
        tensor.type = schema.TensorType.FLOAT32
    with pytest.raises(ModelError, match=r"'tensor0' is float32"):
        compile_network(pack(model))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: setattr(t.quantization, "scale", [float("nan")]), "not positive"),
        (lambda t: setattr(t.quantization, "zeroPoint", [300]), "outside int8"),
        (lambda t: setattr(t, "shape", [1, -1]), "sizes must be fixed"),
        (lambda t: setattr(t, "buffer", 77), "damaged"),
    ],
)
def test_a_tensor_that_makes_no_sense(change, message):
    tflite = write_model("RELU", [SOURCE], [dataclasses.replace(SOURCE)])
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAsModel(tflite, 0))
    change(model.subgraphs[0].tensors[0])
    with pytest.raises(ModelError, match=message):
        compile_network(pack(model))


def pack(model):
    import flatbuffers

    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())
