# SPDX-License-Identifier: Apache-2.0
"""Start-up time of ``m3net classify``, and the packages that it imports."""

from __future__ import annotations

import re
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import wave
from collections.abc import Sequence
from pathlib import Path

from m3net_tf.artifacts import Provenance, provenance
from m3net_tf.errors import ConfigError
from m3net_tf.runtime import Classifier

LIMIT_S = 1.0
"""Limit of the start-up time."""
_IMPORT = re.compile(r"import time:\s+(\d+) \|\s+\d+ \|\s+(\S+)$")
_LOADED = """
import pathlib, sys
from m3net_tf.runtime import Classifier
Classifier(pathlib.Path(sys.argv[1]))
"""


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
    if starts < 1:
        raise ConfigError(f"starts is {starts}: give at least 1")
    rate_hz = Classifier(model).metadata.frontend.sample_rate_hz
    with tempfile.TemporaryDirectory() as scratch:
        silence = Path(scratch) / "silence.wav"
        with wave.open(str(silence), "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(rate_hz)
            file.writeframes(bytes(2 * rate_hz))
        command = ["-m", "m3net_tf", "classify", str(silence), "--model", str(model)]
        loaded = ["-c", _LOADED, str(model)]
        bare_s, bare_cpu_s = _medians(["-c", ""], starts)
        start_up_s, start_up_cpu_s = _medians(loaded, starts)
        first_answer_s, first_answer_cpu_s = _medians(command, starts)
        import_times = _run(["-X", "importtime", *command]).stderr
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
        "imports": _packages(import_times),
        **provenance(),
    }


def _run(arguments: Sequence[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=True)


def _medians(arguments: Sequence[str], starts: int) -> tuple[float, float]:
    """Median wall-clock and processor seconds of several runs, after one fills the disk cache."""
    _run(arguments)
    wall_s, cpu_s = [], []
    for _ in range(starts):
        start, used = time.perf_counter(), _children_s()
        _run(arguments)
        wall_s.append(time.perf_counter() - start)
        cpu_s.append(_children_s() - used)
    return round(statistics.median(wall_s), 3), round(statistics.median(cpu_s), 3)


def _children_s() -> float:
    """Processor time of all child processes that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _packages(import_times: str) -> dict[str, float]:
    """Package -> seconds of its own modules, from the output of ``-X importtime``."""
    spent: dict[str, int] = {}
    for line in import_times.splitlines():
        if match := _IMPORT.match(line):
            package = match[2].partition(".")[0]
            if package not in sys.stdlib_module_names:
                spent[package] = spent.get(package, 0) + int(match[1])
    return {package: round(spent[package] / 1e6, 4) for package in sorted(spent)}
