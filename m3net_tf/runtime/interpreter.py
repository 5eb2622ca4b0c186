# SPDX-License-Identifier: Apache-2.0
"""Runs an int8 ``.tflite`` on a desktop with TFLite's reference kernels or TFLite Micro.

Both must give the microcontroller's bytes. The XNNPACK delegate is disabled because it rounds
differently.

A network with 16-bit activations has int8 inputs and outputs here, as on the device: features are
shifted left by 8 bits, and a score, which is never negative, is reduced to its upper 8 bits.
"""

import re
from typing import Any

import numpy as np
import numpy.typing as npt

from m3net_tf.audio.frontend import dequantize_features
from m3net_tf.system.errors import ModelError, one_line
from m3net_tf.system.extras import how_to_install
from m3net_tf.system.native import native_stderr

try:
    from ai_edge_litert.interpreter import Interpreter, OpResolverType
except ImportError:  # small machines may have the predecessor
    from tflite_runtime.interpreter import Interpreter, OpResolverType

Int8 = npt.NDArray[np.int8]
PREDECESSOR = Interpreter.__module__.startswith("tflite_runtime")
ARENA_LIMIT_BYTES = 64 << 20
_ARENA_STEP_BYTES = 64


def load_interpreter(
    tflite: bytes, *, fast: bool = False, every_tensor: bool = False
) -> Interpreter:
    """An interpreter with TFLite's reference kernels, ready to run on one thread.

    Args:
        fast: with faster kernels, which round otherwise.
        every_tensor: with kernels of middle speed, and with the values of all tensors after a run.

    Raises:
        ModelError: the network cannot be loaded.
    """
    kernels = OpResolverType.AUTO if fast else OpResolverType.BUILTIN_REF
    if every_tensor:
        kernels = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    try:
        interpreter = Interpreter(
            model_content=tflite,
            experimental_op_resolver_type=kernels,
            experimental_preserve_all_tensors=every_tensor,
            num_threads=1,
        )
        interpreter.allocate_tensors()
    except (RuntimeError, ValueError) as error:
        text = one_line(error)
        if "find op" in text:
            raise ModelError(
                f"the TFLite interpreter lacks an operator of the network ({text}): install a "
                "newer one, pip install -U ai-edge-litert"
            ) from None
        raise ModelError(f"the .tflite file cannot be run ({text}): export it again") from None
    if PREDECESSOR:
        _require_single_axes(interpreter)
    return interpreter


def _require_single_axes(interpreter: Interpreter) -> None:
    """Refuse networks for which tflite-runtime 2.14 silently reverses only the first axis."""
    for operator in interpreter._get_ops_details():
        is_reversal = operator["op_name"] == "REVERSE_V2"
        if is_reversal and interpreter.get_tensor(operator["inputs"][1]).size > 1:
            raise ModelError(
                "tflite-runtime reverses one axis where this network's REVERSE_V2 has two: "
                "install its successor, pip install ai-edge-litert"
            )


def tensor_quantization(tflite: bytes, which: str) -> tuple[float, int]:
    """Scale and zero point of the int8 values at the network's ``input`` or ``output``.

    Raises:
        ModelError: the file is not a TFLite model.
    """
    interpreter = load_interpreter(tflite)
    details = getattr(interpreter, f"get_{which}_details")()[0]
    scale = float(details["quantization"][0])
    zero_point = int(details["quantization"][1])
    if details["dtype"] != np.int16:
        return scale, zero_point
    return (scale * 256, zero_point) if which == "input" else (scale * 128, zero_point - 128)


def activation_bits(tflite: bytes) -> int:
    """Width of the network's activations: 8 or 16.

    Raises:
        ModelError: the file is not a TFLite model.
    """
    return 8 * int(np.dtype(load_interpreter(tflite).get_input_details()[0]["dtype"]).itemsize)


def widen(features: Int8) -> npt.NDArray[np.int16]:
    """Convert int8 features to the input of a network with 16-bit activations."""
    return features.astype(np.int16) << 8


def narrow(scores: npt.NDArray[np.int16]) -> Int8:
    """Convert 16-bit scores, 0 to 32 767, to int8: scale 1/256, zero point -128."""
    return ((scores >> 7) - 128).astype(np.int8)


def int8_scores(scores: npt.NDArray[Any]) -> Int8:
    """Convert the scores of a network of any width to int8."""
    return narrow(scores) if scores.dtype == np.int16 else scores


def run_reference(tflite: bytes, features: Int8) -> Int8:
    """Run TFLite's reference kernels (``BUILTIN_REF``).

    Args:
        features: int8, shape (clips, bins, frames, channels).

    Returns:
        int8 scores, shape (clips, classes).

    Raises:
        ModelError: the network cannot be loaded.
    """
    return int8_scores(run_raw(load_interpreter(tflite), features))


