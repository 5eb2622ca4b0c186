# SPDX-License-Identifier: Apache-2.0
"""Quantise a trained run by a method, or by the cheapest one that keeps its accuracy.

What comes out lies in ``quantized/`` of the run's folder: ``model.tflite``, which the export takes
from then on, and ``report.json`` and ``report.md``, which say how it was made and what it costs.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from m3net_tf.artifacts import (
    provenance,
    read_json,
    sha256_of,
    write_bytes,
    write_json,
    write_text,
)
from m3net_tf.errors import ConfigError, ModelError
from m3net_tf.models.diffres import has_diffres
from m3net_tf.quantization.methods import Method, Quantized, Quantizer
from m3net_tf.quantization.ptq import choose_calibration
from m3net_tf.quantization.report import (
    compare_split,
    compare_tensors,
    divergence,
    float_scores,
    markdown,
    points,
    probabilities,
    rank_layers,
)
from m3net_tf.quantization.runtime import (
    Int8,
    run_reference,
    run_tflm,
    tflm_unavailable_reason,
)
from m3net_tf.training.evaluation import takes_lengths
from m3net_tf.training.features import FeatureSet, compute_features
from m3net_tf.training.run import Run

Log = Callable[[str], None]
#: Tried by a repair, in the order of what they cost: nothing on the device; the last one about
#: doubles arena and time of the network.
MENDS = (
    "ptq",
    "ptq+p99.99",
    "ptq+least-error",
    "ptq+equalize+bias",
    "ptq+least-error+equalize+bias",
    "int16x8",
)
_TENSOR_CLIPS = 64
_PARITY_CLIPS = 4


@dataclasses.dataclass(frozen=True)
class Choice:
    """The quantised network that a run has settled on.

    Attributes:
        tflite: the network.
        report: what ``report.json`` says of it.
    """

    tflite: bytes
    report: dict[str, Any]


def chosen_network(run: Run) -> Choice | None:
    """What :func:`quantize_run` left for the export; None if the run was never quantised by it.

    Raises:
        ModelError: it was made of another network than the run has now, or is damaged.
    """
    folder = run.folder / "quantized"
    path = folder / "model.tflite"
    if not path.exists():
        return None
    report = read_json(folder / "report.json")
    tflite = path.read_bytes()
    mend = f"quantise {run.folder} again, or delete {folder}"
    try:
        named = report["sha256"], report["trained_model_sha256"]
    except (KeyError, TypeError):
        raise ModelError(f"{folder / 'report.json'} is no report of a network: {mend}") from None
    if named[0] != sha256_of(tflite):
        raise ModelError(f"{path} is not the network of report.json: {mend}")
    if named[1] != sha256_of(run.model_path.read_bytes()):
        raise ModelError(f"{path} was made before the run was trained anew: {mend}")
    return Choice(tflite, report)


def quantize_run(
    run: Run,
    data_dir: Path | None = None,
    method: Method | None = None,
    *,
    bound_points: float | None = None,
    calibration_clips: int | None = None,
    ranking_clips: int = 500,
    log: Log = lambda _: None,
) -> dict[str, Any]:
    """Quantise a run and report on it.

    Args:
        run: finished run.
        data_dir: where its data set lies.
        method: how; None tries :data:`MENDS` in turn.
        bound_points: without a method: percentage points of validation accuracy that int8 may
            lose; the first method that keeps to it is taken, else the one that loses least.
        calibration_clips: instead of the recipe's number.
        ranking_clips: validation clips by which layers are ranked; 0 spares that.
        log: takes lines of progress.

    Returns:
        The report, as ``quantized/report.json`` has it.

    Raises:
        ConfigError: neither or both of method and bound are given, or the bound is none.
        ModelError: the run is unfinished, or its network has no int8 form.
        DataError: the data set is missing or broken.
    """
    if (method is None) == (bound_points is None):
        raise ConfigError("a run is quantised either by a method or by a repair to a bound")
    if bound_points is not None and not 0 <= bound_points <= 100:
        raise ConfigError(f"the bound of {bound_points} points is none: give 0 to 100")
    recipe, model = run.recipe(), run.load_model()
    if has_diffres(model) or takes_lengths(model):
        raise ModelError(
            f"{run.folder} is a network of several parts or inputs: only m3net export quantises it"
        )
    dataset = run.dataset(data_dir)
    if dataset.info.multi_label:
        raise ModelError(
            f"{dataset.info.name} has clips with several labels, and the device gives one: train "
            "on a data set with one label a clip"
        )
    splits = {
        name: compute_features(dataset, name, recipe.frontend, log=log)
        for name in ("train", "validation", "test")
    }
    train_set, validation = splits["train"], splits["validation"]
    count = calibration_clips or recipe.quantization.calibration_clips
    chosen = choose_calibration(train_set.labels, count, recipe.quantization.seed)
    log(f"calibrating {model.name} with {len(chosen)} training clips")
    quantizer = Quantizer(model, train_set.clean[chosen])
    tried: list[dict[str, Any]] = []
    if method is None:
        assert bound_points is not None
        method, tried = _repair(quantizer, validation, bound_points, log)
    else:
        log(f"quantising by {method}")
    quantized = quantizer.quantize(method)
    log("comparing with the float network")
    labels = dataset.info.labels
    report: dict[str, Any] = {
        "format": 1,
        "run": run.folder.name,
        "method": str(method),
        "changed_layers": list(quantized.changed_layers),
        "bound_points": bound_points,
        "tried": tried,
        "sha256": sha256_of(quantized.tflite),
        "bytes": len(quantized.tflite),
        "trained_model_sha256": sha256_of(run.model_path.read_bytes()),
        "calibration": {
            "clips": [train_set.clips[i].clip_id for i in chosen],
            "features_sha256": hashlib.sha256(train_set.clean[chosen].tobytes()).hexdigest(),
        },
        "dataset": {
            "name": dataset.info.name,
            "protocol": dataset.info.protocol,
            "fold": dataset.info.fold,
        },
        "labels": list(labels),
        **{
            name: compare_split(quantized, splits[name].clean, splits[name].labels, labels)
            for name in ("validation", "test")
        },
        "tensors": [
            dataclasses.asdict(one)
            for one in compare_tensors(quantized, _spread(validation.clean, _TENSOR_CLIPS))
        ],
        **_ranking(quantized, method, validation, ranking_clips, model.name, log),
        **provenance(),
    }
    if bound_points is not None:
        report["within_bound"] = report["validation"]["drop_points"] <= bound_points
    folder = run.folder / "quantized"
    # The report names the network's hash, so a half-written pair is noticed by its reader.
    write_bytes(folder / "model.tflite", quantized.tflite)
    write_text(folder / "report.md", markdown(report))
    write_json(folder / "report.json", report)
    return report


def _repair(
    quantizer: Quantizer, validation: FeatureSet, bound_points: float, log: Log
) -> tuple[Method, list[dict[str, Any]]]:
    """The first mend that keeps to the bound, else the one that loses least, and all tries."""
    known = float_scores(quantizer.calibrated, validation.clean)
    accuracy = (known.argmax(1) == validation.labels).mean()
    tried: list[dict[str, Any]] = []
    for name in MENDS:
        method, drop_points, apart, outcome = Method.parse(name), None, None, ""
        try:
            quantized = quantizer.quantize(method)
            if method.wide:
                outcome = _why_not_on_device(quantized, validation.clean)
        except ModelError as error:
            outcome = str(error)
        if not outcome:
            scores = run_reference(quantized.tflite, validation.clean)
            drop_points = points(accuracy - (scores.argmax(1) == validation.labels).mean())
            apart = divergence(known, probabilities(scores))
            outcome = "within the bound" if drop_points <= bound_points else "loses too much"
        tried.append(
            {
                "method": name,
                "drop_points": drop_points,
                "divergence": apart,
                "outcome": outcome,
            }
        )
        lost = "" if drop_points is None else f"{drop_points:.2f} points: "
        log(f"{name}: {lost}{outcome}")
        if outcome == "within the bound":
            return method, tried
    possible = [one for one in tried if one["drop_points"] is not None]
    if not possible:
        raise ModelError(f"{quantizer.model.name}: {tried[0]['outcome']}")
    best = min(possible, key=lambda one: one["drop_points"])
    return Method.parse(best["method"]), tried


def _why_not_on_device(quantized: Quantized, features: Int8) -> str:
    """Why TFLite Micro cannot run the network with equal bytes; '' if it can."""
    if reason := tflm_unavailable_reason():
        return reason
    clips = _spread(features, _PARITY_CLIPS)
    if not np.array_equal(
        run_tflm(quantized.tflite, clips), run_reference(quantized.tflite, clips)
    ):
        return "TFLite Micro rounds a layer otherwise than TFLite"
    return ""


def _ranking(
    quantized: Quantized,
    method: Method,
    validation: FeatureSet,
    clips: int,
    name: str,
    log: Log,
) -> dict[str, Any]:
    count = 0 if method.wide else min(clips, len(validation.labels))
    if not count:
        return {"ranking": [], "ranking_clips": 0}
    log(f"quantising one layer at a time on {count} validation clips")
    labels = _spread(validation.labels, count)
    costs = rank_layers(quantized, _spread(validation.clean, count), labels, name)
    return {"ranking": [dataclasses.asdict(one) for one in costs], "ranking_clips": count}


def _spread(values: npt.NDArray[Any], count: int) -> npt.NDArray[Any]:
    """At most so many rows, spread evenly."""
    return values[np.linspace(0, len(values) - 1, min(count, len(values))).astype(int)]
