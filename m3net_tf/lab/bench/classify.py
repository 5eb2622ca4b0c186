# SPDX-License-Identifier: Apache-2.0
"""Start-up time of ``m3net classify``, and the packages that it imports."""

from __future__ import annotations

import tempfile
import wave
from pathlib import Path

from m3net_tf.lab.bench.start_up import imported_packages, time_python
from m3net_tf.runtime import Classifier
from m3net_tf.system.artifacts import Provenance, provenance

LIMIT_S = 1.0
"""Limit of the start-up time."""
LOADED = """
import pathlib, sys
from m3net_tf.runtime import Classifier
Classifier(pathlib.Path(sys.argv[1]))
"""
"""Python that loads the network that its argument names."""


class StartUp(Provenance):
    """Medians of the start of new processes.

    Seconds are by the wall clock; those with ``_cpu`` are processor time, which does not depend on
    the load of the machine.

    Attributes:
        starts: processes of each kind.
        limit_s: :data:`LIMIT_S`.
        within_limit: whether ``start_up_s`` is below the limit.
        bare_python_s: start of a bare Python.
        start_up_s: until the network is loaded.
        first_answer_s: until the command has classified a second of silence and ended.
        imports: packages outside the standard library, with the seconds of their own modules.
    """

    starts: int
    limit_s: float
    within_limit: bool
    bare_python_s: float
    bare_python_cpu_s: float
    start_up_s: float
    start_up_cpu_s: float
    first_answer_s: float
    first_answer_cpu_s: float
    imports: dict[str, float]


def run_bench_classify(model: Path, starts: int = 7) -> StartUp:
    """Time the start of new processes by the wall clock.

    Args:
        model: exported ``.tflite``, or folder of an export or a run.
        starts: processes of each kind; their median counts.

    Raises:
        ConfigError: ``starts`` is below 1.
        ModelError: ``model`` is not an export.
    """
    rate_hz = Classifier(model).metadata.frontend.sample_rate_hz
    with tempfile.TemporaryDirectory() as scratch:
        silence = Path(scratch) / "silence.wav"
        with wave.open(str(silence), "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(rate_hz)
            file.writeframes(bytes(2 * rate_hz))
        command = ["-m", "m3net_tf", "classify", str(silence), "--model", str(model)]
        loaded = ["-c", LOADED, str(model)]
        bare_s, bare_cpu_s = time_python(["-c", ""], starts)
        start_up_s, start_up_cpu_s = time_python(loaded, starts)
        first_answer_s, first_answer_cpu_s = time_python(command, starts)
        imports = imported_packages(command)
    return {
        "starts": starts,
        "limit_s": LIMIT_S,
        "within_limit": start_up_s < LIMIT_S,
        "bare_python_s": bare_s,
        "bare_python_cpu_s": bare_cpu_s,
        "start_up_s": start_up_s,
        "start_up_cpu_s": start_up_cpu_s,
        "first_answer_s": first_answer_s,
        "first_answer_cpu_s": first_answer_cpu_s,
        "imports": imports,
        **provenance(),
    }
