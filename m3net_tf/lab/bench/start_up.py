# SPDX-License-Identifier: Apache-2.0
"""Time and imports of new Python processes."""

from __future__ import annotations

import re
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import NamedTuple

from m3net_tf.system.errors import ConfigError

# Python 3.12 tries to import _wmi, which only Windows has, and does not list it.
_STANDARD = sys.stdlib_module_names | {"_wmi"}
_IMPORT = re.compile(r"import time:\s+(\d+) \|\s+\d+ \|\s+(\S+)$")


class Seconds(NamedTuple):
    """Medians of several processes.

    Attributes:
        wall: by the wall clock.
        cpu: processor time, which does not depend on the load of the machine.
    """

    wall: float
    cpu: float


def time_python(arguments: Sequence[str], starts: int) -> Seconds:
    """Run Python several times, after one run that fills the disk cache.

    Args:
        arguments: of Python.
        starts: number of timed processes.

    Raises:
        ConfigError: ``starts`` is below 1.
    """
    if starts < 1:
        raise ConfigError(f"starts is {starts}: give at least 1")
    _run(arguments)
    wall_s, cpu_s = [], []
    for _ in range(starts):
        start, used = time.perf_counter(), _children_s()
        _run(arguments)
        wall_s.append(time.perf_counter() - start)
        cpu_s.append(_children_s() - used)
    return Seconds(round(statistics.median(wall_s), 3), round(statistics.median(cpu_s), 3))


def imported_packages(arguments: Sequence[str]) -> dict[str, float]:
    """Packages outside the standard library that a Python imports.

    Args:
        arguments: of Python.

    Returns:
        Package -> seconds of its own modules.
    """
    spent: dict[str, int] = {}
    for line in _run(["-X", "importtime", *arguments]).stderr.splitlines():
        if match := _IMPORT.match(line):
            package = match[2].partition(".")[0]
            if package not in _STANDARD:
                spent[package] = spent.get(package, 0) + int(match[1])
    return {package: round(spent[package] / 1e6, 4) for package in sorted(spent)}


def _run(arguments: Sequence[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=True)


def _children_s() -> float:
    """Processor time of all child processes that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
