# SPDX-License-Identifier: Apache-2.0
"""Unary int8 operators become tables of 256 bytes; consecutive tables become one.

They are logistic, tanh, the ReLU family and requantisation, and binary operators on one tensor
twice or on a tensor and a scalar constant.
"""

import numpy as np

from m3net_tf.compiler.operators.tables import table_of
from m3net_tf.tflite.graph import Graph, Operation


def make_tables(graph: Graph) -> int:
    """Replace operators by tables."""
    count = 0
    for op in graph.operations:
        if not _reads_int8(op):
            continue
        table = table_of(op)
        if table is None:
            continue
        variable = next(t for t in op.inputs if t is not None and t.data is None)
        if variable.shape != op.output.shape:
            continue  # broadcasting adds dimensions
        op.inputs, op.options, op.kind = [variable], {"table": table}, "TABLE"
        count += 1
    return count


def _reads_int8(op: Operation) -> bool:
    """Whether inputs and outputs are bytes, and one input is computed."""
    tensors = [*op.inputs, *op.outputs]
    types = ("int8", "uint8") if op.kind == "QUANTIZE" else ("int8",)
    return all(tensor is not None and tensor.dtype in types for tensor in tensors) and any(
        tensor is not None and tensor.data is None for tensor in op.inputs
    )


def join_tables(graph: Graph) -> int:
    """Replace a table whose only reader is a table by one for both."""
    count = 0
    producers = graph.producers()
    for op in list(graph.operations):
        before = producers.get(op.input(0)) if op.kind == "TABLE" else None
        if before is None or before.kind != "TABLE":
            continue
        middle = before.output
        if len(graph.readers(middle)) > 1 or middle in graph.outputs:
            continue
        inner = np.asarray(before.options["table"], np.int64)
        op.options = {**op.options, "table": op.options["table"][inner + 128]}
        op.inputs = [before.input(0)]
        graph.operations.remove(before)
        count += 1
    return count
