# SPDX-License-Identifier: Apache-2.0
"""Each rewrite applies where it should, saves what it says, and changes no byte."""

import dataclasses

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from reference import assert_equals_micro, random_inputs, run_micro
from single_operators import Item, write_network

from m3net_tf.compiler.goals import Goal
from m3net_tf.compiler.host import build_host
from m3net_tf.compiler.network import compile_network
from m3net_tf.runtime.interpreter import tflm_unavailable_reason

pytestmark = pytest.mark.skipif(
    bool(tflm_unavailable_reason()), reason=tflm_unavailable_reason() or "TFLite Micro is there"
)

IMAGE = Item((1, 6, 5, 8), 0.05, -4)


def like(item, shape=None, **changes):
    """Another tensor of the same scale."""
    return dataclasses.replace(item, shape=shape or item.shape, values=None, **changes)


def indices(*values):
    return Item((len(values),), values=np.array(values, np.int32))


def conv(source, channels, window=1, padding=schema.Padding.SAME, rng=None):
    """A convolution of stride 1."""
    rng = rng or np.random.default_rng(channels)
    options = schema.Conv2DOptionsT(strideH=1, strideW=1, padding=padding)
    depth = source.shape[3]
    filters = Item((channels, window, window, depth), [0.01] * channels)
    filters.values = rng.integers(-127, 128, filters.shape).astype(np.int8)
    bias = Item((channels,), values=rng.integers(-999, 999, channels).astype(np.int32))
    lost = 0 if padding == schema.Padding.SAME else window - 1
    rows, columns = (size - lost for size in source.shape[1:3])
    output = Item((1, rows, columns, channels), 0.2, 5)
    return ("CONV_2D", [source, filters, bias], [output], options), output


def depthwise(source, window=3):
    """A depthwise convolution of stride 1."""
    rng = np.random.default_rng(window)
    options = schema.DepthwiseConv2DOptionsT(
        strideH=1, strideW=1, depthMultiplier=1, padding=schema.Padding.SAME
    )
    channels = source.shape[3]
    filters = Item((1, window, window, channels), [0.01] * channels, axis=3)
    filters.values = rng.integers(-127, 128, filters.shape).astype(np.int8)
    bias = Item((channels,), values=rng.integers(-999, 999, channels).astype(np.int32))
    output = Item(source.shape, 0.1, -7)
    return ("DEPTHWISE_CONV_2D", [source, filters, bias], [output], options), output


def concatenate(items, axis=3):
    shape = list(items[0].shape)
    shape[axis] = sum(item.shape[axis] for item in items)
    output = like(items[0], shape)
    return ("CONCATENATION", list(items), [output], schema.ConcatenationOptionsT(axis=axis)), output


def reverse(source, *axes):
    output = like(source)
    return ("REVERSE_V2", [source, indices(*axes)], [output], schema.ReverseV2OptionsT()), output


def check(operators, folder):
    """Compile, compare with TFLite Micro and return the compiled network."""
    tflite = write_network(operators)
    network = compile_network(tflite)
    host = build_host({"network": network}, folder, ["-O0"])["network"]
    assert_equals_micro(tflite, network, host)
    return network


def kernels(network):
    return [call.kernel for call in network.calls]


def test_a_padding_becomes_part_of_its_reader(tmp_path):
    amounts = np.array([[0, 0], [2, 1], [0, 3], [0, 0]], np.int32)
    padded = like(IMAGE, (1, 9, 8, 8))
    step = ("PAD", [IMAGE, Item((4, 2), values=amounts)], [padded], schema.PadOptionsT())
    last, _ = conv(padded, 4, window=3, padding=schema.Padding.VALID)
    network = check([step, last], tmp_path)
    assert kernels(network) == ["convolve"]
    assert network.saved["paddings folded into their readers"] == 1


def test_a_padding_that_something_else_reads_stays(tmp_path):
    amounts = np.array([[0, 0], [1, 1], [1, 1], [0, 0]], np.int32)
    padded = like(IMAGE, (1, 8, 7, 8))
    step = ("PAD", [IMAGE, Item((4, 2), values=amounts)], [padded], schema.PadOptionsT())
    network = check([step, ("RELU", [padded], [like(padded)], None)], tmp_path)
    assert kernels(network) == ["fill", "copy", "look_up"]


