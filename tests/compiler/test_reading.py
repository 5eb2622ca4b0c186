# SPDX-License-Identifier: Apache-2.0
"""Files that the compiler refuses: one clear error each, whatever is wrong with them."""

import dataclasses
import re
from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from reference import run_micro
from refusals import refuses
from single_operators import MAKERS, Item, changed, pack_model, write_model, write_network
from wide_operators import widen

from m3net_tf.compiler import read
from m3net_tf.compiler.network import compile_network
from m3net_tf.compiler.read import read_network
from m3net_tf.runtime.interpreter import tflm_unavailable_reason
from m3net_tf.system.errors import ModelError

SOURCE = Item((1, 4), 0.1, 3)
ZERO = Item((1, 4), 0.1, 0)
AXIS = Item((1,), values=np.array([1], np.int32))
LARGEST = Item((1,), 0.1, 3)
INT16 = schema.TensorType.INT16


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


def test_an_operator_outside_the_list_is_named_with_its_tensor():
    tflite = write_model("COS", [SOURCE], [dataclasses.replace(SOURCE)])
    with refuses(ModelError, "COS", "'tensor1'"):
        compile_network(tflite)


@pytest.mark.skipif(bool(tflm_unavailable_reason()), reason="compares with TFLite Micro")
@pytest.mark.parametrize("dtype", ["int8", "int16"])
@pytest.mark.parametrize("kind", ["CUMSUM", "FLOOR", "SIGN", "SQRT", "ZEROS_LIKE"])
def test_tflite_micro_is_advised_where_it_runs_the_file(kind, dtype):
    source = Item((1, 4), 0.1, dtype=dtype)
    options = schema.CumsumOptionsT() if kind == "CUMSUM" else None
    inputs = [source, AXIS] if kind == "CUMSUM" else [source]
    tflite = write_model(kind, inputs, [dataclasses.replace(source)], options)
    try:
        run_micro(tflite, [np.ones(source.shape, dtype)], 1)
    except RuntimeError:
        runs = False
    else:
        runs = True
    with refuses(ModelError, kind) as error:
        compile_network(tflite)
    assert ("TFLite Micro" in str(error.value)) == runs


def test_what_computes_in_float_is_named():
    real = [Item(SOURCE.shape, dtype="float32") for _ in range(2)]
    options = schema.AddOptionsT()
    steps = [("DEQUANTIZE", [SOURCE], real[:1], None), ("ADD", [real[0]] * 2, real[1:], options)]
    last = ("QUANTIZE", real[1:], [dataclasses.replace(SOURCE)], None)
    with refuses(ModelError, "ADD", "'tensor2'", "float"):
        compile_network(write_network([*steps, last]))


def test_a_cycle():
    later = dataclasses.replace(SOURCE)
    early = dataclasses.replace(SOURCE)
    tflite = write_network(
        [("ADD", [SOURCE, later], [early], schema.AddOptionsT()), ("RELU", [early], [later], None)]
    )
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAsModel(tflite, 0))
    model.subgraphs[0].inputs = [0]
    with refuses(ModelError, "ADD", "'tensor2'", "'tensor1'"):
        compile_network(pack_model(model))


def set_input(graph, place, tensor):
    inputs = [int(index) for index in graph.operators[0].inputs]
    graph.operators[0].inputs = [*inputs[:place], tensor, *inputs[place + 1 :]]


def test_an_operator_with_a_state_that_is_not_supported_is_named():
    state = Item((1, 4), 0.1, dtype="int16", is_state=True)
    tflite = write_model("RNN", [SOURCE, state], [dataclasses.replace(SOURCE)])
    with refuses(ModelError, "RNN", "'tensor2'"):
        compile_network(tflite)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda g: setattr(g.tensors[1], "type", INT16), r"ADD 'tensor2' has tensors of int8 and"),
        (lambda g: [setattr(t, "type", INT16) for t in g.tensors], "'tensor0' with a zero point"),
    ],
)
def test_types_that_do_not_fit(change, message):
    tflite = write_model("ADD", [SOURCE, ZERO], [dataclasses.replace(ZERO)], schema.AddOptionsT())
    tflite = changed(tflite, lambda g: setattr(g.tensors[0].quantization, "zeroPoint", [3]))
    with pytest.raises(ModelError, match=message):
        compile_network(changed(tflite, change))


