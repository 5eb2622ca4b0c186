# SPDX-License-Identifier: Apache-2.0
"""Accuracy of a run on held-out clips."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy.typing as npt

from m3net_tf.artifacts import provenance
from m3net_tf.export import Bundle
from m3net_tf.progress import Log, silent
from m3net_tf.training.checks import require_held_out
from m3net_tf.training.features import compute_features
from m3net_tf.training.metrics import wilson_interval
from m3net_tf.training.run import Run
from m3net_tf.training.trainer import predict


def evaluate_clips(
    run: Run, data_dir: Path | None = None, split: str = "test", log: Log = silent
) -> dict[str, Any]:
    """Accuracy of a run's float network and, if exported, of its int8 network.

    Args:
        run: finished run.
        data_dir: folder of the data set.
        split: ``validation`` or ``test``.
        log: receives progress lines.

    Raises:
        M3NetError: an error of a stage.
    """
    require_held_out(split)
    dataset = run.dataset(data_dir)
    held_out = compute_features(dataset, split, run.recipe().frontend, log=log)
    stages: dict[str, npt.NDArray[Any]] = {"float": predict(run.load_model(), held_out.clean)}
    if (run.folder / "export" / "manifest.json").exists():
        bundle = Bundle.load(run.folder / "export")
        stages["int8_desktop"] = bundle.run_reference(held_out.clean)
    result: dict[str, Any] = {
        "run": run.folder.name,
        "dataset": dataset.info.name,
        "protocol": dataset.info.protocol,
        "statement": run.protocol_statement(dataset),
        "split": split,
        "clips": len(held_out.labels),
        **provenance(),
    }
    for name, scores in stages.items():
        hits = int((scores.argmax(1) == held_out.labels).sum())
        result[name] = {
            "accuracy": hits / len(held_out.labels),
            "accuracy_95": list(wilson_interval(hits, len(held_out.labels))),
        }
    return result
