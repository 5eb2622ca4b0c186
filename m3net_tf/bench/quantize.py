# SPDX-License-Identifier: Apache-2.0
"""What quantisation costs and keeps: accuracy, bytes and instructions of several runs at once."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from m3net_tf.artifacts import provenance
from m3net_tf.deployment import budgets
from m3net_tf.deployment.chain import run_chain, saved_summary
from m3net_tf.errors import ConfigError, FirmwareError
from m3net_tf.export import export_run
from m3net_tf.progress import Log, silent
from m3net_tf.quantization.method_accuracy import method_figures
from m3net_tf.quantization.methods import Method
from m3net_tf.training.run import Run


def run_bench_quantize(
    runs: Sequence[Run],
    board: str,
    data_dir: Path | None = None,
    methods: Sequence[str] = (),
    log: Log = silent,
) -> dict[str, Any]:
    """Measure finished runs; a run without an export gets one, a summary that holds is taken.

    Args:
        runs: the runs; each is known by the name of its folder.
        board: emulated board.
        data_dir: where their data sets lie.
        methods: methods of quantisation to try besides, such as ``int16x8``; nothing of them stays.
        log: takes lines of progress.

    Returns:
        ``cells``: for each run its board, ``network`` (the folder's name), the costs that
        :mod:`m3net_tf.deployment.budgets` compares, accuracy on the test split and bytes of the
        network.

    Raises:
        ConfigError: two runs have one name, or a method is unknown.
        FirmwareError: the board cannot be emulated.
        M3NetError: as the stages raise.
    """
    names = [run.folder.name for run in runs]
    if len(set(names)) < len(names):
        raise ConfigError(f"runs are told by their folders' names: rename some of {names}")
    wanted = [Method.parse(text) for text in methods]
    cells = [_cell(run, board, data_dir, wanted, log) for run in runs]
    return {"cells": cells, **provenance()}


def _cell(
    run: Run, board: str, data_dir: Path | None, methods: Sequence[Method], log: Log
) -> dict[str, Any]:
    bundle = export_run(run, data_dir, log=log)
    summary = saved_summary(run, board) or run_chain(run, board, data_dir, log=log)
    if "emulation_missing" in summary:
        raise FirmwareError(f"{board} cannot be emulated: {summary['emulation_missing']}")
    return {
        "board": board,
        "network": run.folder.name,
        "instructions": summary["instructions"]["model"],
        "frontend_instructions": summary["instructions"]["frontend_per_frame"],
        "arena_bytes": summary["arena_bytes"],
        "stack_bytes": summary["stack_bytes"],
        "flash_bytes": summary["flash_bytes"],
        "model_bytes": bundle.network.size_bytes,
        "clips": summary["clips"],
        "accuracy": {
            "float": summary["accuracy"]["float"],
            "exported": summary["accuracy"]["int8_desktop"],
        },
        "methods": method_figures(run, data_dir, methods, log) if methods else {},
    }


def costlier(result: dict[str, Any], path: Path) -> list[budgets.Change]:
    """Costs of these runs that are above a file of budgets by more than its allowance.

    Args:
        result: what :func:`run_bench_quantize` returned.
        path: the file, as :func:`.budgets.update` writes it; runs in it that were
            not measured do not count.

    Raises:
        ConfigError: the file is missing or not one of budgets.
    """
    if not path.exists():
        raise ConfigError(f"{path} is missing: make it by m3net bench quantize ... --update")
    names = {cell["network"] for cell in result["cells"]}
    changes = budgets.compare(result, path)
    return budgets.exceeded([change for change in changes if change[1] in names])