def test_concatenated_tensors_are_written_in_place(tmp_path):
    first, a = conv(IMAGE, 4)
    second, b = conv(IMAGE, 8, window=3)
    joint, whole = concatenate([a, b])
    network = check([first, second, joint, conv(whole, 4)[0]], tmp_path)
    assert kernels(network) == ["convolve"] * 3
    assert network.saved["concatenated tensors written in place"] == 2


def test_a_concatenation_along_rows_is_written_in_place(tmp_path):
    first, a = conv(IMAGE, 4)
    second, b = conv(IMAGE, 4, rng=np.random.default_rng(9))
    joint, _ = concatenate([a, b], axis=1)
    assert kernels(check([first, second, joint], tmp_path)) == ["convolve"] * 2


def test_a_tensor_in_two_concatenations_is_copied_once(tmp_path):
    first, a = conv(IMAGE, 4)
    one, b = concatenate([a, IMAGE_4])
    two, c = concatenate([a, b])
    network = check([first, one, two], tmp_path)
    assert network.calls[-1].output.shape[-1] in (4, 8)
    assert c.shape == [1, 6, 5, 12]


IMAGE_4 = Item((1, 6, 5, 4), 0.2, 5)


def test_mirrors_are_reading_orders(tmp_path):
    first, a = conv(IMAGE, 8)
    mirror, b = reverse(a, 1, 2)
    network = check([first, mirror, depthwise(b)[0]], tmp_path)
    assert kernels(network) == ["convolve", "convolve_depthwise"]
    image = network.calls[1].arguments[0].input
    assert (image.row_step, image.column_step) == (-40, -8)


def test_a_depthwise_layer_reads_each_concatenated_part_where_it_is(tmp_path):
    first, a = conv(IMAGE, 8)
    left, b = reverse(a, 1)
    right, c = reverse(a, 2)
    joint, whole = concatenate([b, c])
    spread, d = depthwise(whole)
    network = check([first, left, right, joint, spread, conv(d, 4)[0]], tmp_path)
    assert kernels(network) == ["convolve", "convolve_depthwise", "convolve_depthwise", "convolve"]
    assert network.saved["depthwise layers split along a concatenation"] == 1


def test_tables_of_tables_are_one_table(tmp_path):
    second = Item(IMAGE.shape, 1 / 256, -128)
    third = Item(IMAGE.shape, 0.02, 9)
    steps = [
        ("LOGISTIC", [IMAGE], [second], None),
        ("QUANTIZE", [second], [third], None),
    ]
    network = check(steps, tmp_path)
    assert kernels(network) == ["look_up"]
    assert network.saved["tables joined with tables"] == 1


def test_a_square_and_a_single_constant_are_tables(tmp_path):
    square = Item(IMAGE.shape, 0.5, -128)
    sum_ = Item(IMAGE.shape, 0.6, -100)
    constant = Item((1,), 0.3, 2, values=np.array([77], np.int8))
    add = schema.AddOptionsT()
    multiply = schema.MulOptionsT()
    network = check(
        [("MUL", [IMAGE, IMAGE], [square], multiply), ("ADD", [square, constant], [sum_], add)],
        tmp_path,
    )
    assert kernels(network) == ["look_up"]


def test_what_depends_on_constants_alone_is_computed_when_compiling(tmp_path):
    rng = np.random.default_rng(3)
    first, second = (
        Item((1, 1, 1, 8), 0.1, 4, values=rng.integers(-128, 128, (1, 1, 1, 8)).astype(np.int8))
        for _ in range(2)
    )
    options = schema.AddOptionsT(fusedActivationFunction=1)
    joint = Item((1, 1, 1, 8), 0.2, -9)
    tanh = Item((1, 1, 1, 8), 1 / 128, 0)
    output = Item(IMAGE.shape, 0.2, 1)
    steps = [
        ("ADD", [first, second], [joint], options),
        ("TANH", [joint], [tanh], None),
        ("ADD", [IMAGE, tanh], [output], options),
    ]
    network = check(steps, tmp_path)
    assert kernels(network) == ["add"]
    assert network.saved["operators of constants computed"] == 2


