# SPDX-License-Identifier: Apache-2.0
"""What runs an int8 ``.tflite`` on a desktop: TFLite's reference kernels and TFLite Micro.

Both must give the bytes that the microcontroller gives. The XNNPACK delegate is kept out: it
rounds differently.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import numpy.typing as npt
from ai_edge_litert.interpreter import Interpreter, OpResolverType

from m3net_tf.errors import ModelError
from m3net_tf.native import native_stderr

Int8 = npt.NDArray[np.int8]
ARENA_LIMIT_BYTES = 64 << 20
_ARENA_STEP_BYTES = 64


def _reference(tflite: bytes) -> Interpreter:
    try:
        interpreter = Interpreter(
            model_content=tflite,
            experimental_op_resolver_type=OpResolverType.BUILTIN_REF,
            num_threads=1,
        )
        interpreter.allocate_tensors()
    except (RuntimeError, ValueError) as error:
        text = " ".join(str(error).split())[:200]
        raise ModelError(f"the .tflite file cannot be run ({text}): export it again") from None
    return interpreter


def tensor_quantization(tflite: bytes, which: str) -> tuple[float, int]:
    """Scale and zero point of the ``input`` or ``output`` tensor.

    Raises:
        ModelError: the file is not a TFLite model.
    """
    interpreter = _reference(tflite)
    details = getattr(interpreter, f"get_{which}_details")()[0]
    scale, zero_point = details["quantization"]
    return float(scale), int(zero_point)


def run_reference(tflite: bytes, features: Int8) -> Int8:
    """Run TFLite's reference kernels (``BUILTIN_REF``).

    Args:
        tflite: int8 network.
        features: int8, shape (clips, bins, frames, channels).

    Returns:
        int8 scores, shape (clips, classes).

    Raises:
        ModelError: the network cannot be loaded.
    """
    interpreter = _reference(tflite)
    source = interpreter.get_input_details()[0]["index"]
    target = interpreter.get_output_details()[0]["index"]
    outputs = []
    for clip in features:
        interpreter.reset_all_variables()  # an LSTM's state must not go over to the next clip
        interpreter.set_tensor(source, clip[None])
        interpreter.invoke()
        outputs.append(interpreter.get_tensor(target)[0].copy())
    return np.stack(outputs)


def tflm_unavailable_reason() -> str:
    """Why TFLite Micro's Python build cannot be used; '' if it can."""
    try:
        _tflm()
    except ImportError as error:
        return f"the tflite-micro package does not load ({error}): pip install 'm3net_tf[firmware]'"
    return ""


def run_tflm(tflite: bytes, features: Int8, arena_bytes: int = ARENA_LIMIT_BYTES) -> Int8:
    """Run TFLite Micro on the host (the ``tflite-micro`` wheel).

    Args:
        tflite: int8 network.
        features: int8, shape (clips, bins, frames, channels).
        arena_bytes: memory that the interpreter may use.

    Returns:
        int8 scores, shape (clips, classes).

    Raises:
        ModelError: the wheel is missing, an operator is unknown to it, or the arena is too small.
    """
    interpreter = _load_tflm(tflite, arena_bytes)
    outputs = []
    for clip in features:
        interpreter.reset()  # an LSTM's state must not go over to the next clip
        interpreter.set_input(np.ascontiguousarray(clip[None]), 0)
        interpreter.invoke()
        outputs.append(interpreter.get_output(0)[0].copy())
    return np.stack(outputs)


def host_arena_bytes(tflite: bytes) -> int:
    """Arena that TFLite Micro uses on this host, in bytes.

    An upper bound for a 32-bit device with the same kernels: pointers are half as long there.
    Optimised kernels may ask for scratch memory of their own, which only the device tells.

    Raises:
        ModelError: the wheel is missing or the network cannot be loaded.
    """
    interpreter = _load_tflm(tflite, ARENA_LIMIT_BYTES)
    with native_stderr() as report:  # the wheel can only print its figures
        interpreter.invoke()
        interpreter.print_allocations()
        report.seek(0)
        text = report.read().decode(errors="replace")
    total = re.search(r"Arena allocation total (\d+) bytes", text)
    if not total:
        raise ModelError("TFLite Micro did not report its arena: install the pinned tflite-micro")
    arena_bytes = int(total[1])
    # What TFLM needs for a moment while it plans the memory is not in that figure.
    while arena_bytes < ARENA_LIMIT_BYTES and not _loads(tflite, arena_bytes):
        arena_bytes += _ARENA_STEP_BYTES
    return arena_bytes


def _tflm() -> Any:
    with native_stderr():  # the wheel's own imports of TensorFlow are noisy
        from tflite_micro.python.tflite_micro import runtime
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
            f"TFLite Micro refuses the network with an arena of {arena_bytes} bytes "
            f"({' '.join(str(error).split())[:160]}): enlarge the arena, or check its operators"
        ) from None
