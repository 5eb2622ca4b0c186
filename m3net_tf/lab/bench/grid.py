# SPDX-License-Identifier: Apache-2.0
"""Cost of training many runs at once: overhead of each run, and throughput against one by one."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NotRequired, TypedDict

from m3net_tf.lab.many.plan import Training, fingerprint, plan_trainings
from m3net_tf.lab.many.scheduling import run_trainings
from m3net_tf.lab.studies.machine import load_average
from m3net_tf.system.artifacts import Provenance, provenance, read_json, write_json
from m3net_tf.system.errors import ConfigError
from m3net_tf.system.locks import scratch_folder
from m3net_tf.system.progress import Log, silent
from m3net_tf.training.cluster.pools import PoolOptions
from m3net_tf.training.cluster.worker import Order, Report, train_run
from m3net_tf.training.recipe import Recipe

_TIMES = "bench-times.json"


class Pace(TypedDict):
    """Times of the same runs, one by one or several at once.

    Attributes:
        wall_s: from the call to its end.
        start_s: until the first training begins: workers, imports.
        training_s: seconds from the start of the first training to the end of the last one.
        run_s: mean seconds of a training.
        run_cpu_s: mean processor seconds of a training.
        import_s: mean seconds in which a process imports TensorFlow.
        gap_s: mean seconds between two trainings of the same process.
        runs_per_hour: trainings in an hour, without the start.
    """

    wall_s: float
    start_s: float
    training_s: float
    run_s: float
    run_cpu_s: float
    import_s: float
    gap_s: NotRequired[float]
    runs_per_hour: float


class GridSpeed(Provenance):
    """Cost of training many runs at once.

    Attributes:
        runs: number of runs.
        jobs: runs at once.
        epochs: epochs of each run.
        clips: clips of the data set.
        cores: processor cores of this computer.
        load_average_before: load average over 1, 5 and 15 minutes before the first run.
        load_average_after: the same after the last one.
        serial: one by one, in this process.
        pool: several at once.
        overhead_per_run_s: time of the pool's slots that no training used, for each run, with the
            start of Ray and the imports.
        ratio: throughput of the pool against one by one, without the start.
        ratio_with_start: the same with it, which a longer grid approaches ``ratio`` from.
    """

    runs: int
    jobs: int
    epochs: int
    clips: int
    cores: int | None
    load_average_before: list[float]
    load_average_after: list[float]
    serial: Pace
    pool: Pace
    overhead_per_run_s: float
    ratio: float
    ratio_with_start: float


def run_bench_grid(
    *, runs: int = 8, jobs: int = 2, epochs: int = 20, address: str = "", log: Log = silent
) -> GridSpeed:
    """Train the same small networks one by one and several at once, and compare the times.

    The networks are M3Net ``mcu`` on the built-in sounds. Their features are computed before.

    Args:
        runs: number of runs of each kind; a multiple of ``jobs`` leaves no slot idle at the end.
        jobs: runs at once.
        epochs: epochs of each run.
        address: a Ray cluster; '' is this computer.
        log: receives lines of progress.

    Raises:
        ConfigError: there are fewer runs than jobs, or fewer than two jobs.
        DataError: Ray is not installed, or its cluster cannot be reached.
    """
    if not 2 <= jobs <= runs:
        raise ConfigError(f"{runs} runs, {jobs} jobs: give two jobs or more, and as many runs")
    with scratch_folder("m3net-bench-grid-") as folder:
        _paced(folder / "warm", _trainings(1, 1), PoolOptions(work=_timed), log)
        before = load_average()
        trainings = _trainings(runs, epochs)
        serial = _paced(folder / "serial", trainings, PoolOptions(work=_timed), log)
        options = PoolOptions(jobs=jobs, address=address, work=_timed)
        pool = _paced(folder / "pool", trainings, options, log)
    idle_s = jobs * pool["wall_s"] - runs * pool["run_s"]
    return {
        "runs": runs,
        "jobs": jobs,
        "epochs": epochs,
        "clips": trainings[0].recipe.dataset.options["clips_per_class"] * 10,
        "cores": os.cpu_count(),
        "load_average_before": before,
        "load_average_after": load_average(),
        "serial": serial,
        "pool": pool,
        "overhead_per_run_s": round(idle_s / runs, 3),
        "ratio": round(serial["training_s"] / pool["training_s"], 3),
        "ratio_with_start": round(serial["training_s"] / pool["wall_s"], 3),
        **provenance(),
    }


def _trainings(runs: int, epochs: int) -> list[Training]:
    rows = []
    for seed in range(runs):
        recipe = Recipe.from_dict(
            {
                "dataset": {"name": "synth", "options": {"clips_per_class": 60}},
                "model": {"name": "m3net", "preset": "mcu"},
                "training": {"epochs": epochs, "seed": seed},
            }
        )
        rows.append(Training(fingerprint(recipe), recipe, f"seed{seed}", {}))
    return rows


def _timed(order: Order) -> Report:
    """Train a run and write its times beside it."""
    begun = time.time()
    import m3net_tf.system.keras  # noqa: F401  counted apart from the training

    first, cpu_s = time.time(), time.process_time()
    report = train_run(order)
    times = {
        "process": os.getpid(),
        "begun": begun,
        "first": first,
        "end": time.time(),
        "cpu_s": time.process_time() - cpu_s,
        "import_s": first - begun,
    }
    write_json(order.folder / _TIMES, times)
    return report


def _paced(folder: Path, trainings: list[Training], options: PoolOptions, log: Log) -> Pace:
    folder.mkdir()
    start, begun = time.perf_counter(), time.time()
    outcomes = run_trainings(plan_trainings(trainings, folder), folder, {}, options=options)
    wall_s = time.perf_counter() - start
    if errors := [outcome.error for outcome in outcomes.values() if outcome.error]:
        raise ConfigError(f"{len(errors)} of {len(trainings)} runs failed: {errors[0]}")
    times = [read_json(outcome.folder / _TIMES) for outcome in outcomes.values()]
    pace = _pace(times, begun, wall_s)
    log(
        f"{len(trainings)} runs, {options.jobs or 1} at once: {wall_s:.1f} s, of which "
        f"{pace['start_s']:.1f} s to start"
    )
    return pace


def _pace(times: list[Mapping[str, Any]], begun: float, wall_s: float) -> Pace:
    first, last = min(row["first"] for row in times), max(row["end"] for row in times)
    pace: Pace = {
        "wall_s": round(wall_s, 3),
        "start_s": round(first - begun, 3),
        "training_s": round(last - first, 3),
        "run_s": _mean(row["end"] - row["first"] for row in times),
        "run_cpu_s": _mean(row["cpu_s"] for row in times),
        "import_s": round(
            sum(row["import_s"] for row in times) / len({row["process"] for row in times}), 3
        ),
        "runs_per_hour": round(3600 * len(times) / (last - first), 1),
    }
    if gaps := list(_gaps(times)):
        pace["gap_s"] = _mean(gaps)
    return pace


def _gaps(times: Iterable[Mapping[str, Any]]) -> Iterable[float]:
    """Seconds between the end of a training and the start of the next one of its process."""
    ends: dict[int, float] = {}
    for row in sorted(times, key=lambda row: row["begun"]):
        if row["process"] in ends:
            yield row["first"] - ends[row["process"]]
        ends[row["process"]] = row["end"]


def _mean(values: Iterable[float]) -> float:
    listed = list(values)
    return round(sum(listed) / len(listed), 3)
