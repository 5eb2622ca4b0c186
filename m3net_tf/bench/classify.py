# SPDX-License-Identifier: Apache-2.0
"""How long ``m3net classify`` takes to start, and what it imports."""

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
from typing import Any

from m3net_tf.artifacts import provenance
from m3net_tf.errors import ConfigError
from m3net_tf.runtime import Classifier

LIMIT_S = 1.0
"""What a start-up may take."""
_IMPORT = re.compile(r"import time:\s+(\d+) \|\s+\d+ \|\s+(\S+)$")
_LOADED = """
import pathlib, sys
from m3net_tf.runtime import Classifier
Classifier(pathlib.Path(sys.argv[1]))
"""


def run_bench_classify(model: Path, starts: int = 7) -> dict[str, Any]:
    """Start processes of their own and time them by the wall's clock.

    Args:
        model: exported ``.tflite``, or folder of an export or a run.
        starts: of each kind; the median counts.

    Returns:
        Seconds of a bare Python, ``bare_python_s``, until the network is loaded, ``start_up_s``,
        and until the command has answered for a second of silence and ended, ``first_answer_s``;
        the processor's share of each, ``..._cpu_s``, which other work on the machine does not
        lengthen; ``within_limit``, whether the start-up takes less than ``limit_s``; and
        ``imports``, the packages beyond the standard library with the seconds that each one's own
        modules took.

    Raises:
        ConfigError: ``starts`` is below 1.
        ModelError: ``model`` is no export.
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
        found = {
            **_medians("bare_python", ["-c", ""], starts),
            **_medians("start_up", loaded, starts),
            **_medians("first_answer", command, starts),
        }
        told = _run(["-X", "importtime", *command]).stderr
    return {
        "starts": starts,
        "limit_s": LIMIT_S,
        "within_limit": found["start_up_s"] < LIMIT_S,
        **found,
        "imports": _packages(told),
        **provenance(),
    }


def _run(arguments: Sequence[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=True)


def _medians(name: str, arguments: Sequence[str], starts: int) -> dict[str, float]:
    """Medians of several runs' seconds; one before them fills the disk's cache."""
    _run(arguments)
    wall_s, cpu_s = [], []
    for _ in range(starts):
        start, used = time.perf_counter(), _children_s()
        _run(arguments)
        wall_s.append(time.perf_counter() - start)
        cpu_s.append(_children_s() - used)
    medians = {f"{name}_s": wall_s, f"{name}_cpu_s": cpu_s}
    return {key: round(statistics.median(times), 3) for key, times in medians.items()}


def _children_s() -> float:
    """Processor time of all processes that this one has started and that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _packages(told: str) -> dict[str, float]:
    """Package -> seconds of its own modules, from what ``-X importtime`` prints."""
    spent: dict[str, int] = {}
    for line in told.splitlines():
        if found := _IMPORT.match(line):
            package = found[2].partition(".")[0]
            if package not in sys.stdlib_module_names:
                spent[package] = spent.get(package, 0) + int(found[1])
    return {package: round(spent[package] / 1e6, 4) for package in sorted(spent)}
