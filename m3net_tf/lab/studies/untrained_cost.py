# SPDX-License-Identifier: Apache-2.0
"""Cost of an untrained network: parameters, MACs, and time and memory on this machine.

As a program (``python -m m3net_tf.lab.studies.untrained_cost FILE.tflite``) it prints time and
memory of one ``.tflite`` as JSON: in a separate process, only the interpreter is measured.
"""

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from m3net_tf.system.artifacts import parse_json
from m3net_tf.system.errors import ConfigError, ModelError

FIGURES = ("parameters", "macs", "latency_ms", "memory_mb")
_RUNS = 11
_LONGEST_S = 20.0


def measure(model: Mapping[str, Any], figure: str) -> dict[str, float]:
    """Measure a network with its preset's input and classes.

    Args:
        model: section ``model`` of a recipe.

    Returns:
        ``parameters`` and ``macs``. If ``figure`` is ``latency_ms`` or ``memory_mb``, also these
        two: the median time of one clip and the peak memory of the process, for the float network
        in TensorFlow Lite on one thread.

    Raises:
        ConfigError: an unknown figure, network or argument.
        ModelError: TensorFlow Lite cannot run the network.
    """
    from m3net_tf.networks.models import build_model
    from m3net_tf.networks.models.complexity import count_macs
    from m3net_tf.system.keras import keras

    if figure not in FIGURES:
        raise ConfigError(f"metric model.{figure} is unknown: choose from {', '.join(FIGURES)}")
    network = build_model(
        model["name"], model.get("preset", "mcu"), overrides=model.get("arguments")
    )
    facts: dict[str, float] = {"parameters": network.count_params(), "macs": count_macs(network)}
    if figure in ("latency_ms", "memory_mb"):
        facts.update(_measured(network))
    keras.backend.clear_session()
    return facts


def _measured(network: Any) -> dict[str, float]:
    from m3net_tf.quantization.ptq import converter_of
    from m3net_tf.system.native import native_stderr

    with native_stderr():
        # One clip per batch: recurrent layers need a known size.
        content = converter_of(network, (1, *network.input_shape[1:])).convert()
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "model.tflite"
        path.write_bytes(content)
        command = [sys.executable, "-m", "m3net_tf.lab.studies.untrained_cost", str(path)]
        answer = subprocess.run(command, capture_output=True, text=True, check=False)
    if answer.returncode:
        text = " ".join(answer.stderr.split())[-200:]
        raise ModelError(f"TensorFlow Lite cannot run {network.name} ({text}): leave the cell out")
    measured: dict[str, float] = parse_json(answer.stdout, dict[str, float])
    return measured


def _run_tflite(path: Path) -> dict[str, float]:
    import numpy as np
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(path), num_threads=1)
    interpreter.allocate_tensors()
    rng = np.random.default_rng(0)
    for tensor in interpreter.get_input_details():
        interpreter.set_tensor(
            tensor["index"], rng.uniform(-1, 1, tensor["shape"]).astype(tensor["dtype"])
        )
    interpreter.invoke()  # the first call prepares the kernels
    times: list[float] = []
    while len(times) < _RUNS and sum(times) < _LONGEST_S:
        start = time.perf_counter()
        interpreter.invoke()
        times.append(time.perf_counter() - start)
    latency_ms = 1000 * statistics.median(times)
    return {"latency_ms": round(latency_ms, 2), "memory_mb": round(_peak_memory_mb(), 1)}


def _peak_memory_mb() -> float:
    """Peak resident memory of this process.

    Linux's getrusage would include the memory of the parent process.
    """
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024 / 1e6
    raise ModelError("/proc/self/status has no VmHWM: memory is only measured on Linux")


if __name__ == "__main__":
    print(json.dumps(_run_tflite(Path(sys.argv[1]))))
