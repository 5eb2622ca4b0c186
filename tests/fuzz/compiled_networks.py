# SPDX-License-Identifier: Apache-2.0
"""The target ``compiled``: changed networks that the compiler accepts run under the sanitizers.

Each network is a valid one, often with channels that are constant or unread, with up to three
changes of its shapes, types, buffers, numbers, options or operators. Those that are accepted are
compiled for each goal, and with all their channels. The C of a batch is built for this machine with
the address and undefined-behaviour sanitizers, batch by batch with the kernels of plain C, RISC-V,
Winograd's form and AVX2, and runs in arenas of exactly the planned size. All must give the same
outputs, whatever the arenas held before.
"""

from __future__ import annotations

import atexit
import functools
import itertools
import resource
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from m3net_tf.compiler.goals import DEFAULT_GOAL, GOALS
from m3net_tf.compiler.network import CompiledNetwork, compile_network
from m3net_tf.system.errors import ModelError

sys.path.append(str(Path(__file__).parents[1] / "compiler"))

from dead_channels import compile_all_channels, dead_network, with_dead_channels
from emulated import HAS_AVX2, Case, run_checked
from reference import random_inputs
from single_operators import FLOAT_MAKERS, MAKERS, pack_model
from test_random_networks import random_network
from wide_operators import WIDE_MAKERS

NAME = "compiled"
BATCH = 200  # networks in one program
_MOST_CHANGES = 3
_PART_DEAD = 0.5
_ALL_CHANNELS = "all_channels"
_INPUTS = 4  # at most, of the program that runs the cases
_BYTES = 50_000  # of an arena, and of the inputs: larger networks only take longer
_SIZES = (1, 2, 3, 4, 5, 7, 8, 16, 17, 33, 64, 127, 128, 256, 513, 4097)
_TYPES = ("INT8", "INT16", "INT32", "INT64", "UINT8", "FLOAT32", "BOOL")
_KINDS = tuple(sorted(kind for kind in MAKERS))

#: The compiler's options for the kernels that run here.
_PATHS = (
    (),
    ("-DM3NET_ENGINE_RV32=1",),
    ("-DM3NET_ENGINE_WINOGRAD=1",),
    *((("-mavx2",),) if HAS_AVX2 else ()),
)

Random = np.random.Generator


