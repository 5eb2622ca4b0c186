# SPDX-License-Identifier: Apache-2.0
"""What quantisation costs and keeps: accuracy, bytes and instructions of several runs at once."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from m3net_tf.artifacts import provenance
from m3net_tf.errors import ConfigError, FirmwareError
from m3net_tf.export import export_run
from m3net_tf.quantization.methods import Method, Quantizer
from m3net_tf.quantization.network import Int8Network
from m3net_tf.quantization.ptq import choose_calibration
from m3net_tf.quantization.runtime import run_reference
from m3net_tf.reports import budgets
from m3net_tf.reports.chain import run_chain, saved_summary
from m3net_tf.training.features import FeatureSet, compute_features
from m3net_tf.training.run import Run

if TYPE_CHECKING:  # tfmot takes seconds
    from m3net_tf.quantization.fine_tuning import FineTuner

Log = Callable[[str], None]


def run_bench_quantize(
    runs: Sequence[Run],
    board: str,
    data_dir: Path | None = None,
    methods: Sequence[str] = (),
    log: Log = lambda _: None,
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
        :mod:`m3net_tf.reports.budgets` compares, accuracy on the test split and bytes of the
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


def method_figures(
    run: Run,
    data_dir: Path | None,
    methods: Sequence[Method],
    log: Log = lambda _: None,
) -> dict[str, dict[str, Any]]:
    """What a run's network reaches by each method; nothing of it stays.

    Args:
        run: finished run.
        data_dir: where its data set lies.
        methods: of quantisation.
        log: takes lines of progress.

    Returns:
        By method ``accuracy`` on the test split, ``validation_accuracy`` and ``model_bytes``.

    Raises:
        M3NetError: as the stages raise.
    """
    model, recipe = run.load_model(), run.recipe()
    dataset = run.dataset(data_dir)
    train, validation, test = (
        compute_features(dataset, name, recipe.frontend, log=log)
        for name in ("train", "validation", "test")
    )
    settings = recipe.quantization
    chosen = choose_calibration(train.labels, settings.calibration_clips, settings.seed)
    quantizer = Quantizer(model, train.clean[chosen])

    @functools.cache
    def tuner() -> FineTuner:
        from m3net_tf.quantization.fine_tuning import FineTuner

        return FineTuner(run, dataset, data_dir, quantizer.calibration, validation, log=log)

    found = {}
    for method in methods:
        log(f"{run.folder}: quantising by {method}")
        own = quantizer
        if method.fine_tunes:
            own = Quantizer(tuner().fine_tune(method).model, quantizer.calibration)
        network = own.quantize(method).network

        def accuracy(clips: FeatureSet, network: Int8Network = network) -> float:
            scores = network.run(run_reference, clips.clean)
            return float((scores.argmax(1) == clips.labels).mean())

        found[str(method)] = {
            "accuracy": accuracy(test),
            "validation_accuracy": accuracy(validation),
            "model_bytes": network.size_bytes,
        }
    return found


def costlier(result: dict[str, Any], path: Path) -> list[budgets.Change]:
    """Costs of these runs that are above a file of budgets by more than its allowance.

    Args:
        result: what :func:`run_bench_quantize` returned.
        path: the file, as :func:`m3net_tf.reports.budgets.update` writes it; runs in it that were
            not measured do not count.

    Raises:
        ConfigError: the file is missing or not one of budgets.
    """
    if not path.exists():
        raise ConfigError(f"{path} is missing: make it by m3net bench quantize ... --update")
    names = {cell["network"] for cell in result["cells"]}
    changes = budgets.compare(result, path)
    return budgets.exceeded([change for change in changes if change[1] in names])
