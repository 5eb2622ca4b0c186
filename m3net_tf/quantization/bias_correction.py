# SPDX-License-Identifier: Apache-2.0
"""Bias correction: compensates the mean error that int8 weights cause in each channel.

Layer by layer from the input, each channel's bias is raised by the difference between its mean in
the float network and in int8, over the calibration clips (Nagel et al., 2019, section 4.2, with
data). This also compensates errors from earlier layers.
"""

import numpy as np

from m3net_tf.quantization.graph import WEIGHTED, Graph, Operator
from m3net_tf.quantization.observation import Float, watch
from m3net_tf.quantization.ptq import quantize_calibrated
from m3net_tf.runtime.interpreter import Int8

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
    graph = Graph(tflite)
    corrected = [operator for operator in graph.operators if _can_correct(graph, operator)]
    targets = {graph.name(operator.outputs[0]): operator for operator in corrected}
    expected = _means(tflite, calibration, list(targets))
    active = _active_shares(tflite, calibration, corrected)
    layers = []
    for tensor, operator in targets.items():
        actual = _means(quantize_calibrated(graph.pack(), name), calibration, [tensor])
        if tensor not in actual:  # fused into another operator in int8
            continue
        bias = graph.constant(operator.inputs[2])
        assert bias is not None
        graph.set_constant(
            operator.inputs[2], bias + (expected[tensor] - actual[tensor]) / active[tensor]
        )
        layers.append(graph.layer(operator))
    return graph.pack(), tuple(layers)


def _can_correct(graph: Graph, operator: Operator) -> bool:
    if operator.kind not in WEIGHTED or operator.activation not in ("NONE", "RELU", "RELU6"):
        return False
    bias = operator.inputs[2] if len(operator.inputs) > 2 else -1
    shared = sum(bias in user.inputs for user in graph.operators) > 1
    return bias >= 0 and not shared and graph.constant(bias) is not None


def _means(tflite: bytes, features: Int8, names: list[str]) -> dict[str, Float]:
    """Mean of each channel of named tensors; missing tensors are omitted."""
    graph = Graph(tflite)
    tensors = {t: graph.name(t) for operator in graph.operators for t in operator.outputs}
    chosen = {t: name for t, name in tensors.items() if name in names}
    sums: dict[str, Float] = {}
    for values in watch(tflite, features, list(chosen)):
        for tensor, value in values.items():
            mean = value.reshape(-1, value.shape[-1]).mean(0, dtype=float)
            sums[chosen[tensor]] = sums.get(chosen[tensor], np.zeros_like(mean)) + mean
    return {name: total / len(features) for name, total in sums.items()}


def _active_shares(
    tflite: bytes, features: Int8, operators: list[Operator]
) -> dict[str, Float | float]:
    """Change of a channel's mean per change of its bias: the share of outputs above 0 at a ReLU."""
    graph = Graph(tflite)
    rectified = {operator.outputs[0] for operator in operators if operator.activation != "NONE"}
    counts: dict[int, Float] = {}
    for values in watch(tflite, features, rectified):
        for tensor, value in values.items():
            share = (value.reshape(-1, value.shape[-1]) > 0).mean(0)
            counts[tensor] = counts.get(tensor, np.zeros_like(share)) + share / len(features)
    return {
        graph.name(operator.outputs[0]): np.maximum(counts[operator.outputs[0]], _LEAST_ACTIVE)
        if operator.outputs[0] in counts
        else 1.0
        for operator in operators
    }