def test_an_operator_without_a_kernel_of_16_bits():
    tflite = MAKERS["REDUCE_MAX"](np.random.default_rng(0))
    with refuses(ModelError, "REDUCE_MAX", "'tensor2'", "int16"):
        compile_network(widen(tflite))


@pytest.mark.skipif(bool(tflm_unavailable_reason()), reason="TFLite Micro is not there")
def test_tflite_micro_has_no_maximum_of_16_bits_either():
    tflite = widen(write_model("REDUCE_MAX", [SOURCE, AXIS], [LARGEST], schema.ReducerOptionsT()))
    with pytest.raises(RuntimeError, match="invocation failed"):
        run_micro(tflite, [np.zeros(SOURCE.shape, np.int16)], 1)


def test_an_lstm_of_16_bits_takes_biases_of_64():
    tflite = MAKERS["UNIDIRECTIONAL_SEQUENCE_LSTM"](np.random.default_rng(0))
    with refuses(ModelError, "'tensor9'", "int64"):
        compile_network(widen(tflite, long_bias=False))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda g: set_input(g, 9, 1), "has peepholes, a projection or"),
        (lambda g: setattr(g.operators[0].builtinOptions, "fusedActivationFunction", 1), "tanh"),
        (lambda g: setattr(g.tensors[g.operators[0].inputs[18]], "isVariable", False), "cycle"),
        (lambda g: set_input(g, 19, g.operators[0].inputs[18]), "shares its state"),
    ],
)
def test_an_lstm_that_is_not_supported(change, message):
    tflite = MAKERS["UNIDIRECTIONAL_SEQUENCE_LSTM"](np.random.default_rng(0))
    with pytest.raises(ModelError, match=message):
        compile_network(changed(tflite, change))


def test_tensors_that_nothing_uses_may_be_empty():
    def add_empty(graph):
        graph.tensors.append(schema.TensorT())
        graph.tensors[-1].shape = [0]
        graph.tensors[-1].name = "unused"

    tflite = MAKERS["UNIDIRECTIONAL_SEQUENCE_LSTM"](np.random.default_rng(0))
    assert compile_network(changed(tflite, add_empty)).calls


@pytest.mark.parametrize("sizes", [[1 << 30], [1 << 14, 1 << 14], [-3]])
def test_shapes_that_are_computed_may_not_be_absurd(sizes):
    """They are not held in memory."""
    where = Item((len(sizes),), values=np.array(sizes, np.int32))
    value = Item((), 0.1, values=np.array(3, np.int8))
    filled = Item((1,) * len(sizes), 0.1)
    steps = [
        ("FILL", [where, value], [filled], None),
        ("ADD", [SOURCE, filled], [dataclasses.replace(ZERO)], schema.AddOptionsT()),
    ]

    def leave_open(graph):
        graph.tensors[graph.operators[0].outputs[0]].shapeSignature = [-1] * len(sizes)

    with pytest.raises(ModelError, match="FILL 'tensor2' (has an output whose|is not supported)"):
        compile_network(changed(write_network(steps), leave_open))


def test_a_streaming_network():
    """Its variables are set by a second subgraph."""
    tflite = write_model("RELU", [SOURCE], [dataclasses.replace(SOURCE)])
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAsModel(tflite, 0))
    model.subgraphs.append(model.subgraphs[0])
    with refuses(ModelError, "2 subgraphs"):
        compile_network(pack_model(model))


def test_a_float_network():
    tflite = write_model("RELU", [SOURCE], [dataclasses.replace(SOURCE)])
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAsModel(tflite, 0))
    for tensor in model.subgraphs[0].tensors:
        tensor.type = schema.TensorType.FLOAT32
    with refuses(ModelError, "'tensor0'", "float32"):
        compile_network(pack_model(model))