def run_raw(interpreter: Interpreter, features: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Run a network of any width; returns its raw output, shape (clips, classes)."""
    source = interpreter.get_input_details()[0]
    target = interpreter.get_output_details()[0]["index"]
    outputs = []
    for clip in features:
        interpreter.reset_all_variables()  # an LSTM's state must not affect the next clip
        interpreter.set_tensor(source["index"], as_input(clip, source["dtype"])[None])
        interpreter.invoke()
        outputs.append(interpreter.get_tensor(target)[0].copy())
    return np.stack(outputs)


def as_input(features: npt.NDArray[Any], dtype: type) -> npt.NDArray[Any]:
    """Convert int8 features to the type of a network's input: float, int8 or int16.

    Float features, which only float networks use, are not converted.
    """
    if features.dtype == np.float32:
        return features
    if dtype == np.float32:
        return dequantize_features(features)
    return widen(features) if dtype == np.int16 else features


def tflm_unavailable_reason() -> str:
    """Reason why TFLite Micro's Python package is unusable; '' if it is usable."""
    try:
        _tflm()
    except ImportError as error:
        return f"the tflite-micro package does not load ({error}): {how_to_install('firmware')}"
    return ""


def run_tflm(tflite: bytes, features: Int8, arena_bytes: int = ARENA_LIMIT_BYTES) -> Int8:
    """Run TFLite Micro on the host (the ``tflite-micro`` wheel).

    Args:
        features: int8, shape (clips, bins, frames, channels).

    Returns:
        int8 scores, shape (clips, classes).

    Raises:
        ModelError: the wheel is missing, it lacks an operator, or the arena is too small.
    """
    # With the predecessor of LiteRT there is no schema to import.
    from m3net_tf.tflite.read import read_graphs

    interpreter = _load_tflm(tflite, arena_bytes)
    dtype = interpreter.get_input_details(0)["dtype"]
    runs_once = len(read_graphs(tflite)) > 1
    outputs: list[npt.NDArray[Any]] = []
    for clip in features:
        if runs_once and outputs:  # a reset sets variables to zero points, not to the file's values
            interpreter = _load_tflm(tflite, arena_bytes)
        interpreter.reset()  # an LSTM's state must not affect the next clip
        interpreter.set_input(np.ascontiguousarray(as_input(clip, dtype)[None]), 0)
        interpreter.invoke()
        outputs.append(interpreter.get_output(0)[0].copy())
    return int8_scores(np.stack(outputs))


def host_allocations(tflite: bytes) -> tuple[int, int]:
    """Memory of a network in bytes, from TFLite Micro's recording allocator on this host.

    Returns:
        Head of the arena, with tensors and scratch memory, and tail, with persistent data.

    Raises:
        ModelError: the wheel is missing or the network cannot be loaded.
    """
    interpreter = _load_tflm(tflite, ARENA_LIMIT_BYTES)
    with native_stderr() as report:  # the wheel can only print them
        interpreter.invoke()
        interpreter.print_allocations()
        report.seek(0)
        text = report.read().decode(errors="replace")
    sizes = re.search(r"head (\d+) bytes.*?tail (\d+) bytes", text, flags=re.DOTALL)
    if not sizes:
        raise ModelError("TFLite Micro did not report its arena: install the pinned tflite-micro")
    return int(sizes[1]), int(sizes[2])


def host_arena_bytes(tflite: bytes) -> int:
    """Arena that TFLite Micro uses on this host, in bytes.

    It is an upper bound for a 32-bit device with the same kernels, where pointers have half the
    size. Optimised kernels may need additional scratch memory, which only the device can report.

    Raises:
        ModelError: the wheel is missing or the network cannot be loaded.
    """
    arena_bytes = sum(host_allocations(tflite))
    # This does not include temporary memory that TFLM needs while it plans the arena.
    while arena_bytes < ARENA_LIMIT_BYTES and not _loads(tflite, arena_bytes):
        arena_bytes += _ARENA_STEP_BYTES
    return arena_bytes


def _tflm() -> Any:
    with native_stderr():  # the wheel's own imports of TensorFlow are noisy
        from tflite_micro.python.tflite_micro import runtime
    # Some versions print from Python to the standard output, where JSON may follow. To redirect
    # that would take the output of all threads.
    runtime.print = lambda *_, **__: None
    return runtime


def _loads(tflite: bytes, arena_bytes: int) -> bool:
    try:
        _load_tflm(tflite, arena_bytes)
    except ModelError:
        return False
    return True


def _load_tflm(tflite: bytes, arena_bytes: int) -> Any:
    reason = tflm_unavailable_reason()
    if reason:
        raise ModelError(reason)
    try:
        with native_stderr():
            return _tflm().Interpreter.from_bytes(tflite, arena_size=arena_bytes)
    except (RuntimeError, ValueError) as error:
        raise ModelError(
            f"TFLite Micro cannot load the network with an arena of {arena_bytes} bytes "
            f"({one_line(error)}): enlarge the arena, or check its operators"
        ) from None
