# SPDX-License-Identifier: Apache-2.0
"""Estimate of TensorFlow Lite Micro's arena on a 32-bit core, without a compiler for it.

The wheel's recording allocator gives head (tensors, shared over time) and tail (the runtime's own
objects) on this 64-bit computer. On 32 bits the tail is smaller, as its pointers are; the head is
larger by the scratch memory that CMSIS-NN's kernels need and the wheel's reference kernels do not.
To find how much larger, the algorithm of the memory planner is run here with it and without.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

from ai_edge_litert import schema_py_generated as schema

from m3net_tf.compiler.unpack import unpack
from m3net_tf.runtime.interpreter import host_allocations

# Differences in bytes between 64 and 32 bits, from the sizes of TFLM's structures.
_SAVED_A_TENSOR = 24 - 12  # TfLiteEvalTensor
_SAVED_AN_OPERATOR = 64 - 32  # NodeAndRegistration
_SAVED_AN_END = (64 + 32) - (40 + 20)  # TfLiteTensor and its quantisation, of input and output
# Measured on the emulated Cortex-M4F: pointers in kernels' data, and the runtime's own objects,
# which are also smaller without recording.
_SAVED_A_KERNEL = 5
_SAVED_A_RUNTIME = 470

_HANDLE = 4  # of each scratch buffer, in the tail

# Temporary memory of the planning on 32 bits: AllocationInfo for each tensor or scratch buffer,
# ScratchBufferRequest for each scratch buffer, and the planner's tables for each that is in the
# arena.
_PLANNING_AN_ENTRY = 24
_PLANNING_A_REQUEST = 12
_PLANNING_A_BUFFER = 40

_ALIGNMENT = 16
_BYTES = {
    schema.TensorType.FLOAT32: 4,
    schema.TensorType.INT32: 4,
    schema.TensorType.INT64: 8,
    schema.TensorType.INT16: 2,
    schema.TensorType.INT8: 1,
    schema.TensorType.UINT8: 1,
    schema.TensorType.BOOL: 1,
}


@dataclasses.dataclass(frozen=True)
class Buffer:
    """Memory in the arena's head.

    Attributes:
        size: bytes.
        first: step of the run in which it is first needed.
        last: step in which it is last needed.
    """

    size: int
    first: int
    last: int


@dataclasses.dataclass(frozen=True)
class ArenaEstimate:
    """Arena on a 32-bit core.

    Attributes:
        used_bytes: memory used by a run, as the board reports it.
        needed_bytes: memory needed to start: a network of hundreds of operators and small maps
            needs more for planning its memory than for a run.
    """

    used_bytes: int
    needed_bytes: int


def estimate_arena(networks: Sequence[bytes], kernels: str) -> ArenaEstimate:
    """Estimate the arena of networks on a 32-bit core.

    Args:
        networks: contents of ``.tflite`` files that run one after the other in one arena.
        kernels: one of :data:`m3net_tf.boards.builds.cores.KERNELS`.

    Raises:
        ModelError: the wheel is missing or a network cannot be loaded.
    """
    used, planning, tails = [], [], 0
    for tflite in networks:
        head, tail = host_allocations(tflite)
        graph = Graph(tflite)
        tensors, scratch = graph.buffers(), graph.scratch(kernels)
        tails += tail - graph.saved_bytes() + _HANDLE * len(scratch)
        used.append(head + planned_bytes(tensors + scratch) - planned_bytes(tensors))
        planning.append(graph.planning_bytes(len(tensors), len(scratch)))
    return ArenaEstimate(max(used) + tails, max(used + planning) + tails)


def planned_bytes(buffers: Sequence[Buffer]) -> int:
    """Size of the memory in which TFLM's greedy planner places buffers.

    The largest buffer is placed first, the later one of equals before the earlier. Each goes to
    the lowest gap that is free while the buffer is needed.
    """
    placed: list[tuple[int, Buffer]] = []  # by offset, in the order of placing for equal ones
    highest = 0
    for buffer in sorted(reversed(buffers), key=lambda buffer: -buffer.size):
        offset = 0
        for start, neighbour in placed:
            if neighbour.first > buffer.last or buffer.first > neighbour.last:
                continue
            if start - offset >= buffer.size:
                break
            offset = max(offset, start + neighbour.size)
        placed.append((offset, buffer))
        placed.sort(key=lambda entry: entry[0])
        highest = max(highest, offset + buffer.size)
    return highest


class Graph:
    """One network's operators and tensors, as the planner sees them."""

    def __init__(self, tflite: bytes) -> None:
        model = unpack(tflite)
        graph = model.subgraphs[0]
        self._tensors = graph.tensors
        self._operators = graph.operators
        self._ends = (list(graph.inputs), list(graph.outputs))
        self._constant = [
            model.buffers[tensor.buffer].data is not None
            and len(model.buffers[tensor.buffer].data) > 0
            for tensor in graph.tensors
        ]
        self._codes = [
            max(code.builtinCode, code.deprecatedBuiltinCode) for code in model.operatorCodes
        ]

    def saved_bytes(self) -> int:
        """Bytes by which the tail is smaller on 32 bits."""
        return (
            _SAVED_A_TENSOR * len(self._tensors)
            + (_SAVED_AN_OPERATOR + _SAVED_A_KERNEL) * len(self._operators)
            + _SAVED_AN_END * sum(map(len, self._ends))
            + _SAVED_A_RUNTIME
        )

    def planning_bytes(self, tensors: int, scratch: int) -> int:
        """Temporary memory of the planning, at the place of the head."""
        entries = len(self._tensors) + scratch
        return (
            _PLANNING_AN_ENTRY * entries
            + _PLANNING_A_REQUEST * scratch
            + _PLANNING_A_BUFFER * (tensors + scratch)
        )

    def buffers(self) -> list[Buffer]:
        """Tensors in the head, from the operator that writes them to the last that reads them."""
        inputs, outputs = self._ends
        first = dict.fromkeys(inputs, 0)
        last = dict.fromkeys(inputs, 0)
        for step, operator in enumerate(self._operators, start=1):
            for index in operator.outputs:
                first.setdefault(index, step)
            for index in (*operator.inputs, *operator.outputs):
                last[index] = step
        for index in outputs:
            last[index] = len(self._operators)
        return [
            Buffer(_aligned(self._size(tensor)), first[index], last[index])
            for index, tensor in enumerate(self._tensors)
            if not self._constant[index]
            and not tensor.isVariable
            and self._size(tensor)
            and index in first
        ]

    def scratch(self, kernels: str) -> list[Buffer]:
        """Memory that CMSIS-NN's convolutions and poolings need while they run."""
        buffers = []
        for step, operator in enumerate(self._operators, start=1):
            if size := self._scratch_bytes(operator, kernels):
                buffers.append(Buffer(_aligned(size), step, step))
        return buffers

    def _scratch_bytes(self, operator: Any, kernels: str) -> int:
        """Result of CMSIS-NN's functions ``arm_..._get_buffer_size``."""
        kinds = schema.BuiltinOperator
        code = self._codes[operator.opcodeIndex]
        if code not in (kinds.AVERAGE_POOL_2D, kinds.CONV_2D, kinds.DEPTHWISE_CONV_2D):
            return 0
        wide = self._tensors[operator.outputs[0]].type == schema.TensorType.INT16
        channels = int(self._tensors[operator.inputs[0]].shape[-1])
        if code == kinds.AVERAGE_POOL_2D:
            return 4 * channels if kernels == "dsp" else 0
        _, height, width, depth = map(int, self._tensors[operator.inputs[1]].shape)
        if code == kinds.CONV_2D:
            if height == width == 1 and depth == channels and not wide:
                return 0
            return _convolution_bytes(height * width * channels, kernels, wide)
        options = operator.builtinOptions
        if depth != channels or (options.dilationHFactor, options.dilationWFactor) != (1, 1):
            return 0
        return _depthwise_bytes(height, width, channels, kernels)

    @staticmethod
    def _size(tensor: Any) -> int:
        return math.prod(map(int, tensor.shape)) * _BYTES[tensor.type]


def _convolution_bytes(columns: int, kernels: str, wide: bool) -> int:
    if kernels == "helium":
        lanes = 8 if wide else 16
        return 4 * 16 * -(-columns // lanes)
    return 4 * (columns if wide else -(-columns // 4) * 4)


def _depthwise_bytes(height: int, width: int, channels: int, kernels: str) -> int:
    # TFLM asks by the type of the weights, which are int8 with 16-bit activations, too.
    taps = height * width
    if kernels == "helium":
        return 4 * 124 * taps
    if kernels == "plain" or height == width == 3:
        return 0
    return 2 * channels * taps


def _aligned(size: int) -> int:
    return -(-size // _ALIGNMENT) * _ALIGNMENT
