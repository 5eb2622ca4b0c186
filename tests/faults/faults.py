# SPDX-License-Identifier: Apache-2.0
"""Disturb operations on purpose: ``make faults``, or ``python tests/faults/faults.py --help``.

Each case draws an operation, a fault and its moment from a seed. After the fault the operation is
carried out again: it must give the results of an undisturbed one, bit by bit. Before that, a fault
must end it by one line that names the reason (unless it was killed), and no earlier result may be
lost. ``--case`` repeats one case.
"""

from __future__ import annotations

import argparse
import collections
import gc
import itertools
import json
import os
import random
import shutil
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parents[1]))  # of worker_processes

import fault_kinds
import fault_operations
import matplotlib.backends.backend_agg  # noqa: F401  # once, for all children
import optuna  # noqa: F401  # likewise
import sklearn.metrics  # noqa: F401  # likewise
from fault_operations import OPERATIONS, Operation
from fault_places import Child, Disk, own_mounts

import m3net_tf.export.from_run
import m3net_tf.training.loop.trainer
from m3net_tf.system.artifacts import sha256_of, write_json

if "table" in OPERATIONS:
    import m3net_tf.lab.search.candidates
    import m3net_tf.lab.studies.tables  # noqa: F401  # likewise

LOG = Path("build/faults.json")
#: Kills are the most frequent fault; the operations that take seconds are less frequent.
_SHARES = {"kill": 2, "features": 5, "export": 4, "train": 2}


class Templates:
    """Folders from which cases start, and the results of undisturbed operations.

    Attributes:
        facts: for each operation its duration, the bytes that it writes and its digests before
            and after.
    """

    def __init__(self, scratch: Path) -> None:
        self.scratch = scratch
        self.facts: dict[str, dict[str, Any]] = {}

    def folder(self, name: str) -> Path:
        """The template of an operation."""
        return self.scratch / "templates" / name

    def make(self, disk: Disk, place: Path, needed: set[str]) -> None:
        """Carry out operations without faults, up to the last of the needed ones."""
        for name in ("cache", "tables"):
            (place / name).mkdir()
        (place / "grid.yaml").write_text(json.dumps(fault_operations.GRID))
        (place / "space.yaml").write_text(json.dumps(fault_operations.SPACE))
        fault_operations.write_noise(place / "noise")
        for name in ("features", "train", "quantize", "export", "table", "shards"):
            if not needed - self.facts.keys():
                return
            if name not in OPERATIONS:
                continue
            if name == "train":
                shutil.rmtree(place / "cache")
                self._act(OPERATIONS["train"], place)  # computes the features: not measured
                shutil.rmtree(place / "run")
            elif name == "quantize":
                self._act(OPERATIONS["export"], place)
                self._act(Operation("old", fault_operations.quantize_before, lambda _: ""), place)
            self._measure(name, disk, place)
        for name in ("workers", "table --jobs 2", "wake", "search"):
            if name in needed:
                self._measure(name, disk, place)

    def _measure(self, name: str, disk: Disk, place: Path) -> None:
        operation = OPERATIONS[name]
        shutil.copytree(place, self.folder(name), symlinks=True)
        before = digest_of(operation, place)
        used = disk.used()
        start = time.monotonic()
        self._act(operation, place)
        self.facts[name] = {
            "seconds": time.monotonic() - start,
            "growth": disk.used() - used,
            "before": before,
            "after": operation.digest(place),
        }

    def _act(self, operation: Operation, place: Path) -> None:
        end = Child(operation, place, lambda: None).wait()
        if end.status:
            raise SystemExit(f"{operation.name} fails without a fault:\n{end.output}{end.error}")


def digest_of(operation: Operation, place: Path) -> str:
    """Digest of an operation's results; '' if there are none yet."""
    try:
        return operation.digest(place)
    except (OSError, ValueError):
        return ""