def changed_network(seed: int, number: int) -> bytes:
    """A network that depends on two numbers alone."""
    rng = np.random.default_rng([seed, number])
    makers = [*(MAKERS | WIDE_MAKERS | FLOAT_MAKERS).values()]
    place = int(rng.integers(0, len(makers) + len(makers) // 4))
    if place < len(makers):
        tflite = makers[place](rng)
    else:
        make = dead_network if rng.random() < _PART_DEAD else random_network
        tflite = make(int(rng.integers(0, 1 << 31)))
    if rng.random() < _PART_DEAD:
        tflite = with_dead_channels(rng, tflite)
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAsModel(tflite, 0))
    for _ in range(int(rng.integers(0, _MOST_CHANGES + 1))):
        _CHANGES[int(rng.integers(0, len(_CHANGES)))](rng, model)
    return pack_model(model)


def _one(rng: Random, items: Sequence[Any]) -> Any:
    return items[int(rng.integers(0, len(items)))]


def _tensor(rng: Random, model: Any) -> Any:
    return _one(rng, model.subgraphs[0].tensors)


def _content(model: Any, tensor: Any) -> bytes:
    data = model.buffers[tensor.buffer].data
    return b"" if data is None else bytes(bytearray(data))


def _store(model: Any, tensor: Any, content: bytes) -> None:
    model.buffers.append(schema.BufferT())
    model.buffers[-1].data = np.frombuffer(content, np.uint8)
    tensor.buffer = len(model.buffers) - 1


def _reshape(model: Any, tensor: Any, shape: Sequence[int]) -> None:
    """Give a tensor a shape, and a constant as many items."""
    items = int(np.prod(tensor.shape))
    content = _content(model, tensor)
    tensor.shape = [int(size) for size in shape]
    wanted = int(np.prod(tensor.shape)) * (len(content) // max(items, 1))
    if content and 0 < wanted < _BYTES:
        _store(model, tensor, (content * (wanted // len(content) + 1))[:wanted])


def _change_shape(rng: Random, model: Any) -> None:
    tensor = _tensor(rng, model)
    shape = list(tensor.shape)
    place = int(rng.integers(0, len(shape))) if shape else 0
    kind = int(rng.integers(0, 5))
    if kind == 0 or not shape:
        shape.insert(place, int(_one(rng, _SIZES[:4])))
    elif kind == 1:
        del shape[place]
    elif kind == 2:
        shape.reverse()
    else:
        shape[place] = _one(rng, (*_SIZES, shape[place] + 1, shape[place] - 1))
    _reshape(model, tensor, shape)


def _change_dimension(rng: Random, model: Any) -> None:
    """All dimensions of one size become another one: more networks stay valid."""
    shape = _tensor(rng, model).shape
    if not len(shape):
        return
    before = _one(rng, shape)
    after = _one(rng, _SIZES)
    for tensor in model.subgraphs[0].tensors:
        if before in tensor.shape:
            _reshape(model, tensor, [after if n == before else n for n in tensor.shape])


def _leave_open(rng: Random, model: Any) -> None:
    """Sizes that the compiler has to find, as in a file with an unknown batch size."""
    tensor = _tensor(rng, model)
    tensor.shapeSignature = [-1] * len(tensor.shape)
    if rng.random() < 0.5:
        _reshape(model, tensor, [1] * len(tensor.shape))


def _change_type(rng: Random, model: Any) -> None:
    _tensor(rng, model).type = getattr(schema.TensorType, _one(rng, _TYPES))


def _change_buffer(rng: Random, model: Any) -> None:
    tensor = _tensor(rng, model)
    content = _content(model, tensor)
    kind = int(rng.integers(0, 4))
    if kind == 0:
        tensor.buffer = 0
    elif kind == 1 or not content:
        size = min(int(np.prod(tensor.shape)), _BYTES) * (1 + (tensor.type == 7))
        _store(model, tensor, rng.bytes(size))
    elif kind == 2:
        _store(model, tensor, rng.bytes(len(content)))
    else:
        other = bytearray(content)
        other[int(rng.integers(0, len(other)))] = int(_one(rng, (0, 1, 2, 3, 127, 128, 255)))
        _store(model, tensor, bytes(other))


def _change_quantization(rng: Random, model: Any) -> None:
    quantization = _tensor(rng, model).quantization
    if quantization is None or quantization.scale is None:
        return
    kind = int(rng.integers(0, 5))
    scales = list(quantization.scale)
    points = list(quantization.zeroPoint)
    if kind <= 1:
        power = 2.0 ** float(rng.uniform(-12, 12) if kind == 0 else rng.uniform(-120, 120))
        scales = [float(np.float32(min(scale * power, 3e38))) for scale in scales]
    elif kind == 2:
        points = [int(_one(rng, (-128, -127, -1, 0, 1, 127)))] * len(points)
    elif kind == 3:
        scales = scales[:1]
        points = points[:1]
    else:
        quantization.quantizedDimension = int(rng.integers(0, 5))
    quantization.scale = scales
    quantization.zeroPoint = points


def _change_option(rng: Random, model: Any) -> None:
    options = _one(rng, model.subgraphs[0].operators).builtinOptions
    if options is None or not vars(options):
        return
    name = _one(rng, sorted(vars(options)))
    value = getattr(options, name)
    if isinstance(value, bool):
        setattr(options, name, not value)
    elif isinstance(value, int):
        setattr(options, name, int(_one(rng, (-1, 0, 1, 2, 3, 4, 5, 100, 127))) % 128)
    elif isinstance(value, float):
        setattr(options, name, float(_one(rng, (0.0, -1.0, 1e-30, 1e30, 7.5, float("nan")))))


def _change_operator(rng: Random, model: Any) -> None:
    operator = _one(rng, model.subgraphs[0].operators)
    tensors = len(model.subgraphs[0].tensors)
    inputs = [int(index) for index in operator.inputs]
    kind = int(rng.integers(0, 5))
    if kind == 0:
        inputs[int(rng.integers(0, len(inputs)))] = int(rng.integers(-1, tensors))
    elif kind == 1:
        inputs.append(int(rng.integers(-1, tensors)))
    elif kind == 2:
        inputs.reverse()
    elif kind == 3:
        outputs = [int(index) for index in operator.outputs]
        operator.outputs = [*outputs, int(rng.integers(0, tensors))]
    else:
        code = model.operatorCodes[operator.opcodeIndex]
        number = getattr(schema.BuiltinOperator, _one(rng, _KINDS))
        code.builtinCode = number
        code.deprecatedBuiltinCode = min(number, 127)
    operator.inputs = inputs


_CHANGES: tuple[Callable[[Random, Any], None], ...] = (
    *(_change_shape, _change_dimension, _change_dimension, _change_type, _change_buffer),
    *(_change_quantization, _change_option, _change_operator, _leave_open),
)


def accepted_cases(seed: int, number: int, name: str) -> list[Case]:
    """A network with inputs, once for each goal and once with all channels.

    Returns:
        Nothing if the compiler refuses the network or it is large.

    Raises:
        AssertionError: the compiler's error is not one line, or it refuses only the network without
            dead channels.
    """
    tflite = changed_network(seed, number)
    whole = _compiled_or_none(lambda: compile_all_channels(tflite))
    network = _compiled_or_none(lambda: compile_network(tflite, goal=GOALS[DEFAULT_GOAL]))
    if network is None:
        assert whole is None, "it compiles with all channels alone"
        return []
    networks = {goal: compile_network(tflite, goal=GOALS[goal]) for goal in GOALS}
    if whole is not None:
        networks[_ALL_CHANNELS] = whole
    size = sum(tensor.size * tensor.item_bytes for tensor in network.graph.inputs)
    if max(size, network.plan.arena_bytes) > _BYTES or len(network.inputs) > _INPUTS:
        return []
    inputs = random_inputs(np.random.default_rng([seed, number]), network)
    return [Case(f"{name}_{goal}", each, inputs) for goal, each in networks.items()]


def _compiled_or_none(make: Callable[[], CompiledNetwork]) -> CompiledNetwork | None:
    try:
        return make()
    except ModelError as error:
        assert "\n" not in str(error), error
        return None


@functools.cache
def _folder() -> Path:
    """Sources, programs and the engine's objects, which are kept from batch to batch."""
    folder = Path(tempfile.mkdtemp(prefix="m3net-compiled-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def _failing(cases: dict[int, list[Case]], folder: Path, options: Sequence[str]) -> dict[int, str]:
    """Numbers and errors of the networks whose C is refused, stopped or wrong, found by halving."""
    if not cases:
        return {}
    try:
        outputs = iter(run_checked([*itertools.chain(*cases.values())], folder, *options))
    except (AssertionError, ModelError) as error:
        if len(cases) == 1:
            return {number: str(error) for number in cases}
        numbers = [*cases]
        halves = numbers[: len(numbers) // 2], numbers[len(numbers) // 2 :]
        parts = [
            _failing({number: cases[number] for number in half}, folder, options) for half in halves
        ]
        return parts[0] | parts[1] or {numbers[0]: f"{numbers}: {error}"}
    by_number = {
        number: {next(outputs).tobytes() for _ in goals} for number, goals in cases.items()
    }
    return {number: "goals differ" for number, each in by_number.items() if len(each) > 1}


def _batch(
    seed: int, numbers: itertools.count[int], found: dict[int, str]
) -> dict[int, list[Case]]:
    """The next networks that the compiler accepts, by their numbers."""
    cases: dict[int, list[Case]] = {}
    while len(cases) + len(found) < BATCH:
        number = next(numbers)
        try:
            goals = accepted_cases(seed, number, f"network_{len(cases)}")
        except Exception as error:  # anything but a ModelError is a defect
            found[number] = f"{type(error).__name__}: {error}"
            continue
        if goals:
            cases[number] = goals
    return cases


def run(seconds: float, inputs: int, seed: int, first: int, work: Path) -> dict[str, Any]:
    """Run accepted networks for some seconds, or until there were that many (-1: without end).

    Args:
        seconds: of real time; a batch that has begun ends.
        inputs: accepted networks.
        seed: with its number it says what a network is.
        first: number of the first network.
        work: for the files of networks that failed.

    Returns:
        The entry of the log.
    """
    start = time.monotonic()
    computed = _computed_s()
    numbers = itertools.count(first)
    paths = []
    ran = 0
    work.mkdir(parents=True, exist_ok=True)
    while time.monotonic() - start < seconds and (inputs < 0 or ran < inputs):
        found: dict[int, str] = {}
        cases = _batch(seed, numbers, found)
        ran += len(cases)
        options = _PATHS[ran // BATCH % len(_PATHS)]
        for number, error in (found | _failing(cases, _folder(), options)).items():
            paths.append(work / f"found-{NAME}-{seed}-{number}.tflite")
            paths[-1].write_bytes(changed_network(seed, number))
            paths[-1].with_suffix(".log").write_text(error)
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return {
        "target": NAME,
        "language": "Python and C",
        "inputs": ran,
        "seconds": round(time.monotonic() - start, 1),
        "cpu_seconds": round(_computed_s() - computed, 1),
        "next": next(numbers),
        "peak_rss_mb": usage.ru_maxrss >> 10,
        "status": int(bool(paths)),
        "found": [str(path) for path in paths],
    }


def _computed_s() -> float:
    usages = map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)
