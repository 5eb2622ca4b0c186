# SPDX-License-Identifier: Apache-2.0
"""Accuracy, bytes and instructions of several runs after quantisation."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TypedDict

from m3net_tf.boards.deployment import cost_baselines
from m3net_tf.boards.deployment.chain import run_chain, saved_summary
from m3net_tf.boards.deployment.cost import BoardCost, CostFigures
from m3net_tf.compiler.engines import DEFAULT_ENGINE, Engine
from m3net_tf.export import export_run
from m3net_tf.quantization.method_accuracy import MethodFigures, method_figures
from m3net_tf.quantization.methods import Method
from m3net_tf.system.artifacts import Provenance, provenance
from m3net_tf.system.errors import ConfigError, FirmwareError
from m3net_tf.system.progress import Log, silent
from m3net_tf.training.run import Run


class RunAccuracy(TypedDict):
    """Accuracy on the test split, as shares: of the exported network, and of the float one."""

    exported: float
    float: float


class QuantizedRun(CostFigures):
    """Figures of a run.

    Attributes:
        network: name of the run's folder.
        engine: one of :data:`m3net_tf.compiler.engines.ENGINES`.
        clips: number of test clips.
        accuracy: accuracy on them.
        methods: figures of the additional methods.
    """

    network: str
    engine: Engine
    clips: int
    accuracy: RunAccuracy
    methods: dict[str, MethodFigures]


class QuantizedRuns(Provenance):
    """The runs in the given order."""

    cells: list[QuantizedRun]


def run_bench_quantize(
    runs: Sequence[Run],
    board: str,
    data_dir: Path | None = None,
    methods: Sequence[str] = (),
    log: Log = silent,
    engine: Engine = DEFAULT_ENGINE,
) -> QuantizedRuns:
    """Measure finished runs; missing exports are made, and summaries that are up to date reused.

    Args:
        runs: the runs, identified by the names of their folders.
        board: emulated board.
        data_dir: folder of their data sets.
        methods: additional methods of quantisation, such as ``int16x8``; their networks are not
            kept.
        log: receives lines of progress.
        engine: one of :data:`m3net_tf.compiler.engines.ENGINES`; the exports are made for it.

    Raises:
        ConfigError: two runs have the same name, or a method is unknown.
        FirmwareError: the board cannot be emulated.
        M3NetError: a stage failed.
    """
    names = [run.folder.name for run in runs]
    if len(set(names)) < len(names):
        raise ConfigError(f"runs are identified by their folders' names: rename some of {names}")
    parsed = [Method.parse(text) for text in methods]
    cells = [_cell(run, board, data_dir, parsed, log, engine) for run in runs]
    return {"cells": cells, **provenance()}


def _cell(
    run: Run,
    board: str,
    data_dir: Path | None,
    methods: Sequence[Method],
    log: Log,
    engine: Engine,
) -> QuantizedRun:
    export_run(run, data_dir, log=log, engine=engine)
    summary = saved_summary(run, board) or run_chain(run, board, data_dir, log=log)
    if "emulation_missing" in summary:
        raise FirmwareError(f"{board} cannot be emulated: {summary['emulation_missing']}")
    return {
        "network": run.folder.name,
        "engine": engine,
        **BoardCost.from_dict(summary).to_dict(),
        "clips": summary["clips"],
        "accuracy": {
            "float": summary["accuracy"]["float"],
            "exported": summary["accuracy"]["int8_desktop"],
        },
        "methods": method_figures(run, data_dir, methods, log) if methods else {},
    }


def costs_of(result: QuantizedRuns) -> cost_baselines.Measured:
    """Cost of each run in a result of :func:`run_bench_quantize`."""
    return {
        cost_baselines.Place(cell["board"], cell["engine"], cell["network"]): BoardCost.from_dict(
            cell
        )
        for cell in result["cells"]
    }


def costlier(result: QuantizedRuns, path: Path) -> list[cost_baselines.Change]:
    """Costs of these runs that exceed the accepted ones by more than the allowance.

    Args:
        result: result of :func:`run_bench_quantize`.
        path: the file, as :func:`.cost_baselines.update` writes it; other runs in it are ignored.

    Raises:
        ConfigError: the file is missing or invalid.
    """
    if not path.exists():
        raise ConfigError(f"{path} is missing: make it with m3net bench quantize ... --update")
    measured = costs_of(result)
    names = {place.network for place in measured}
    changes = cost_baselines.compare(measured, path)
    return cost_baselines.exceeded([change for change in changes if change.place.network in names])
