# SPDX-License-Identifier: Apache-2.0
"""Cost of a run: exact counts on the emulated board, times on this machine."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import NotRequired, TypedDict

import numpy as np

from m3net_tf.audio.datasets.selection import spread_clips
from m3net_tf.audio.frontend import features_int8, graph
from m3net_tf.boards.deployment.cost import Clips, CostFigures, measure
from m3net_tf.boards.emulation.starting import firmware_folder, prove_arena, why_no_emulation
from m3net_tf.compiler.engines import Engine
from m3net_tf.export import Bundle
from m3net_tf.export.bundle import pcm_and_features
from m3net_tf.system.artifacts import Provenance, provenance, write_json
from m3net_tf.system.locks import writes_into
from m3net_tf.system.progress import silent
from m3net_tf.training.run import Run

_CLIPS = 32
_MIN_S = 1.0


class HostSpeed(TypedDict):
    """Speed of this machine in clips per second, and its number of processor cores."""

    cores: int | None
    frontend_numpy_clips_per_s: float
    frontend_tensorflow_clips_per_s: float
    int8_reference_clips_per_s: float


class BenchResult(Provenance):
    """Content of ``bench.json``.

    Attributes:
        run: name of the run's folder.
        model_sha256: hash of the exported network.
        engine: one of :data:`m3net_tf.compiler.engines.ENGINES`, which runs the network on the
            board.
        cost: cost on the board, the same on every machine; None if it cannot be emulated.
        host: speed of this machine.
        emulation_missing: why the board cannot be emulated.
    """

    run: str
    model_sha256: str
    engine: Engine
    cost: CostFigures | None
    host: HostSpeed
    emulation_missing: NotRequired[str]


@writes_into("run")
def run_bench(run: Run, board: str, data_dir: Path | None = None) -> BenchResult:
    """Measure a run's cost; the result is also written to ``bench.json`` in its folder.

    Args:
        run: finished run with an export.
        board: emulated board.
        data_dir: folder of the data set.

    Raises:
        M3NetError: a stage failed.
    """
    bundle = Bundle.load(run.folder / "export")
    dataset = run.dataset(data_dir)
    config = bundle.frontend
    pcm, features = pcm_and_features(dataset, spread_clips(dataset, _CLIPS), config)
    waves = np.asarray(pcm / 32768.0, np.float32)
    result: BenchResult = {
        "run": run.folder.name,
        "model_sha256": bundle.manifest.model.sha256,
        "engine": bundle.manifest.engine,
        "cost": None,
        "host": {
            "cores": os.cpu_count(),
            "frontend_numpy_clips_per_s": _rate(
                lambda: [features_int8(config, clip / 32768.0) for clip in pcm]
            ),
            "frontend_tensorflow_clips_per_s": _rate(lambda: graph.batch_features(config, waves)),
            "int8_reference_clips_per_s": _rate(lambda: bundle.run_reference(features)),
        },
        **provenance(),  # type: ignore[typeddict-item]  # the keys follow
    }
    engine = bundle.manifest.engine
    if reason := why_no_emulation(board, engine):
        result["emulation_missing"] = reason
    else:
        folder = firmware_folder(run.folder, board, engine)
        image = prove_arena(bundle, board, folder, silent)
        result["cost"] = measure(bundle, image, Clips(pcm, features)).cost.to_dict()
    write_json(run.folder / "bench.json", result)
    return result


def _rate(work: Callable[[], object]) -> float:
    """Clips per second of a function that handles ``_CLIPS`` clips, after one call for warm-up."""
    work()
    start, rounds = time.perf_counter(), 0
    while time.perf_counter() - start < _MIN_S:
        work()
        rounds += 1
    return round(rounds * _CLIPS / (time.perf_counter() - start), 1)
