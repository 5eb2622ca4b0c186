# SPDX-License-Identifier: Apache-2.0
"""Hostile input for everything that reads files or lines: ``make fuzz``.

Each target runs for FUZZ_SECONDS under libFuzzer, in Python through Atheris. An input is a defect
if it raises anything but an error of the user, takes more than a second of computing time, or makes
the process grow beyond its limit of memory. Inputs that found defects are in ``tests/data/fuzz``.
The target ``compiled`` has a loop of its own, see ``compiled_networks.py``.
The corpus and the totals of the log go on from run to run.
"""

import argparse
import json
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import c_targets
import compiled_networks
import python_targets

from m3net_tf.system.artifacts import write_json

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
FOUND = ROOT / "tests/data/fuzz"
WORK = ROOT / "build/fuzz"
_LIMIT_MB = 1024
_HANG_S = 30  # of real time, for loops without end; the targets measure computing time
_STAT = re.compile(r"stat::(\w+):\s+(\d+)")
_PULSE = re.compile(r"^#\d+\s.*cov: (\d+) ft: (\d+) corp: (\d+)/.*rss: (\d+)Mb", re.MULTILINE)


def command_of(name: str) -> list[str]:
    """The command that runs a target; one in C is compiled first."""
    if name in c_targets.SEEDS:
        return [str(c_targets.build_target(name, WORK))]
    return [sys.executable, str(HERE / "fuzz_python.py"), name]


def corpus_of(name: str) -> tuple[Path, int]:
    """The folder of a target's inputs, with seeds and former finds, and the longest input."""
    folder = WORK / f"corpus-{name}"
    folder.mkdir(parents=True, exist_ok=True)
    if name in c_targets.SEEDS:
        seeds = c_targets.SEEDS[name]
        longest = 4096
    else:
        target = python_targets.TARGETS[name]
        seeds = target.seeds()
        longest = target.longest
    found = [path.read_bytes() for path in sorted((FOUND / name).glob("*"))]
    for number, content in enumerate([*seeds, *found]):
        (folder / f"seed-{number:03}").write_bytes(content)
    return folder, longest


def _children_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def run_target(name: str, seconds: int, inputs: int, seed: int) -> dict[str, Any]:
    """Fuzz a target for some seconds, or until it had that many inputs (-1: without end).

    Returns:
        Its entry of the log.
    """
    corpus, longest = corpus_of(name)
    options = {
        "max_total_time": seconds,
        "runs": inputs,
        "seed": seed,
        "max_len": longest,
        "timeout": _HANG_S,
        "rss_limit_mb": _LIMIT_MB,
        "print_final_stats": 1,
        "artifact_prefix": f"{WORK}/found-{name}-",
    }
    command = [*command_of(name), *(f"-{key}={value}" for key, value in options.items())]
    environment = {
        **os.environ,
        "ASAN_OPTIONS": "quarantine_size_mb=16",
        "TF_CPP_MIN_LOG_LEVEL": "3",
    }
    start = time.monotonic()
    computed = _children_s()
    with tempfile.TemporaryDirectory(prefix="m3net-fuzz-", dir=python_targets.IN_MEMORY) as room:
        done = subprocess.run(
            [*command, str(corpus)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**environment, "TMPDIR": room},
            check=False,
        )
    output = done.stdout.decode(errors="replace")
    (WORK / f"{name}.log").write_text(output)
    statistics = {key: int(value) for key, value in _STAT.findall(output)}
    pulses = [tuple(map(int, row)) for row in _PULSE.findall(output)]
    return {
        "target": name,
        "language": "C" if name in c_targets.SEEDS else "Python",
        "inputs": statistics.get("number_of_executed_units", 0),
        "seconds": round(time.monotonic() - start, 1),
        "cpu_seconds": round(_children_s() - computed, 1),
        "coverage": pulses[-1][0] if pulses else 0,
        "features": pulses[-1][1] if pulses else 0,
        "corpus": pulses[-1][2] if pulses else 0,
        "first_rss_mb": pulses[0][3] if pulses else 0,
        "peak_rss_mb": statistics.get("peak_rss_mb", 0),
        "status": done.returncode,
        "found": [] if not done.returncode else re.findall(r"Test unit written to (\S+)", output),
    }


def read_log(path: Path) -> dict[str, dict[str, Any]]:
    """Entries of former runs by target."""
    former = json.loads(path.read_text())["targets"] if path.exists() else []
    return {target["target"]: target for target in former}


def add_to_log(path: Path, entry: dict[str, Any]) -> None:
    """Replace a target's entry, adding to its totals."""
    entries = read_log(path)
    before = entries.get(entry["target"], {})
    for key in ("inputs", "seconds"):
        entry[f"total_{key}"] = round(before.get(f"total_{key}", 0) + entry[key], 1)
    entry["peak_rss_mb"] = max(before.get("peak_rss_mb", 0), entry["peak_rss_mb"])
    entries[entry["target"]] = entry
    total = sum(target["total_inputs"] for target in entries.values())
    write_json(path, {"total_inputs": total, "targets": list(entries.values())})


def table(entries: Sequence[dict[str, Any]]) -> list[str]:
    """The log as lines."""
    keys = ("inputs", "seconds", "cpu_seconds", "total_inputs", "total_seconds", "coverage")
    keys += ("corpus", "first_rss_mb", "peak_rss_mb")
    lines = [f"{'target':14}" + "".join(f"{key:>14}" for key in keys)]
    for entry in entries:
        cells = "".join(f"{entry.get(key, ''):>14}" for key in keys)
        failed = f"  FOUND: {', '.join(entry['found']) or 'see its log'}" if entry["status"] else ""
        lines.append(f"{entry['target']:14}{cells}{failed}")
    return lines


def main() -> int:
    """Fuzz the targets; returns 1 if one found a defect."""
    names = [*python_targets.TARGETS, *c_targets.SEEDS, compiled_networks.NAME]
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    seconds = int(os.environ.get("FUZZ_SECONDS") or 60)
    parser.add_argument("--seconds", type=int, default=seconds, help="for each target")
    parser.add_argument("--inputs", type=int, default=0, help="enough of a target in all runs")
    parser.add_argument("--seed", type=int, default=1, help="of the random numbers")
    parser.add_argument("--target", action="append", choices=names, help="one of them; repeatable")
    parser.add_argument("--log", type=Path, default=WORK / "log.json")
    options = parser.parse_args()
    failed = False
    for name in options.target or names:
        former = read_log(options.log).get(name, {})
        left = options.inputs - former.get("total_inputs", 0) if options.inputs else -1
        if options.inputs and left <= 0:
            continue
        if name == compiled_networks.NAME:
            first = former.get("next", 0)
            entry = compiled_networks.run(options.seconds, left, options.seed, first, WORK)
        else:
            entry = run_target(name, options.seconds, left, options.seed)
        add_to_log(options.log, entry)
        print(table([entry])[-1], flush=True)
        failed |= bool(entry["status"])
    entries = [*read_log(options.log).values()]
    print("\n".join(table(entries)))
    print(f"{sum(entry['total_inputs'] for entry in entries)} inputs in all runs: {options.log}")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
