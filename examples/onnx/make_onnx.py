# SPDX-License-Identifier: Apache-2.0
"""Writes small.onnx, a classifier of log-mel maps with random weights, and features.npy.

It needs the package onnx. Input: 1 x 1 x 40 bins x 49 frames. Output: 4 shares. The features are
what onnx2tf calibrates with, frames and bins in the place that TensorFlow has for them.
"""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

RNG = np.random.default_rng(0)


def weights(name: str, *shape: int) -> onnx.TensorProto:
    """Random weights that keep the size of what they are applied to."""
    values = RNG.normal(0, 1, shape) / np.sqrt(np.prod(shape[1:]))
    return numpy_helper.from_array(values.astype(np.float32), name)


NODES = [
    helper.make_node("Conv", ["features", "first"], ["a"], strides=[2, 2], pads=[1, 1, 1, 1]),
    helper.make_node("Relu", ["a"], ["b"]),
    helper.make_node("Conv", ["b", "second"], ["c"], group=16, pads=[1, 1, 1, 1]),
    helper.make_node("Relu", ["c"], ["d"]),
    helper.make_node("Conv", ["d", "third"], ["e"]),
    helper.make_node("HardSwish", ["e"], ["f"]),
    helper.make_node("GlobalAveragePool", ["f"], ["g"]),
    helper.make_node("Flatten", ["g"], ["h"]),
    helper.make_node("Gemm", ["h", "fourth"], ["i"], transB=1),
    helper.make_node("Softmax", ["i"], ["scores"], axis=1),
]
GRAPH = helper.make_graph(
    NODES,
    "small",
    [helper.make_tensor_value_info("features", TensorProto.FLOAT, [1, 1, 40, 49])],
    [helper.make_tensor_value_info("scores", TensorProto.FLOAT, [1, 4])],
    [
        weights("first", 16, 1, 3, 3),
        weights("second", 16, 1, 3, 3),
        weights("third", 24, 16, 1, 1),
        weights("fourth", 4, 24),
    ],
)

if __name__ == "__main__":
    opset = [helper.make_opsetid("", 14)]
    onnx.save(helper.make_model(GRAPH, opset_imports=opset, ir_version=8), "small.onnx")
    np.save("features.npy", RNG.uniform(-1, 127 / 128, (64, 40, 49, 1)).astype(np.float32))
