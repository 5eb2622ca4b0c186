# SPDX-License-Identifier: Apache-2.0
"""Files whose vectors refer to the same tables again and again, which would fill the memory."""

import functools
import time
import tracemalloc

import flatbuffers
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from single_operators import MAKERS

from m3net_tf.boards.measure.layers import operators_in_order
from m3net_tf.compiler.read import read_network
from m3net_tf.export.operators import operators_of
from m3net_tf.system.errors import ModelError
from m3net_tf.tflite.unpack import unpack

MANY = 1000


@functools.cache
def repeated(starts):
    """The file of an operator in which the named vectors have each item many times."""
    tflite = MAKERS["SOFTMAX"](np.random.default_rng(0))
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAsModel(tflite, 0))
    (graph,) = model.subgraphs
    graph.name = "n" * 2000
    model.metadata = [schema.MetadataT()]
    model.metadata[0].name = "m" * 2000
    model.signatureDefs = [schema.SignatureDefT()]
    model.signatureDefs[0].inputs = [schema.TensorMapT()]
    builder = flatbuffers.Builder(1024)
    packed = {}

    def once(item, pack):
        """An object that stands in several vectors is written once."""

        def pack_once(to):
            if id(item) not in packed:
                packed[id(item)] = pack(to)
            return packed[id(item)]

        return pack_once

    owners = {"operatorCodes": model, "subgraphs": model, "buffers": model, "metadata": model}
    owners |= {"signatureDefs": model, "tensors": graph, "operators": graph}
    owners["inputs"] = model.signatureDefs[0]
    for name in starts:
        items = getattr(owners[name], name)
        for item in items:
            item.Pack = once(item, item.Pack)
        setattr(owners[name], name, [item for item in items for _ in range(MANY)])
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


BOMBS = [
    ("subgraphs", "tensors"),
    ("subgraphs", "operators"),
    ("signatureDefs", "inputs"),
    ("metadata",),
    ("subgraphs",),
]


@pytest.mark.parametrize("names", BOMBS, ids="-".join)
@pytest.mark.parametrize("read", [read_network, operators_of, operators_in_order])
def test_shared_tables_are_refused_before_they_are_unpacked(names, read):
    tflite = repeated(names)
    assert len(tflite) < 40_000
    tracemalloc.start()
    start = time.process_time()
    with pytest.raises(ModelError, match="the same parts again and again"):
        read(tflite)
    seconds = time.process_time() - start
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert seconds < 2
    assert peak < 4 << 20


def test_every_operator_is_within_the_limits():
    for make in MAKERS.values():
        assert len(unpack(make(np.random.default_rng(0))).subgraphs) == 1
