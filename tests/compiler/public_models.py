# SPDX-License-Identifier: Apache-2.0
"""Compiles all ``.tflite`` files of a folder and compares them with TFLite Micro's wheel.

Where TFLite Micro gives other bytes or none, it gets the file with the sizes that LiteRT finds, as
it takes 1 for a size that the file leaves open. What it then refuses is compared with LiteRT's
reference kernels.

``python tests/compiler/public_models.py FOLDER [--inputs 200] [--files]`` compiles each file once,
however often it is there, runs it on inputs that begin with extreme values, and prints how many
files have which outcome. The exit status is 1 if a network gives other bytes than both.
"""

import argparse
import hashlib
import multiprocessing
import multiprocessing.connection
import re
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from open_sizes import frozen
from reference import run_lite

from m3net_tf.compiler.host import HostNetwork, build_host
from m3net_tf.compiler.network import CompiledNetwork, compile_network
from m3net_tf.runtime.interpreter import ARENA_LIMIT_BYTES, load_interpreter
from m3net_tf.system.errors import M3NetError, ModelError
from m3net_tf.system.native import native_stderr
from m3net_tf.tflite.graph import Tensor

EQUAL, SIZED = "equal bytes", "equal bytes, with the open sizes written into the file"
AS_LITERT = "LiteRT's bytes, where TFLite Micro has others or none"
DIFFERENT, NO_REFERENCE = "OTHER BYTES", "TFLite Micro and LiteRT refuse the file"
FLOAT = "float weights or activations"
CUSTOM = "operators that TFLite does not define"
LIMIT_S = 1800
Reference = Callable[[list[np.ndarray], int], list[np.ndarray]]


def values_of(tensor: Tensor, number: int, rng: np.random.Generator) -> np.ndarray:
    """An input: the smallest item alone, the largest, both, then noise from quiet to loud."""
    if tensor.dtype == "bool":
        return rng.integers(0, 2, tensor.shape).astype(bool)
    ends = np.iinfo(tensor.dtype)
    if number < 2:
        return np.full(tensor.shape, (ends.min, ends.max)[number], tensor.dtype)
    if number < 10:
        return rng.choice(np.array([ends.min, ends.max], tensor.dtype), tensor.shape)
    middle = tensor.zero_points[0] if tensor.zero_points else 0
    noise = middle + rng.normal(0, 2.0 ** rng.uniform(0, 8), tensor.shape) * (ends.max / 127)
    return np.clip(np.rint(noise), ends.min, ends.max).astype(tensor.dtype)


def all_in_file(tensors: list[Tensor], items: list[np.ndarray]) -> list[np.ndarray]:
    """Inputs or outputs as the file has them."""
    return [as_in_file(tensor, values) for tensor, values in zip(tensors, items, strict=True)]


def as_in_file(tensor: Tensor, values: np.ndarray) -> np.ndarray:
    """Items as the file has them: numbers, where the compiler left the conversion to the caller."""
    if tensor.file_dtype != "float32":
        return values
    return ((values.astype(np.float32) - tensor.zero_point) * tensor.scale).astype(np.float32)


def outcome(path: Path, count: int) -> str:
    """What became of a file: one of the constants above, or the reason of a refusal."""
    tflite = path.read_bytes()
    try:
        network = compile_network(tflite)
    except ModelError as error:
        if has_custom_operators(tflite):
            return CUSTOM
        return FLOAT if is_float(tflite) else reason(str(error))
    found = NO_REFERENCE
    with tempfile.TemporaryDirectory() as folder, native_stderr():
        host = build_host({"network": network}, Path(folder))["network"]
        for equal, make in ((EQUAL, micro), (SIZED, sized), (AS_LITERT, lite)):
            try:
                reference = make(tflite)
            except (M3NetError, RuntimeError, ValueError):  # it refuses the file
                continue
            if is_equal(network, host, reference, count):
                return equal
            found = DIFFERENT
    return found


def micro(tflite: bytes) -> Reference:
    """Runs a network by TFLite Micro."""
    from tflite_micro.python.tflite_micro import runtime

    interpreter = runtime.Interpreter.from_bytes(tflite, arena_size=ARENA_LIMIT_BYTES)

    def run(inputs: list[np.ndarray], outputs: int) -> list[np.ndarray]:
        for index, values in enumerate(inputs):
            interpreter.set_input(values, index)
        interpreter.invoke()
        return [interpreter.get_output(index) for index in range(outputs)]

    return run


