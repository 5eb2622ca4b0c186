# SPDX-License-Identifier: Apache-2.0
"""SVDF: filters over features and time, whose latest results outlast a run."""

import numpy as np

from m3net_tf.compiler.arithmetic import quantize_factor
from m3net_tf.compiler.calls import packed
from m3net_tf.compiler.lowering import Lowering
from m3net_tf.compiler.operators.common import require
from m3net_tf.compiler.structures import Array, Svdf
from m3net_tf.tflite.graph import QUANTISE, REPLACE, Operation, Tensor

_RELU = 1  # schema.ActivationFunctionType
_STATE = 4
_LARGEST = 1 << 16  # inputs, or results over time, whose products fit 32 bits
_BIAS_TOLERANCE = 1e-5  # TensorFlow Lite Micro's


def svdf(lowering: Lowering, op: Operation) -> None:
    """SVDF with a state of int8 or int16."""
    source, features, time, state = (op.input(index) for index in (0, 1, 2, _STATE))
    filters, depth = features.shape
    rank = int(op.options["rank"])
    units = op.output.shape[1]
    _require_form(lowering, op, filters, rank)
    memory = time.shape[1]
    view = lowering.packed_input(op, lowering.read(source))
    target = lowering.write(op.output)
    require(op, target.contiguous, "writes into a concatenation, which is not supported", REPLACE)
    bias = np.zeros(units, np.int64) if op.inputs[3] is None else op.constant(3).reshape(-1)
    first = np.float32(source.scale * features.scale) / state.scale
    second = np.float32(state.scale * time.scale) / op.output.scale
    layer = Svdf(
        features=_array("features", "int8_t", features),
        time=_array("time_weights", "int16_t", time),
        bias=Array("biases", "int32_t", np.asarray(bias, np.int64)),
        state_factor=quantize_factor(float(np.float32(first))),
        output_factor=quantize_factor(float(np.float32(second))),
        batches=source.shape[0],
        inputs=depth,
        units=units,
        rank=rank,
        memory=memory,
        state_bytes=state.item_bytes,
        input_offset=-source.zero_point,
        state_offset=state.zero_point,
        output_offset=op.output.zero_point,
    )
    fill = state.zero_point if state.item_bytes == 1 else 0
    kept = lowering.keep(f"{op.output.name} (state)", ((fill, state.size * state.item_bytes),))
    results = packed(kept, (kept.size,))
    lowering.call(op, "svdf", [layer, view, target, results], [view], target)


def _require_form(lowering: Lowering, op: Operation, filters: int, rank: int) -> None:
    source, features, time, state = (op.input(index) for index in (0, 1, 2, _STATE))
    activation = op.options["fusedActivationFunction"]
    require(op, activation == _RELU, "has a function other than ReLU")
    require(op, rank > 0 and filters % rank == 0, "has a rank that does not divide its filters")
    require(op, not features.zero_point, "has weights whose zero point is not zero", QUANTISE)
    require(
        op,
        time.data is not None
        and time.dtype == state.dtype
        and time.dtype in ("int8", "int16")
        and len(time.shape) == 2
        and time.shape[0] == filters
        and not time.zero_point,
        "has weights of time that do not fit",
    )
    require(
        op,
        len(source.shape) == 2
        and source.shape[1] == features.shape[1]
        and state.is_state
        and state.shape == (source.shape[0], filters * time.shape[1])
        and len(lowering.graph.readers(state)) == 1
        and (state.dtype == "int8" or not state.zero_point),
        "has a state that does not fit",
    )
    require(op, max(features.shape[1], time.shape[1]) < _LARGEST, "has too many inputs", REPLACE)
    if op.inputs[3] is not None and len(op.input(3).scales):
        error = abs(float(op.input(3).scale) - float(np.float32(state.scale * time.scale)))
        require(op, error < _BIAS_TOLERANCE, "has a bias of another scale than its sums", QUANTISE)


def _array(label: str, ctype: str, tensor: Tensor) -> Array:
    return Array(label, ctype, np.asarray(tensor.data, np.int64).reshape(-1))