def test_slices_and_reshapes_cost_nothing(tmp_path):
    first, a = conv(IMAGE, 8)
    part = like(a, (1, 3, 5, 8))
    slice_ = (
        "SLICE",
        [a, indices(0, 2, 0, 0), indices(1, 3, 5, 8)],
        [part],
        schema.SliceOptionsT(),
    )
    flat = like(a, (1, 3, 1, 40))
    reshape = ("RESHAPE", [part, indices(1, 3, 1, 40)], [flat], None)
    network = check([first, slice_, reshape, conv(flat, 4)[0]], tmp_path)
    assert kernels(network) == ["convolve"] * 2
    assert network.saved["copies that became views"] == 2


def test_separable_layers_run_in_the_memory_of_one_tensor(tmp_path):
    image = Item((1, 12, 5, 16), 0.05, -4)
    steps = []
    tensor = image
    for _ in range(4):
        step, tensor = depthwise(tensor)
        steps.append(step)
        step, tensor = conv(tensor, 16)
        steps.append(step)
    network = check(steps, tmp_path)
    one = 12 * 5 * 16
    # A window reaches a row and two pixels behind; the rest is scratch memory.
    smallest = compile_network(write_network(steps), goal=Goal(most_grown=0)).plan.arena_bytes
    assert smallest <= one + (5 + 2) * 16 + 80
    assert network.plan.arena_bytes <= (1 + Goal().most_grown) * smallest
    assert any(call.output.strides[1] < 0 for call in network.calls)  # backward


def test_what_nothing_reads_is_left_out():
    first, a = conv(IMAGE, 8)
    second, b = conv(a, 4)
    third, _ = conv(b, 4)
    tflite = write_network([first, second, third], [a])
    network = compile_network(tflite)
    assert kernels(network) == ["convolve"]
    assert network.saved["operators that nothing reads"] == 2


def test_an_output_that_is_a_view_is_copied(tmp_path):
    first, a = conv(IMAGE, 8)
    network = check([first, reverse(a, 2)[0]], tmp_path)
    assert kernels(network) == ["convolve", "copy"]


def test_splits_in_float_become_splits_of_int8(tmp_path):
    """The converter leaves some in unrolled recurrent layers; which ones depends on its run."""
    source = Item((1, 4, 6), 0.05, -4)
    whole = Item((1, 4, 6), 0.1, 3)
    real = Item(whole.shape, dtype="float32")
    parts = [Item((1, 4, 3), dtype="float32") for _ in range(2)]
    halves = [like(whole, part.shape) for part in parts]
    axis = Item((), values=np.array(2, np.int32))
    steps = [
        ("ADD", [source, source], [whole], schema.AddOptionsT()),
        ("DEQUANTIZE", [whole], [real], None),
        ("SPLIT", [axis, real], parts, schema.SplitOptionsT(numSplits=2)),
        *(("QUANTIZE", [part], [half], None) for part, half in zip(parts, halves, strict=True)),
        ("ADD", halves, [Item(parts[0].shape, 0.2, -1)], schema.AddOptionsT()),
    ]
    tflite = write_network(steps)
    network = compile_network(tflite)
    assert network.saved["splits taken out of float"] == 1
    assert not {"DEQUANTIZE", "QUANTIZE"} & {op.kind for op in network.graph.operations}
    inputs = random_inputs(np.random.default_rng(0), network)
    host = build_host({"network": network}, tmp_path)["network"]
    np.testing.assert_array_equal(host.run(*inputs)[0], run_micro(tflite, inputs, 1)[0])


def test_functions_in_float_become_tables(tmp_path):
    """Two of one float tensor, as where a normalisation needs the numbers and their squares."""
    real, square, negative = (Item(IMAGE.shape, dtype="float32") for _ in range(3))
    squares = Item(IMAGE.shape, 0.2, -128)
    negatives = Item(IMAGE.shape, 0.06, 3)
    steps = [
        ("DEQUANTIZE", [IMAGE], [real], None),
        ("NEG", [real], [negative], None),
        ("SQUARE", [negative], [square], None),
        ("QUANTIZE", [square], [squares], None),
        ("QUANTIZE", [negative], [negatives], None),
        ("ADD", [squares, negatives], [Item(IMAGE.shape, 0.3, -9)], schema.AddOptionsT()),
    ]
    network = check(steps, tmp_path)
    assert network.saved["functions taken out of float"] == 2
    assert kernels(network) == ["look_up", "look_up", "add"]