def hashes(place: Path, operation: Operation) -> dict[str, str]:
    """Hash of each file that an operation must not change."""
    paths = sorted(path for name in operation.kept for path in place.glob(name) if path.is_file())
    return {str(path.relative_to(place)): sha256_of(path.read_bytes()) for path in paths}


def leftovers(place: Path) -> list[str]:
    """Files that a finished command should have removed."""
    return sorted(str(path.relative_to(place)) for path in place.rglob(".*"))


def check(scene: fault_kinds.Scene, kind: str, facts: dict[str, Any], template: Path) -> None:
    """Apply a fault and check what must hold after it, and after the operation's repetition."""
    operation = scene.operation
    place = scene.place
    kept = hashes(template, operation)
    output = fault_kinds.KINDS[kind](scene)
    if hashes(place, operation) != kept:
        raise fault_kinds.FaultError("files of earlier steps were changed")
    if kind != "truncated":
        if lost := operation.lost(place, output):
            raise fault_kinds.FaultError(f"lost: {lost}")
        if facts["before"] and digest_of(operation, place) not in (facts["before"], facts["after"]):
            raise fault_kinds.FaultError(
                "neither the results from before nor the new ones are there"
            )
    end = scene.start().wait()
    if end.status:
        raise fault_kinds.FaultError(f"resuming: status {end.status}: {end.error[-1500:]}")
    if operation.digest(place) != facts["after"]:
        raise fault_kinds.FaultError("the results differ from those without a fault")
    if hashes(place, operation) != kept:
        raise fault_kinds.FaultError("resuming changed files of earlier steps")
    if left := leftovers(place):
        raise fault_kinds.FaultError(f"left behind: {', '.join(left)[:300]}")


def drawn(number: int) -> tuple[str, str]:
    """Operation and fault of a case."""
    pairs = [
        (name, kind)
        for name, operation in OPERATIONS.items()
        for kind in operation.faults
        for _ in range(_SHARES.get(kind, 1) * _SHARES.get(name, 1))
    ]
    random.Random(len(pairs)).shuffle(pairs)  # an interrupted series has some of each
    return pairs[number % len(pairs)]


class Case:
    """One case, in a process of its own with a disk of its own."""

    def __init__(self, number: int, seed: int, templates: Templates, point: Path) -> None:
        self.number = number
        self.operation, self.kind = drawn(number)
        self._chance = random.Random(f"{seed}/{number}")
        self._start = time.monotonic()
        self._reading, writing = os.pipe()
        self.process = os.fork()
        if not self.process:
            self._run(templates, point, writing)
        os.close(writing)

    def _run(self, templates: Templates, point: Path, writing: int) -> None:
        result: dict[str, Any] = {"failure": ""}
        scene = None
        facts = templates.facts[self.operation]
        template = templates.folder(self.operation)
        try:
            own_mounts()
            disk = Disk(point)
            place = point / "place"
            shutil.copytree(template, place, symlinks=True)
            scene = fault_kinds.Scene(
                OPERATIONS[self.operation],
                place,
                disk,
                self._chance,
                facts["seconds"],
                facts["growth"],
            )
            check(scene, self.kind, facts, template)
        except fault_kinds.FaultError as failure:
            result["failure"] = str(failure)
        except BaseException:
            result["failure"] = f"the tool failed: {traceback.format_exc()}"
        result["notes"] = scene.notes if scene else []
        with os.fdopen(writing, "w") as file:
            json.dump(result, file)
        os._exit(0)

    def result(self) -> dict[str, Any]:
        """The case's entry of the log; its process has ended."""
        with os.fdopen(self._reading) as file:
            result = json.load(file)
        seconds = round(time.monotonic() - self._start, 2)
        names = {"case": self.number, "operation": self.operation, "fault": self.kind}
        return {**names, "seconds": seconds, **result}


