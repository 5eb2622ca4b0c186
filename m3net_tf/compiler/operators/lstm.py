# SPDX-License-Identifier: Apache-2.0
"""UNIDIRECTIONAL_SEQUENCE_LSTM: int8 or int16 inputs and outputs, int8 weights, int16 cells.

Cell state and last output are kept between runs, as TensorFlow Lite Micro's variable tensors are.
"""

import math

import numpy as np

from m3net_tf.compiler.arithmetic import INT32_MAX, quantize_factor
from m3net_tf.compiler.lowering import Lowering
from m3net_tf.compiler.operators.common import (
    INT16_MAX,
    LARGEST_LONG_BIAS,
    LARGEST_LONG_SHIFT,
    is_wide,
    require,
)
from m3net_tf.compiler.operators.functions import logistic_table
from m3net_tf.compiler.structures import Array, Gate, Lstm
from m3net_tf.tflite.graph import QUANTISE, REPLACE, Operation, Tensor

_INPUTS = 24
_STATE, _CELLS = 18, 19  # indices of the variable inputs
_ABSENT = (9, 10, 11, 16, 17, 20, 21, 22, 23)  # peepholes, projection, normalisation
_GATES = ("input", "forget", "cell", "output")  # in the order of the weights
_FIRST_WEIGHTS, _FIRST_STATE_WEIGHTS, _FIRST_BIAS = 1, 5, 12
_TANH = 4  # schema.ActivationFunctionType
_GATE_SCALE, _UNIT = np.float32(2.0**-12), np.float32(2.0**-15)
_CELL_BYTES = 2
_LARGEST_ITEM = 128


def lstm(lowering: Lowering, op: Operation) -> None:
    """UNIDIRECTIONAL_SEQUENCE_LSTM without peepholes, projection and normalisation."""
    _require_form(lowering, op)
    source, state, cells = op.input(0), op.input(_STATE), op.input(_CELLS)
    view = lowering.packed_input(op, lowering.read(source))
    target = lowering.write(op.output)
    require(op, target.contiguous, "writes into a concatenation, which is not supported", REPLACE)
    batch, time = (1, 0) if op.options["timeMajor"] else (0, 1)
    count = state.shape[1]
    multiplier, shift = _cell_steps(op, cells)
    clip = _clip(op, cells)
    unit, cell_scale = float(_UNIT), float(cells.scale)
    layer = Lstm(
        **{name: _gate(op, index) for index, name in enumerate(_GATES)},
        table=logistic_table(),
        input_factor=quantize_factor(unit * unit / cell_scale),
        forget_factor=quantize_factor(unit * cell_scale / cell_scale),
        output_factor=quantize_factor(unit * unit / float(state.scale)),
        batches=source.shape[batch],
        steps=source.shape[time],
        inputs=source.shape[2],
        cells=count,
        input_batch_step=view.strides[batch],
        input_step=view.strides[time],
        output_batch_step=target.strides[batch],
        output_step=target.strides[time],
        cell_multiplier=multiplier,
        cell_shift=shift,
        clip=INT16_MAX if clip is None else clip,
        unclipped=clip is None,
        output_offset=state.zero_point,
    )
    start = (0, cells.size * _CELL_BYTES), (state.zero_point, state.size * target.item)
    kept = lowering.keep(f"{op.output.name} (state)", start)
    kernel = "lstm_16" if is_wide(op) else "lstm"
    lowering.call(op, kernel, [layer, view, target, kept], [view], target)


