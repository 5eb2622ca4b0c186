# SPDX-License-Identifier: Apache-2.0
"""Answers of TFLite Micro's reference kernels, by its wheel, and of LiteRT's."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from m3net_tf.compiler.host import HostNetwork, build_host
from m3net_tf.compiler.network import CompiledNetwork, compile_network
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


def assert_equals_micro(tflite: bytes, network: CompiledNetwork, host: HostNetwork) -> None:
    """Compare all outputs of five random inputs with TFLite Micro's."""
    rng = np.random.default_rng(0)
    for _ in range(5):
        inputs = random_inputs(rng, network)
        expected = run_micro(tflite, inputs, len(network.outputs))
        for mine, theirs in zip(host.run(*inputs), expected, strict=True):
            np.testing.assert_array_equal(mine, theirs)


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


def differing(
    models: Mapping[str, bytes],
    folder: Path,
    runs: int,
    resets: Sequence[int],
    flags: Sequence[str] = (),
) -> tuple[dict[str, int], dict[str, CompiledNetwork]]:
    """Compare sequences of runs, in which states last, with TFLite Micro's.

    Args:
        models: networks by name.
        folder: of the libraries.
        runs: length of the sequence.
        resets: runs before which both forget.
        flags: of the compiler.

    Returns:
        The first run with other bytes, by name of the network; and the compiled networks.
    """
    from tflite_micro.python.tflite_micro import runtime

    networks = {name: compile_network(tflite) for name, tflite in models.items()}
    hosts = build_host(networks, folder, flags)
    wrong: dict[str, int] = {}
    for name, tflite in models.items():
        rng = np.random.default_rng(1)
        with native_stderr():
            micro = runtime.Interpreter.from_bytes(tflite, arena_size=1 << 20)
        for run in range(runs):
            if run in resets:
                micro.reset()
                hosts[name].reset()
            inputs = random_inputs(rng, networks[name])
            for index, values in enumerate(inputs):
                micro.set_input(values, index)
            micro.invoke()
            outputs = hosts[name].run(*inputs)
            expected = [micro.get_output(index) for index in range(len(outputs))]
            pairs = zip(outputs, expected, strict=True)
            if any(mine.tobytes() != theirs.tobytes() for mine, theirs in pairs):
                wrong.setdefault(name, run)
    return wrong, networks