def run_cases(
    numbers: Sequence[int], seed: int, jobs: int, templates: Templates, point: Path
) -> Iterator[dict[str, Any]]:
    """Entries of the log of all cases, of which ``jobs`` run side by side."""
    waiting = list(numbers)
    running = {}
    while waiting or running:
        while waiting and len(running) < jobs:
            case = Case(waiting.pop(0), seed, templates, point)
            running[case.process] = case
        process, _ = os.wait()
        yield running.pop(process).result()


def table(cases: list[dict[str, Any]]) -> list[str]:
    """Cases and failures of each operation and fault."""
    counts: collections.Counter[tuple[str, str]] = collections.Counter()
    failures: collections.Counter[tuple[str, str]] = collections.Counter()
    for case in cases:
        key = case["operation"], case["fault"]
        counts[key] += 1
        failures[key] += bool(case["failure"])
    lines = [f"{'cases (failed)':15}" + "".join(f"{kind:>15}" for kind in fault_kinds.KINDS)]
    for name in OPERATIONS:
        cells = []
        for kind in fault_kinds.KINDS:
            key = name, kind
            cells.append(f"{counts[key]}" + (f" ({failures[key]})" if failures[key] else ""))
        lines.append(f"{name:15}" + "".join(f"{cell:>15}" for cell in cells))
    return lines


def main() -> int:
    """Run the cases; returns 1 if one failed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=int, default=200)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--case", type=int, action="append", help="repeat this case; several times")
    parser.add_argument("--operation", action="append", choices=OPERATIONS, help="only these")
    parser.add_argument("--fault", action="append", choices=fault_kinds.KINDS, help="only these")
    parser.add_argument("--jobs", type=int, default=1, help="cases side by side")
    parser.add_argument("--log", type=Path, default=LOG)
    options = parser.parse_args()
    for name in ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "OMP_NUM_THREADS"):
        os.environ[name] = "1"  # before the children start TensorFlow
    operations = options.operation or OPERATIONS
    kinds = options.fault or fault_kinds.KINDS
    if not any({*OPERATIONS[name].faults} & {*kinds} for name in operations):
        raise SystemExit("none of these faults disturbs one of these operations")
    chosen = (n for n in itertools.count() if drawn(n)[0] in operations and drawn(n)[1] in kinds)
    numbers = options.case or list(itertools.islice(chosen, options.cases))
    print(
        f"seed {options.seed}: repeat a case with --seed {options.seed} --case NUMBER", flush=True
    )
    start = time.monotonic()
    cases = []
    scratch = Path(tempfile.mkdtemp(prefix="m3net-faults-"))
    try:
        point = scratch / "disk"
        point.mkdir()
        (scratch / "tmp").mkdir()
        try:
            own_mounts()
        except OSError as error:
            raise SystemExit(
                f"a disk for each case needs root or user namespaces: {error}"
            ) from None
        templates = Templates(scratch)
        disk = Disk(point)
        (point / "place").mkdir()
        templates.make(disk, point / "place", {drawn(number)[0] for number in numbers})
        shutil.rmtree(point / "place")
        gc.collect()
        gc.freeze()  # so that children need not copy what a collection would touch
        for case in run_cases(numbers, options.seed, options.jobs, templates, point):
            cases.append(case)
            if case["failure"]:
                print(
                    f"case {case['case']} ({case['operation']}, {case['fault']}): {case['failure']}"
                )
            elif len(cases) % 20 == 0:
                print(f"{len(cases)} of {len(numbers)} cases", flush=True)
            write_json(
                options.log,
                {
                    "seed": options.seed,
                    "cases": cases,
                    "failures": sum(bool(case["failure"]) for case in cases),
                    "seconds": round(time.monotonic() - start, 1),
                    "operations": templates.facts,
                },
            )
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    failed = sum(bool(case["failure"]) for case in cases)
    refused = sum(any(note.startswith("error: ") for note in case["notes"]) for case in cases)
    print("\n".join(table(cases)))
    print(
        f"{len(cases)} cases, {refused} refused by one line before they were resumed, "
        f"{failed} failed, {time.monotonic() - start:.0f} s: {options.log}"
    )
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