def custom(name):
    tflite = write_model("CONV_2D", [SOURCE, ZERO], [dataclasses.replace(SOURCE)])
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAsModel(tflite, 0))
    code = model.operatorCodes[0]
    code.builtinCode = schema.BuiltinOperator.CUSTOM
    code.deprecatedBuiltinCode = 32
    code.customCode = name
    model.subgraphs[0].tensors[0].shape = [-1] * 9
    return pack_model(model)


@pytest.mark.parametrize(
    ("name", "step"),
    [
        ("ethos-u", "file from before Vela"),
        ("edgetpu-custom-op", "file from before"),
        ("FlexErf", "SELECT_TF_OPS"),
        ("VendorTopK", "replace its layer"),
    ],
)
def test_a_custom_operator_is_named_before_any_shape(name, step):
    with refuses(ModelError, f"CUSTOM {name}", step):
        compile_network(custom(name))


@pytest.mark.parametrize(
    ("types", "kind"),
    [
        (("float32", "int8"), "weights are int8, activations float"),
        (("float32", "float32"), "weights and activations are float"),
    ],
)
@pytest.mark.parametrize("operator", ["CONV_2D", "FULLY_CONNECTED"])
def test_the_kind_of_a_file_that_is_not_quantised(types, kind, operator):
    source = Item((1, 1, 1, 4), dtype=types[0])
    weights = Item((4, 1, 1, 4), 0.1, values=np.zeros((4, 1, 1, 4), types[1]))
    tflite = write_model(operator, [source, weights], [Item((1, 1, 1, 4), dtype="float32")])
    with refuses(ModelError, operator, "'tensor2'", kind, "representative data set"):
        compile_network(tflite)


def test_scales_that_are_far_apart_name_the_operator():
    far = Item((1, 4), 1e20, 3)
    tflite = write_model("MUL", [far, far], [dataclasses.replace(ZERO)], schema.MulOptionsT())
    with refuses(ModelError, "operator MUL 'tensor1'", "times another"):
        compile_network(tflite)


def test_float16_weights():
    values = Item((1, 4), values=np.zeros((1, 4), np.float16))
    weights = Item((1, 4), dtype="float32")
    end = Item((1, 4), dtype="float32")
    source = Item((1, 4), dtype="float32")
    steps = [("DEQUANTIZE", [values], [weights], None), ("ADD", [source, weights], [end], None)]
    with refuses(ModelError, "DEQUANTIZE", "float16", "representative data set"):
        compile_network(write_network(steps))


def test_every_refusal_ends_with_a_step():
    folder = Path(read.__file__).parents[1]
    for path in sorted([*folder.glob("compiler/**/*.py"), *folder.glob("tflite/*.py")]):
        for text in re.findall(r"ModelError\(\s*((?:f?\"[^\n]*\"\s*)+)\)", path.read_text()):
            assert re.search(r": \S|, convert|--", text), (path.name, text)


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
        compile_network(pack_model(model))


@pytest.mark.parametrize(
    ("dtype", "least", "most"),
    [("int16", -(2**15), 2**15 - 1), ("int32", -(2**31) + 1, 2**31 - 1)],
)
def test_a_zero_point_outside_a_wide_type(dtype, least, most):
    for zero_point, fits in ((least - 1, False), (least, True), (most, True), (most + 1, False)):
        item = Item((1, 4), 0.1, zero_point, dtype=dtype)
        tflite = write_model("QUANTIZE", [item], [dataclasses.replace(ZERO)])
        if fits:
            read_network(tflite)
        else:
            with refuses(ModelError, "'tensor0'", "zero point", dtype):
                read_network(tflite)


@pytest.mark.parametrize(
    "change",
    [
        lambda g: setattr(g, "inputs", [0, 0]),
        lambda g: setattr(g, "inputs", [0, 1]),
    ],
    ids=["twice", "constant"],
)
def test_an_input_that_is_a_constant_or_stands_twice(change):
    constant = dataclasses.replace(SOURCE, values=np.zeros((1, 4), np.int8))
    tflite = write_model("ADD", [SOURCE, constant], [ZERO], schema.AddOptionsT())
    with pytest.raises(ModelError, match="an input twice, or one that is a constant"):
        compile_network(changed(tflite, change))
