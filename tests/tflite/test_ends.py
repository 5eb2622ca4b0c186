# SPDX-License-Identifier: Apache-2.0
"""Networks of int8 and int16 whose inputs and outputs are float or uint8 in the file."""

import dataclasses

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from reference import random_inputs, run_micro
from refusals import refuses
from single_operators import Item, write_network
from wide_operators import widen

from m3net_tf.compiler.emit import emit
from m3net_tf.compiler.folder import network_facts
from m3net_tf.compiler.host import build_host
from m3net_tf.compiler.network import compile_network
from m3net_tf.runtime.interpreter import tflm_unavailable_reason
from m3net_tf.system.errors import ModelError
from m3net_tf.tflite.ends import int8_network

SHAPE = (1, 4, 5, 3)
INSIDE = Item(SHAPE, 0.11, -7)
RESULT = Item(SHAPE, 0.23, 12)

with_micro = pytest.mark.skipif(
    bool(tflm_unavailable_reason()), reason=tflm_unavailable_reason() or "TFLite Micro is there"
)


def network(outer_input, outer_output, last="QUANTIZE"):
    """A sum with itself between conversions."""
    inside = dataclasses.replace(INSIDE)
    result = dataclasses.replace(RESULT)
    steps = [
        ("QUANTIZE", [outer_input], [inside], None),
        ("ADD", [inside, inside], [result], schema.AddOptionsT()),
        (last, [result], [outer_output], None),
    ]
    return write_network(steps)


def floats():
    return network(Item(SHAPE, dtype="float32"), Item(SHAPE, dtype="float32"), "DEQUANTIZE")


def unsigned(shift=128):
    source = Item(SHAPE, INSIDE.scale, INSIDE.zero_point + shift, dtype="uint8")
    return network(source, Item(SHAPE, RESULT.scale, RESULT.zero_point + 128, dtype="uint8"))


@with_micro
@pytest.mark.parametrize("make", [floats, lambda: widen(floats())], ids=["int8", "int16"])
def test_float_ends_are_left_to_the_caller(make, tmp_path):
    tflite = make()
    compiled = compile_network(tflite)
    host = build_host({"network": compiled}, tmp_path)["network"]
    (values,) = random_inputs(np.random.default_rng(0), compiled)
    source = compiled.graph.inputs[0]
    target = compiled.graph.outputs[0]
    numbers = (values.astype(np.float32) - source.zero_point) * source.scale
    expected = run_micro(tflite, [numbers], 1)[0]
    (output,) = host.run(values)
    np.testing.assert_array_equal(
        (output.astype(np.float32) - target.zero_point) * target.scale, expected
    )
    dtype = str(values.dtype)
    assert f"// input 0 is {dtype}, in the file float32: " in emit(compiled, "one").header


@with_micro
@pytest.mark.parametrize("shift", [128, 100], ids=["a sign", "other numbers"])
def test_uint8_ends_keep_the_bytes_of_the_file(shift, tmp_path):
    tflite = unsigned(shift)
    compiled = compile_network(tflite)
    host = build_host({"network": compiled}, tmp_path)["network"]
    for seed in range(4):
        inputs = random_inputs(np.random.default_rng(seed), compiled)
        assert inputs[0].dtype == np.uint8
        (output,) = host.run(*inputs)
        np.testing.assert_array_equal(output, run_micro(tflite, inputs, 1)[0])


def test_the_report_names_the_ends():
    facts = network_facts(compile_network(floats()), emit(compile_network(floats()), "one"))
    assert [line.partition(":")[0] for line in facts["ends"]] == [
        "input 0 is int8, in the file float32",
        "output 0 is int8, in the file float32",
    ]


@with_micro
@pytest.mark.parametrize("make", [floats, unsigned])
def test_a_file_with_int8_ends(make, tmp_path):
    """What an export gets of such a file is an int8 file that any engine runs."""
    tflite, lines = int8_network(make())
    compiled = compile_network(tflite)
    ends = compiled.graph.inputs[0], compiled.graph.outputs[0]
    assert [(end.dtype, end.zero_point) for end in ends] == [("int8", -7), ("int8", 12)]
    assert len(lines) == 2
    assert int8_network(tflite) == (tflite, [])
    inputs = random_inputs(np.random.default_rng(0), compiled)
    host = build_host({"network": compiled}, tmp_path)["network"]
    np.testing.assert_array_equal(host.run(*inputs)[0], run_micro(tflite, inputs, 1)[0])


@pytest.mark.parametrize("end", [[], ["DEQUANTIZE"]], ids=["uint8 ends", "a float end"])
def test_uint8_inside_the_network_is_refused(end):
    whole = dataclasses.replace(INSIDE, zero_point=128, dtype="uint8")
    result = dataclasses.replace(whole)
    steps = [("ADD", [whole, whole], [result], schema.AddOptionsT())]
    steps += [(kind, [result], [Item(SHAPE, dtype="float32")], None) for kind in end]
    with refuses(ModelError, "ADD", "'tensor1'", "uint8", "TFLITE_BUILTINS_INT8"):
        compile_network(write_network(steps))


def test_a_float_input_that_two_operators_read_is_refused():
    source = Item(SHAPE, dtype="float32")
    steps = [("QUANTIZE", [source], [dataclasses.replace(INSIDE)], None) for _ in range(2)]
    with refuses(ModelError, "'tensor0'", "float32"):
        compile_network(write_network(steps))
