# SPDX-License-Identifier: Apache-2.0
"""Dead-code elimination."""

from m3net_tf.tflite.graph import Graph


def drop_unused(graph: Graph) -> int:
    """Drop operators, from the last one on, that no output and no variable depends on."""
    needed = set(graph.outputs)
    count = 0
    for op in reversed(list(graph.operations)):
        if needed.isdisjoint(op.outputs) and op.kind != "ASSIGN_VARIABLE":
            graph.operations.remove(op)
            count += 1
        else:
            needed.update(tensor for tensor in op.inputs if tensor is not None)
    return count
