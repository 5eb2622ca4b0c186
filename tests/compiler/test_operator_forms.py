# SPDX-License-Identifier: Apache-2.0
"""Each operator with one thing about its tensors changed: shape, rank, type, buffer, number."""

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from refusals import refuses
from single_operators import (
    COMPARISONS,
    MAKERS,
    Item,
    changed,
    pack_model,
    write_model,
    write_network,
)
from wide_operators import WIDE_MAKERS, widen

from m3net_tf.compiler.network import compile_network
from m3net_tf.compiler.operators import OPERATORS
from m3net_tf.compiler.operators.forms import FORMS
from m3net_tf.system.errors import ModelError

TYPES = schema.TensorType
FLAT = "input: one dimension less"
REPEATED = "input 1: longer"  # axes that stand twice
BROADCASTING = {
    *("ADD", "BATCH_MATMUL", "DIV", "MAXIMUM", "MINIMUM", "MUL", "PRELU", "SELECT_V2"),
    *("SQUARED_DIFFERENCE", "SUB", *COMPARISONS),
}
REDUCTIONS = ("MEAN", "REDUCE_MAX", "REDUCE_MIN", "SUM")
#: What may stay a valid network: only items count, a size is of no account, or a kernel converts.
VALID = {
    **{kind: {FLAT} for kind in BROADCASTING},  # if the dimension had one item
    **{kind: {REPEATED, "input: larger"} for kind in REDUCTIONS},
    **{kind: {"output: int32"} for kind in ("ARG_MAX", "ARG_MIN")},  # as before
    "FULLY_CONNECTED": {FLAT, "output: one dimension more"},
    "QUANTIZE": {"output: type", "output: int32", "input: type"},
    "RESHAPE": {FLAT, "output: reversed", "output: flat", "output: one dimension more"}
    | {REPEATED, "input 1: type"},
    "REVERSE_V2": {REPEATED},
    "SLICE": {"input: larger"},
    "STRIDED_SLICE": {"input: larger"},
}


class Changed:
    """The model of an operator, to be changed."""

    def __init__(self, tflite):
        self.model = schema.ModelT.InitFromObj(schema.Model.GetRootAsModel(tflite, 0))
        (self.graph,) = self.model.subgraphs
        (self.operator,) = self.graph.operators
        self.inputs = [int(index) for index in self.operator.inputs]
        self.outputs = [int(index) for index in self.operator.outputs]

    def tensor(self, index):
        return self.graph.tensors[index]

    @property
    def output(self):
        return self.tensor(self.outputs[0])

    @property
    def data(self):
        """The first input that is computed."""
        return self.tensor(next(i for i in self.inputs if i >= 0 and not self.values(i)))

    def values(self, index):
        content = self.model.buffers[self.tensor(index).buffer].data
        return b"" if content is None else bytes(content)

    def constants(self):
        """Places of the inputs that are constants."""
        return [place for place, i in enumerate(self.inputs) if i >= 0 and self.values(i)]

    def store(self, tensor, content):
        buffer = schema.BufferT(data=np.frombuffer(content, np.uint8))
        self.model.buffers.append(buffer)
        tensor.buffer = len(self.model.buffers) - 1

    def retype(self, tensor, dtype):
        tensor.type = dtype
        if tensor.quantization is not None and tensor.quantization.zeroPoint is not None:
            tensor.quantization.zeroPoint = [0] * len(tensor.quantization.zeroPoint)

    def pack(self):
        self.operator.inputs = self.inputs
        self.operator.outputs = self.outputs
        return pack_model(self.model)


def shaped(tensor, shape):
    tensor.shape = [int(size) for size in shape]


def other_type(tensor):
    return TYPES.INT16 if tensor.type == TYPES.INT8 else TYPES.INT8


CHANGES = {
    "output: larger": lambda c: shaped(c.output, [*c.output.shape[:-1], c.output.shape[-1] + 7]),
    "output: smaller": lambda c: shaped(c.output, [1] * len(c.output.shape)),
    "output: reversed": lambda c: shaped(c.output, c.output.shape[::-1]),
    "output: flat": lambda c: shaped(c.output, [np.prod(c.output.shape)]),
    "output: one dimension more": lambda c: shaped(c.output, [1, *c.output.shape]),
    "output: type": lambda c: c.retype(c.output, other_type(c.output)),
    "output: int32": lambda c: c.retype(c.output, TYPES.INT32),
    "output: a constant": lambda c: c.store(
        c.output, bytes(int(np.prod(c.output.shape)) * (1 + (c.output.type == TYPES.INT16)))
    ),
    "output: twice": lambda c: c.outputs.append(c.outputs[0]),
    "input: larger": lambda c: shaped(c.data, [c.data.shape[0] + 7, *c.data.shape[1:]]),
    "input: one dimension less": lambda c: shaped(
        c.data, [c.data.shape[0] * c.data.shape[1], *c.data.shape[2:]]
    ),
    "input: type": lambda c: c.retype(c.data, other_type(c.data)),
    "input: none": lambda c: c.inputs.clear(),
    "input: one more": lambda c: c.inputs.append(c.inputs[0]),
}
CONSTANT_CHANGES = {
    "longer": lambda c, tensor, content: (
        c.store(tensor, content + content),
        shaped(tensor, [2 * tensor.shape[0], *tensor.shape[1:]] if len(tensor.shape) else [2]),
    ),
    "type": lambda c, tensor, content: c.retype(
        tensor, TYPES.FLOAT32 if tensor.type == TYPES.INT32 else TYPES.UINT8
    ),
    "computed": lambda c, tensor, content: setattr(tensor, "buffer", 0),
}


