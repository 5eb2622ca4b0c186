# SPDX-License-Identifier: Apache-2.0
"""Size of the wheel, and start-up of the commands that a light installation has."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TypedDict

from m3net_tf.lab.bench.start_up import imported_packages, time_python
from m3net_tf.system.artifacts import Provenance, provenance
from m3net_tf.system.checkout import require_sources
from m3net_tf.system.errors import ConfigError

IMPORT_LIMIT_S = 0.2
"""Limit of the processor time of ``import m3net_tf``, the start of Python included."""
START_LIMIT_S = 0.3
"""Limit of the processor time until a light command is ready."""
WHEEL_LIMIT_BYTES = 5_000_000
"""Limit of the wheel's size."""
_LOADED = """
import pathlib, sys
from m3net_tf.runtime import Classifier
Classifier(pathlib.Path(sys.argv[1]))
"""
COMMANDS = {
    "import m3net_tf": ["-c", "import m3net_tf"],
    "m3net --help": ["-m", "m3net_tf", "--help"],
    "m3net classify --help": ["-m", "m3net_tf", "classify", "--help"],
}
"""Name -> arguments of Python."""


class Start(TypedDict):
    """Start-up of a command, medians of several processes.

    Attributes:
        wall_s: seconds by the wall clock.
        cpu_s: processor time, which does not depend on the load of the machine.
        limit_s: limit of ``cpu_s``.
        within_limit: whether ``cpu_s`` is below it.
        imports: packages outside the standard library, with the seconds of their own modules.
    """

    wall_s: float
    cpu_s: float
    limit_s: float
    within_limit: bool
    imports: dict[str, float]


class PackageCost(Provenance):
    """Cost of the package for its users.

    Attributes:
        starts: processes of each command.
        commands: start-up by command.
        wheel_bytes: size of the wheel; None without a wheel, and without a source checkout to build
            one from.
        wheel_limit_bytes: :data:`WHEEL_LIMIT_BYTES`.
        within_limits: whether all figures are below their limits.
    """

    starts: int
    commands: dict[str, Start]
    wheel_bytes: int | None
    wheel_limit_bytes: int
    within_limits: bool


def run_bench_package(
    wheel: Path | None = None, model: Path | None = None, starts: int = 7
) -> PackageCost:
    """Measure the wheel and the start-up of light commands.

    Args:
        wheel: the wheel; default: one is built from the source checkout.
        model: exported ``.tflite``, or folder of an export or a run. If given, the start-up of
            ``m3net classify`` until its network is loaded is measured, too.
        starts: timed processes of each command.

    Raises:
        ConfigError: ``starts`` is below 1, or there is no such wheel or model.
    """
    for path in (wheel, model):
        if path is not None and not path.exists():
            raise ConfigError(f"{path}: no such file; check the path")
    commands = dict(COMMANDS)
    if model is not None:
        commands["m3net classify"] = ["-c", _LOADED, str(model)]
    measured = {
        name: _start(
            arguments, IMPORT_LIMIT_S if name.startswith("import") else START_LIMIT_S, starts
        )
        for name, arguments in commands.items()
    }
    size = _wheel_bytes(wheel)
    return {
        "starts": starts,
        "commands": measured,
        "wheel_bytes": size,
        "wheel_limit_bytes": WHEEL_LIMIT_BYTES,
        "within_limits": all(start["within_limit"] for start in measured.values())
        and (size is None or size < WHEEL_LIMIT_BYTES),
        **provenance(),
    }


def build_wheel(checkout: Path, folder: Path) -> Path:
    """Build the wheel of a source checkout, which stays as it is.

    Args:
        checkout: folder of ``setup.py``.
        folder: empty folder for the wheel.

    Raises:
        ConfigError: the build fails.
    """
    command = [sys.executable, "setup.py", "-q", "egg_info", "--egg-base", str(folder)]
    command += ["build", "--build-base", str(folder / "build")]
    command += ["bdist_wheel", "--bdist-dir", str(folder / "files"), "-d", str(folder)]
    done = subprocess.run(command, cwd=checkout, capture_output=True, text=True, check=False)
    if done.returncode:
        reason = done.stderr.strip().rpartition("\n")[2]
        raise ConfigError(f"{checkout}: the wheel cannot be built ({reason}); name one by --wheel")
    (path,) = folder.glob("*.whl")
    return path


def _start(arguments: list[str], limit_s: float, starts: int) -> Start:
    seconds = time_python(arguments, starts)
    return {
        "wall_s": seconds.wall,
        "cpu_s": seconds.cpu,
        "limit_s": limit_s,
        "within_limit": seconds.cpu < limit_s,
        "imports": imported_packages(arguments),
    }


def _wheel_bytes(wheel: Path | None) -> int | None:
    if wheel is not None:
        return wheel.stat().st_size
    checkout = require_sources("firmware").parent
    if not (checkout / "setup.py").is_file():
        return None
    with tempfile.TemporaryDirectory() as folder:
        return build_wheel(checkout, Path(folder)).stat().st_size
