# SPDX-License-Identifier: Apache-2.0
"""Bias correction: compensates the mean error that int8 weights cause in each channel.

Layer by layer from the input, each channel's bias is raised by the difference between its mean in
the float network and in int8, over the calibration clips (Nagel et al., 2019, section 4.2, with
data). This also compensates errors from earlier layers.
"""

import numpy as np

from m3net_tf.quantization.observation import Float, watch
from m3net_tf.quantization.ptq import quantize_calibrated
from m3net_tf.runtime.interpreter import Int8
from m3net_tf.tflite.graph import WEIGHTED, Graph, Operation
from m3net_tf.tflite.read import read_graph
from m3net_tf.tflite.write import write_graph

#: Lower limit of the share of a ReLU's outputs above 0, below which the mean is unreliable.
_LEAST_ACTIVE = 0.1


def correct_biases(tflite: bytes, calibration: Int8, name: str) -> tuple[bytes, tuple[str, ...]]:
    """Correct the biases of all convolutions and dense layers.

    From a float graph of :func:`.ptq.calibrate` and int8 features (clips, bins, frames, channels):
    a float graph with ranges, whose float outputs differ from before; and the layers whose biases
    were changed.

    Raises:
        ModelError: a layer has no int8 form.
    """
    graph = read_graph(tflite)
    corrected = [op for op in graph.operations if _can_correct(graph, op)]
    targets = {op.output.name: op for op in corrected}
    expected = _means(tflite, calibration, list(targets))
    active = _active_shares(tflite, calibration, corrected)
    layers = []
    for name_of_output, op in targets.items():
        small = quantize_calibrated(write_graph(tflite, graph), name)
        actual = _means(small, calibration, [name_of_output])
        if name_of_output not in actual:  # fused into another operator in int8
            continue
        error = expected[name_of_output] - actual[name_of_output]
        op.input(2).data = op.constant(2) + error / active[name_of_output]
        layers.append(graph.keras_layer(op))
    return write_graph(tflite, graph), tuple(layers)


def _can_correct(graph: Graph, op: Operation) -> bool:
    if op.kind not in WEIGHTED or op.activation not in ("NONE", "RELU", "RELU6"):
        return False
    bias = op.inputs[2] if len(op.inputs) > 2 else None
    return bias is not None and bias.data is not None and len(graph.readers(bias)) == 1


def _means(tflite: bytes, features: Int8, names: list[str]) -> dict[str, Float]:
    """Mean of each channel of named tensors; missing tensors are omitted."""
    outputs = [tensor for op in read_graph(tflite).operations for tensor in op.outputs]
    chosen = {tensor.index: tensor.name for tensor in outputs if tensor.name in names}
    sums: dict[str, Float] = {}
    for values in watch(tflite, features, list(chosen)):
        for index, value in values.items():
            mean = value.reshape(-1, value.shape[-1]).mean(0, dtype=float)
            sums[chosen[index]] = sums.get(chosen[index], np.zeros_like(mean)) + mean
    return {name: total / len(features) for name, total in sums.items()}


def _active_shares(
    tflite: bytes, features: Int8, operations: list[Operation]
) -> dict[str, Float | float]:
    """Change of a channel's mean per change of its bias: the share of outputs above 0 at a ReLU."""
    rectified = {op.output.index for op in operations if op.activation != "NONE"}
    counts: dict[int, Float] = {}
    for values in watch(tflite, features, rectified):
        for index, value in values.items():
            share = (value.reshape(-1, value.shape[-1]) > 0).mean(0)
            counts[index] = counts.get(index, np.zeros_like(share)) + share / len(features)
    return {
        op.output.name: np.maximum(counts[op.output.index], _LEAST_ACTIVE)
        if op.output.index in counts
        else 1.0
        for op in operations
    }