def _require_form(lowering: Lowering, op: Operation) -> None:
    require(op, len(op.inputs) == _INPUTS, f"has {len(op.inputs)} inputs, not {_INPUTS}")
    require(
        op,
        all(op.inputs[index] is None for index in _ABSENT),
        "has peepholes, a projection or a normalisation, which is not supported",
        REPLACE,
    )
    require(op, op.options["fusedActivationFunction"] == _TANH, "has a function other than tanh")
    source, state, cells = op.input(0), op.input(_STATE), op.input(_CELLS)
    for tensor, dtype in ((state, op.output.dtype), (cells, "int16")):
        require(op, tensor.is_state, f"has no state in {tensor.name!r}")
        require(op, tensor.dtype == dtype, f"has a state {tensor.name!r} that is not {dtype}")
        is_shared = len(lowering.graph.readers(tensor)) > 1
        require(op, not is_shared, f"shares its state {tensor.name!r} with another operator")
    require(
        op,
        len(source.shape) == 3
        and len(state.shape) == 2
        and state.shape == cells.shape
        and state.shape[0] == source.shape[1 if op.options["timeMajor"] else 0]
        and op.output.shape == (*source.shape[:2], state.shape[1]),
        "has tensors whose shapes do not fit",
    )


def _gate(op: Operation, index: int) -> Gate:
    source, state = op.input(0), op.input(_STATE)
    bias = op.input(_FIRST_BIAS + index)
    bias_type = "int64" if is_wide(op) else "int32"
    require(op, bias.dtype == bias_type, f"has a bias {bias.name!r} that is not {bias_type}")
    start = np.asarray(op.constant(_FIRST_BIAS + index), np.int64)
    parts = (
        (source, op.input(_FIRST_WEIGHTS + index), start),
        (state, op.input(_FIRST_STATE_WEIGHTS + index), np.zeros_like(start)),
    )
    weights, biases, factors = [], [], []
    for vector, tensor, initial in parts:
        values = _weights(op, tensor, (state.shape[1], vector.shape[-1]))
        require(op, initial.shape == (len(values),), f"has a bias of shape {initial.shape}")
        sums = initial - vector.zero_point * values.sum(axis=1)
        product = np.float32(vector.scale * tensor.scale)
        factor = quantize_factor(float(product) / float(_GATE_SCALE))
        require(
            op,
            not is_wide(op) or factor.shift <= LARGEST_LONG_SHIFT,
            "has weights too large",
            REPLACE,
        )
        weights.append(Array("weights", "int8_t", values.reshape(-1)))
        biases.append(_sums(op, sums, values))
        factors.append(factor)
    return Gate(
        input_weights=weights[0],
        state_weights=weights[1],
        input_bias=biases[0],
        state_bias=None if is_wide(op) else biases[1],
        input_factor=factors[0],
        state_factor=factors[1],
    )


def _sums(op: Operation, sums: np.ndarray, weights: np.ndarray) -> Array:
    """Initial values of the cells' accumulators: 64 bits for int16 inputs, else 32."""
    if is_wide(op):
        require(op, bool((np.abs(sums) < LARGEST_LONG_BIAS).all()), "has a bias above 2^46")
        return Array("biases", "int64_t", sums)
    reach = np.abs(sums) + _LARGEST_ITEM * np.abs(weights).sum(axis=1)
    require(op, bool((reach <= INT32_MAX).all()), "has sums above 32 bits", REPLACE)
    return Array("biases", "int32_t", sums)


def _weights(op: Operation, tensor: Tensor, shape: tuple[int, int]) -> np.ndarray:
    if tensor.dtype != "int8" or tensor.data is None or tensor.shape != shape:
        raise op.error(f"has weights {tensor.name!r} that are not int8 constants of shape {shape}")
    require(op, tensor.zero_point == 0, "has weights whose zero point is not zero", QUANTISE)
    return np.asarray(tensor.data, np.int64)


def _cell_steps(op: Operation, cells: Tensor) -> tuple[int, int]:
    """Multiplier and shift from cells to steps of the function's table."""
    bits = round(math.log2(cells.scale)) + 12
    require(op, -15 <= bits <= 12, "has cells of a scale that is not supported", REPLACE)
    return (3, -bits) if bits < 0 else (3 << bits, 0)


def _clip(op: Operation, cells: Tensor) -> int | None:
    """Largest absolute value of a cell; None if it is not clipped."""
    limit = float(np.float32(op.options["cellClip"]))
    if not limit > 0:
        return None
    return int(min(limit / float(cells.scale), INT16_MAX))
