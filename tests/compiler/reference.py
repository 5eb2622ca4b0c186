# SPDX-License-Identifier: Apache-2.0
"""Answers of TFLite Micro's reference kernels, by its wheel, and of LiteRT's."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from m3net_tf.compiler.network import CompiledNetwork
from m3net_tf.runtime.interpreter import ARENA_LIMIT_BYTES, load_interpreter
from m3net_tf.system.native import native_stderr


def run_micro(tflite: bytes, inputs: Sequence[np.ndarray], outputs: int) -> list[np.ndarray]:
    """All outputs of a network for its inputs."""
    from tflite_micro.python.tflite_micro import runtime

    with native_stderr():
        interpreter = runtime.Interpreter.from_bytes(tflite, arena_size=ARENA_LIMIT_BYTES // 16)
        for index, values in enumerate(inputs):
            interpreter.set_input(np.ascontiguousarray(values), index)
        interpreter.invoke()
    return [interpreter.get_output(index).copy() for index in range(outputs)]


def run_lite(tflite: bytes, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
    """All outputs of a network for its inputs, by LiteRT: for operators that TFLite Micro lacks."""
    interpreter = load_interpreter(tflite)
    for details, values in zip(interpreter.get_input_details(), inputs, strict=True):
        interpreter.set_tensor(details["index"], values)
    interpreter.invoke()
    return [interpreter.get_tensor(item["index"]) for item in interpreter.get_output_details()]


def random_inputs(rng: np.random.Generator, network: CompiledNetwork) -> list[np.ndarray]:
    """Noise of int8, int16 or bool, now and then the extreme values alone."""
    values = []
    for tensor in network.graph.inputs:
        if tensor.dtype == "bool":
            values.append(rng.integers(0, 2, tensor.shape).astype(bool))
            continue
        ends = np.iinfo(tensor.dtype)
        if rng.random() < 0.2:
            values.append(rng.choice(np.array([ends.min, ends.max], tensor.dtype), tensor.shape))
        else:
            noise = rng.integers(ends.min, ends.max + 1, tensor.shape)
            values.append(noise.astype(tensor.dtype))
    return values