def model_of(kind):
    """A random model whose output and first input have dimensions that can be told apart."""
    for seed in range(10_000):
        tflite = (MAKERS | WIDE_MAKERS)[kind](np.random.default_rng(seed))
        one = Changed(tflite)
        shape = list(one.output.shape)
        source = [*one.data.shape, 0, 0]
        if kind == "QUANTIZE_16" and one.output.type == one.data.type:
            continue
        is_told_apart = len(shape) > 1 and shape != shape[::-1] and shape[1] > 1
        if source[1] > 1 and (is_told_apart or kind.startswith("RESHAPE")):
            return tflite
    raise AssertionError(kind)


def accepted_changes(kind):
    """Names of the changes after which the compiler takes the network."""
    tflite = model_of(kind)
    accepted = set()
    compile_network(tflite)
    made = {name: Changed(tflite) for name in CHANGES}
    for name, change in CHANGES.items():
        change(made[name])
    for place in Changed(tflite).constants():
        for name, change in CONSTANT_CHANGES.items():
            one = made[f"input {place}: {name}"] = Changed(tflite)
            index = one.inputs[place]
            change(one, one.tensor(index), one.values(index))
    for name, one in made.items():
        try:
            compile_network(one.pack())
        except ModelError as error:
            assert "\n" not in str(error)
        else:
            accepted.add(name)
    return accepted


@pytest.mark.parametrize("kind", MAKERS | WIDE_MAKERS)
def test_a_changed_operator_is_refused(kind):
    assert accepted_changes(kind) <= VALID.get(kind.removesuffix("_16"), set())


def test_every_operator_of_a_file_has_a_form():
    assert set(FORMS) == set(OPERATORS) - {"MOVE_LINES"}  # which a pass makes later


def test_open_sizes_follow_from_the_inputs():
    """Of every operator, and of a TRANSPOSE_CONV whose shape is computed from its input's."""
    models = {kind: make(np.random.default_rng(0)) for kind, make in MAKERS.items()}
    models["computed shape"] = transposed_by_shape()
    ones = schema.SqueezeOptionsT(squeezeDims=[1])
    models["SQUEEZE"] = write_model("SQUEEZE", [Item((1, 1, 3))], [Item((1, 3))], ones)
    for kind, tflite in models.items():
        whole, opened = map(compile_network, (tflite, changed(tflite, leave_open)))
        assert [out.shape for out in opened.outputs] == [out.shape for out in whole.outputs], kind


def leave_open(graph):
    for index in {index for op in graph.operators for index in op.outputs}:
        tensor = graph.tensors[index]
        if tensor.type != TYPES.INT32 or len(graph.operators) == 1:
            tensor.shapeSignature = [-1] * len(tensor.shape)
            tensor.shape = [1] * len(tensor.shape)


def transposed_by_shape():
    """SHAPE, STRIDED_SLICE and PACK, as the converter writes them for an open batch."""
    source = Item((1, 1, 7, 4), 0.1, 3)
    output = Item((1, 1, 14, 3), 0.2, 5)
    whole, first, packed = (Item(shape, dtype="int32") for shape in ((4,), (), (4,)))
    ends = [Item((1,), values=np.array([number], np.int32)) for number in (0, 1, 1)]
    sizes = [Item((), values=np.array(size, np.int32)) for size in output.shape[1:]]
    weights = Item((3, 1, 3, 4), 0.01, values=np.ones((3, 1, 3, 4), np.int8))
    window = schema.TransposeConvOptionsT(strideH=1, strideW=2, padding=schema.Padding.SAME)
    return write_network(
        [
            ("SHAPE", [source], [whole], schema.ShapeOptionsT(outType=TYPES.INT32)),
            (
                "STRIDED_SLICE",
                [whole, *ends],
                [first],
                schema.StridedSliceOptionsT(shrinkAxisMask=1),
            ),
            ("PACK", [first, *sizes], [packed], schema.PackOptionsT(valuesCount=4)),
            ("TRANSPOSE_CONV", [packed, weights, source], [output], window),
        ]
    )


@pytest.mark.parametrize("widened", [False, True])
@pytest.mark.parametrize(
    ("source", "output"), [((1, 64), (1, 4)), ((1, 4), (1, 64)), ((2, 8), (8, 2)), ((8,), (2,))]
)
def test_a_softmax_of_another_shape(source, output, widened):
    """The kernel would write behind the arena."""
    options = schema.SoftmaxOptionsT(beta=1.0)
    tflite = write_model("SOFTMAX", [Item(source, 0.1, 3)], [Item(output, 1 / 256, -128)], options)
    with refuses(ModelError, "SOFTMAX", "'tensor1'"):
        compile_network(widen(tflite) if widened else tflite)