def sized(tflite: bytes) -> Reference:
    """Runs a network of one input by TFLite Micro, with the sizes that LiteRT finds."""
    (details,) = load_interpreter(tflite).get_input_details()
    return micro(frozen(tflite, np.zeros(details["shape"], details["dtype"])))


def lite(tflite: bytes) -> Reference:
    """Runs a network by LiteRT's reference kernels."""
    return lambda inputs, _: run_lite(tflite, inputs)


def is_equal(network: CompiledNetwork, host: HostNetwork, reference: Reference, count: int) -> bool:
    """Whether two give the same bytes for each of the inputs."""
    rng = np.random.default_rng(0)
    host.reset()
    for number in range(count):
        inputs = [values_of(tensor, number, rng) for tensor in network.graph.inputs]
        theirs = reference(all_in_file(network.graph.inputs, inputs), len(network.outputs))
        mine = all_in_file(network.graph.outputs, host.run(*inputs))
        pairs = zip(mine, theirs, strict=True)
        if not all(np.array_equal(one.ravel(), other.ravel()) for one, other in pairs):
            return False
    return True


def is_float(tflite: bytes) -> bool:
    """Whether a file has float weights, or no tensor of int8, int16 or uint8."""
    types = schema.TensorType
    try:
        model = schema.ModelT.InitFromObj(schema.Model.GetRootAsModel(tflite, 0))
        tensors = [tensor for graph in model.subgraphs for tensor in graph.tensors]
        used = {tensor.type for tensor in tensors}
        weights = [t for t in tensors if t.shape is not None and len(t.shape) > 1]
        stored = {t.type for t in weights if model.buffers[t.buffer].data is not None}
    except Exception:  # a damaged file
        return False
    return not used & {types.INT8, types.INT16, types.UINT8} or types.FLOAT32 in stored


def has_custom_operators(tflite: bytes) -> bool:
    """Whether a file has operators that TFLite does not define, such as an NPU's."""
    try:
        model = schema.ModelT.InitFromObj(schema.Model.GetRootAsModel(tflite, 0))
    except Exception:  # a damaged file
        return False
    custom = schema.BuiltinOperator.CUSTOM
    return any(code.deprecatedBuiltinCode == custom for code in model.operatorCodes)


def reason(message: str) -> str:
    """A message without the names and numbers of one file."""
    return re.sub(r"-?\d[\d.e+-]*", "#", re.sub(r"'[^']*'", "…", message))[:110]


def in_a_process(path: Path, count: int) -> str:
    """The outcome of a file; TFLite Micro ends the process if an operator refuses its numbers."""
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.Process(target=_send, args=(theirs, path, count))
    process.start()
    theirs.close()
    try:
        answered = ours.poll(LIMIT_S)
        return str(ours.recv()) if answered else f"no answer in {LIMIT_S} s"
    except EOFError:
        return "TFLite Micro stops the program"
    finally:
        process.kill()
        process.join()


def _send(pipe: multiprocessing.connection.Connection, path: Path, count: int) -> None:
    try:
        pipe.send(outcome(path, count))
    except M3NetError as error:
        pipe.send(reason(str(error)))


def main(words: list[str] | None = None) -> int:
    """Print the table.

    Args:
        words: of the command line; default: this process's.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--inputs", type=int, default=200, help="runs of each network")
    parser.add_argument("--files", action="store_true", help="also a line for each file")
    arguments = parser.parse_args(words)
    files: dict[str, Path] = {}
    for path in sorted(arguments.folder.rglob("*.tflite")):
        files.setdefault(hashlib.sha256(path.read_bytes()).hexdigest(), path)
    if not files:
        parser.error(f"{arguments.folder} has no .tflite file")
    counts: Counter[str] = Counter()
    for path in files.values():
        result = in_a_process(path, arguments.inputs)
        counts[result] += 1
        if arguments.files:
            print(f"{path.relative_to(arguments.folder)}: {result}", flush=True)
    for result, number in counts.most_common():
        print(f"{number:5}  {result}")
    quantised = len(files) - counts[FLOAT] - counts[CUSTOM]
    equal = counts[EQUAL] + counts[SIZED] + counts[AS_LITERT]
    compiled = equal + counts[DIFFERENT] + counts[NO_REFERENCE]
    print(f"{compiled} of {quantised} quantised files compile; {equal} give equal bytes")
    return 1 if counts[DIFFERENT] else 0


if __name__ == "__main__":
    sys.exit(main())
