# SPDX-License-Identifier: Apache-2.0
"""Line coverage of the portable firmware by the tests that need no board.

``python tests/firmware/host_coverage.py`` prints a table (``make coverage``). The tests run as they
are; environment variables and a compiler in front of the real one make their builds count.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path

from app_host import host_library

from m3net_tf.boards.builds.sources import FIRMWARE_DIR

TESTS = (
    "host/test_firmware_host.py",
    "protocol/test_monitor_protocol.py",
    "protocol/test_monitor_eembc.py",
    "protocol/test_monitor_enrolment.py",
    "protocol/test_monitor_normal.py",
    "host/test_detector.py",
    "host/test_pdm.py",
    "host/test_saved_thresholds.py",
    "host/test_model_slots.py",
    "protocol/test_monitor_update.py",
    "host/test_warp.py",
    "host/test_faults_host.py",
    "test_compiled_engine.py::test_the_interface_on_the_host",
    "../compiler/test_compiled_operators.py::test_operators_give_the_bytes_of_tflite_micro",
    "../compiler/test_weights.py::test_convolutions_on_this_machine",
    "../compiler/test_variables.py",
    "../compiler/test_streaming.py",
)
#: Portable code: all of it counts, even if no test reaches it.
PORTABLE = (
    *("core/*.c", "core/*.cc", "app/*.c", "compiled/*.c", "engine/*.c"),
    *("drivers/pdm.c", "drivers/ping_pong.c"),
)
_EMULATED = ("helium_*.c", "rv32_*.c")  # kernels that no host can run; they run in emulation
_BATTER_LINES = 20_000
# Each run has its own counters: programs built later must not mix with them. Sanitisers would take
# most of a compilation; only the library in the cache needs them, to be linked.
_COMPILER = """\
#!/bin/sh
case "$*" in
*libm3net_host_tflm.a*) ;;
*) set -- "$@" -fno-sanitize=all ;;
esac
exec {program} --coverage -dumpdir "{counts}/$$-" "$@"
"""


@dataclasses.dataclass(frozen=True)
class FileCoverage:
    """Lines of one source file.

    Attributes:
        name: path below ``firmware``.
        missed: numbers of the lines that no test ran.
        lines: lines with code.
    """

    name: str
    missed: tuple[int, ...]
    lines: int


def measure(folder: Path) -> list[FileCoverage]:
    """Run the tests in ``folder``, an empty one; returns the files in order of their names.

    Raises:
        RuntimeError: a test failed.
    """
    host_library()  # not to be counted: it goes into the cache
    tools = folder / "bin"
    counts = folder / "counts"
    tools.mkdir(parents=True)
    counts.mkdir()
    # A compiler cache would keep the objects without the files that gcov reads beside them.
    environment = {
        **os.environ,
        "M3NET_BATTER_LINES": str(_BATTER_LINES),
        "CCACHE_DISABLE": "1",
    }
    for name, variable in (("gcc", "CC"), ("g++", "CXX")):
        compiler = tools / name
        compiler.write_text(_COMPILER.format(program=shutil.which(name), counts=counts))
        compiler.chmod(0o755)
        environment[variable] = str(compiler)
    environment["PATH"] = f"{tools}{os.pathsep}{os.environ['PATH']}"
    tests = [str(Path(__file__).parent / name) for name in TESTS]
    words = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", ""]
    # No boards, no runs of a million lines, no test that inspects the compiled program.
    words += ["-k", "not (emulated or for_a_board or million or no_memory_is_allocated)"]
    done = subprocess.run([*words, *tests], env=environment, capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"the tests fail:\n{done.stdout[-4000:]}")
    return _read(counts)


def _read(folder: Path) -> list[FileCoverage]:
    """Join the counts of all programs: a line is run if one of them ran it."""
    counts: dict[Path, dict[int, int]] = defaultdict(dict)
    for data in sorted(folder.glob("*.gcda")):
        done = subprocess.run(
            ["gcov", "--json-format", "--stdout", str(data)],
            cwd=data.parent, capture_output=True, text=True, check=True,
        )  # fmt: skip
        for line in done.stdout.splitlines():
            report = json.loads(line)
            for file in report["files"]:
                path = (Path(report["current_working_directory"]) / file["file"]).resolve()
                line_counts = counts[path]
                for record in file["lines"]:
                    number = record["line_number"]
                    line_counts[number] = line_counts.get(number, 0) + record["count"]
    files = []
    paths = sorted(path for pattern in PORTABLE for path in FIRMWARE_DIR.glob(pattern))
    for path in (path for path in paths if not any(map(path.match, _EMULATED))):
        # A file that no program was made of counts with all its lines.
        unseen = dict.fromkeys(range(1, 1 + len(path.read_text().splitlines())), 0)
        runs = counts.get(path) or unseen
        missed = tuple(sorted(number for number, count in runs.items() if count == 0))
        files.append(FileCoverage(str(path.relative_to(FIRMWARE_DIR)), missed, len(runs)))
    return files


def percent(files: list[FileCoverage]) -> float:
    """Share of the lines of all files that were run."""
    lines = sum(file.lines for file in files)
    return 100.0 * (lines - sum(len(file.missed) for file in files)) / lines


def table(files: list[FileCoverage]) -> str:
    """A line a file: share, lines, and the ones missed."""
    rows = [f"{'file':28}{'lines':>7}{'run':>9}  not run"]
    for file in files:
        missed = " ".join(map(str, file.missed[:16])) + (" ..." if len(file.missed) > 16 else "")
        rows.append(f"{file.name:28}{file.lines:7}{percent([file]):8.1f}%  {missed}".rstrip())
    total = sum(file.lines for file in files)
    return "\n".join([*rows, f"{'all':28}{total:7}{percent(files):8.1f}%"])


def main() -> int:
    argparse.ArgumentParser(description=__doc__.partition("\n")[0]).parse_args()
    with tempfile.TemporaryDirectory(prefix="m3net-coverage-") as folder:
        print(table(measure(Path(folder))))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
