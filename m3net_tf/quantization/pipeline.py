# SPDX-License-Identifier: Apache-2.0
"""Quantise a trained run by a method, or by the cheapest one that keeps its accuracy.

What comes out lies in ``quantized/`` of the run's folder: ``model.tflite``, which the export takes
from then on, and ``report.json`` and ``report.md``, which say how it was made and what it costs.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
from m3net_tf.keras import keras
from m3net_tf.quantization.compression import compression
from m3net_tf.quantization.diffres import Int8Network
from m3net_tf.quantization.methods import FineTuning, Method, Quantized, Quantizer
from m3net_tf.quantization.ptq import choose_calibration
from m3net_tf.quantization.report import (
    compare_split,
    compare_tensors,
    divergence,
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
from m3net_tf.quantization.warp import WarpConfig
from m3net_tf.training.evaluation import predict, takes_lengths
from m3net_tf.training.features import FeatureSet, compute_features
from m3net_tf.training.run import Run

if TYPE_CHECKING:  # tfmot takes seconds
    from m3net_tf.quantization.fine_tuning import FineTuned, FineTuner

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
_IMPORTANCE = "importance.tflite"
_HOLDS = "within the bound"
_DEAREST = 3  # layers, with the first of which a repair by training begins
_RANKED_CLIPS = 200
_AS_THE_RECIPE = FineTuning()
_TENSOR_CLIPS = 64
_PARITY_CLIPS = 4


@dataclasses.dataclass(frozen=True)
class Choice:
    """The quantised network that a run has settled on.

    Attributes:
        network: for the device.
        report: what ``report.json`` says of it.
    """

    network: Int8Network
    report: dict[str, Any]


def chosen_network(run: Run) -> Choice | None:
    """What :func:`quantize_run` left for the export; None if the run was never quantised by it.

    Raises:
        ModelError: it was made of another network than the run has now, or is damaged.
    """
    folder = run.folder / "quantized"
    if not (folder / "model.tflite").exists():
        return None
    report = read_json(folder / "report.json")
    mend = f"quantise {run.folder} again, or delete {folder}"
    try:
        trained, hashes = report["trained_model_sha256"], {"model.tflite": report["sha256"]}
        warp = None
        if "warp" in report:
            hashes[_IMPORTANCE] = report["importance_sha256"]
            warp = WarpConfig.from_dict(report["warp"])
    except (KeyError, TypeError):
        raise ModelError(f"{folder / 'report.json'} is no report of a network: {mend}") from None
    parts = {}
    for name, sha256 in hashes.items():
        path = folder / name
        parts[name] = path.read_bytes() if path.exists() else b""
        if sha256_of(parts[name]) != sha256:
            raise ModelError(f"{path} is not the network of report.json: {mend}")
    if trained != sha256_of(run.model_path.read_bytes()):
        raise ModelError(
            f"{folder / 'model.tflite'} was made before the run was trained anew: {mend}"
        )
    network = Int8Network(parts["model.tflite"], parts.get(_IMPORTANCE, b""), warp)
    return Choice(network, report)


def quantize_run(
    run: Run,
    data_dir: Path | None = None,
    method: Method | None = None,
    *,
    bound_points: float | None = None,
    calibration_clips: int | None = None,
    ranking_clips: int = 500,
    fine_tuning: FineTuning = _AS_THE_RECIPE,
    log: Log = lambda _: None,
) -> dict[str, Any]:
    """Quantise a run and report on it.

    Args:
        run: finished run.
        data_dir: where its data set lies.
        method: how; None tries :data:`MENDS` in turn, then ``qat``.
        bound_points: without a method: percentage points of validation accuracy that int8 may
            lose; the first method that keeps to it is taken, else the one that loses least.
        calibration_clips: instead of the recipe's number.
        ranking_clips: validation clips by which layers are ranked; 0 spares that.
        fine_tuning: how the network is trained for int8, where the method asks for it.
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
    if takes_lengths(model):
        raise ModelError(
            f"{run.folder} takes the lengths of clips, which the device lacks: train with "
            "model.arguments.lengths: false"
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
    calibration = train_set.clean[chosen]
    quantizer = Quantizer(model, calibration)
    trained: FineTuned | None = None

    @functools.cache
    def tuner() -> FineTuner:
        from m3net_tf.quantization.fine_tuning import FineTuner

        return FineTuner(run, dataset, data_dir, calibration, validation, fine_tuning, log)

    def train(method: Method, first_layer: str | None) -> FineTuned:
        return tuner().fine_tune(method, first_layer)

    known = {
        name: predict(model, splits[name].clean).astype(float) for name in ("validation", "test")
    }
    tried: list[dict[str, Any]] = []
    if method is None:
        assert bound_points is not None
        method, tried = _repair(quantizer, validation, known["validation"], bound_points, log)
        if tried[-1]["outcome"] != _HOLDS:
            method, trained = _repair_by_training(
                method, quantizer, train, validation, known["validation"], bound_points, tried, log
            )
    else:
        log(f"quantising by {method}")
        if method.fine_tunes:
            trained = train(method, fine_tuning.first_layer)
    if trained:
        quantizer = Quantizer(trained.model, calibration)
    quantized = quantizer.quantize(method)
    network = quantized.network
    if method.wide and (reason := _why_not_on_device(network, validation.clean)):
        if reason != tflm_unavailable_reason():
            raise ModelError(f"{run.folder} cannot have 16-bit activations: {reason}")
        log(f"not checked on TFLite Micro: {reason}")
    log("comparing with the float network")
    labels = dataset.info.labels
    report: dict[str, Any] = {
        "format": 1,
        "run": run.folder.name,
        "method": str(method),
        "fine_tuning": trained.done if trained else [],
        "changed_layers": list(quantized.changed_layers),
        "bound_points": bound_points,
        "tried": tried,
        "sha256": sha256_of(network.tflite),
        "bytes": network.size_bytes,
        "compression": compression(network.parts),
        "trained_model_sha256": sha256_of(run.model_path.read_bytes()),
        "calibration": {
            "clips": [train_set.clips[i].clip_id for i in chosen],
            "features_sha256": hashlib.sha256(train_set.clean[chosen].tobytes()).hexdigest(),
        },
        "dataset": {
            "name": dataset.info.name,
            "protocol": dataset.info.protocol,
            "statement": run.protocol_statement(dataset),
            "fold": dataset.info.fold,
        },
        "labels": list(labels),
        **{
            name: compare_split(
                scores, network.run(run_reference, splits[name].clean), splits[name].labels, labels
            )
            for name, scores in known.items()
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
    # The report names the networks' hashes, so a half-written folder is noticed by its reader.
    if network.warp:
        report["importance_sha256"] = sha256_of(network.importance)
        report["warp"] = network.warp.to_dict()
        write_bytes(folder / _IMPORTANCE, network.importance)
    write_bytes(folder / "model.tflite", network.tflite)
    write_text(folder / "report.md", markdown(report))
    write_json(folder / "report.json", report)
    return report


def _repair(
    quantizer: Quantizer,
    validation: FeatureSet,
    known: npt.NDArray[Any],
    bound_points: float,
    log: Log,
) -> tuple[Method, list[dict[str, Any]]]:
    """The first mend that keeps to the bound, else the one that loses least, and all tries."""
    tried: list[dict[str, Any]] = []
    for name in MENDS:
        method = Method.parse(name)
        tried.append(_try(quantizer, method, validation, known, bound_points, log))
        if tried[-1]["outcome"] == _HOLDS:
            return method, tried
    possible = [one for one in tried if one["drop_points"] is not None]
    if not possible:
        raise ModelError(f"{quantizer.model.name}: {tried[0]['outcome']}")
    best = min(possible, key=lambda one: one["drop_points"])
    return Method.parse(best["method"]), tried


def _try(
    quantizer: Quantizer,
    method: Method,
    validation: FeatureSet,
    known: npt.NDArray[Any],
    bound_points: float,
    log: Log,
    first_layer: str | None = None,
) -> dict[str, Any]:
    """What a mend comes to, as the report has it."""
    drop_points, apart, outcome = None, None, ""
    try:
        network = quantizer.quantize(method).network
        if method.wide:
            outcome = _why_not_on_device(network, validation.clean)
    except ModelError as error:
        outcome = str(error)
    if not outcome:
        scores = network.run(run_reference, validation.clean)
        accuracy = (known.argmax(1) == validation.labels).mean()
        drop_points = points(accuracy - (scores.argmax(1) == validation.labels).mean())
        apart = divergence(known, probabilities(scores))
        outcome = _HOLDS if drop_points <= bound_points else "loses too much"
    name = f"{method} from {first_layer} on" if first_layer else str(method)
    told = "" if drop_points is None else f"{drop_points:.2f} points: "
    log(f"{name}: {told}{outcome}")
    return {
        "method": name,
        "drop_points": drop_points,
        "divergence": apart,
        "outcome": outcome,
    }


def _repair_by_training(
    best_so_far: Method,
    quantizer: Quantizer,
    train: Callable[[Method, str | None], FineTuned],
    validation: FeatureSet,
    known: npt.NDArray[Any],
    bound_points: float,
    tried: list[dict[str, Any]],
    log: Log,
) -> tuple[Method, FineTuned | None]:
    """The last mend: train with int8's rounding, from the first of the dearest layers on, then all.

    Args:
        best_so_far: the method that loses least of those tried without training.
        quantizer: of the run's network.
        train: trains it; takes the method and the first layer that changes.
        validation: validation clips.
        known: the float network's answers to them.
        bound_points: what int8 may lose.
        tried: what was tried without training; these tries are added.
        log: takes lines of progress.

    Returns:
        The method that loses least of all tried, and what training made if that is one.
    """
    method, first = Method(qat=True), None
    if tried[0]["drop_points"] is not None:
        log(f"quantising one layer at a time on {_RANKED_CLIPS} validation clips")
        costs = rank_layers(
            quantizer.quantize(Method()),
            _spread(validation.clean, _RANKED_CLIPS),
            _spread(validation.labels, _RANKED_CLIPS),
            quantizer.model.name,
        )
        first = first_of_the_dearest([one.layer for one in costs], quantizer.model)
    best = min(one["drop_points"] for one in tried if one["drop_points"] is not None)
    found: tuple[Method, FineTuned | None] = best_so_far, None
    for first_layer in (first, None) if first else (None,):
        made = train(method, first_layer)
        mended = Quantizer(made.model, quantizer.calibration)
        tried.append(_try(mended, method, validation, known, bound_points, log, first_layer))
        lost = tried[-1]["drop_points"]
        if lost is not None and lost < best:
            best, found = lost, (method, made)
        if tried[-1]["outcome"] == _HOLDS:
            break
    return found


def first_of_the_dearest(ranked: Sequence[str], model: keras.Model) -> str | None:
    """The earliest of the layers that cost most; None if that is where the network begins.

    Args:
        ranked: names of layers as the ranking gives them, the dearest first.
        model: the network.
    """
    names = [layer.name for layer in model.layers if layer.weights]
    known = [part for name in ranked for part in name.split("/") if part in names]
    places = [names.index(name) for name in known[:_DEAREST]]
    return names[min(places)] if places and min(places) > 0 else None


def _why_not_on_device(network: Int8Network, features: Int8) -> str:
    """Why TFLite Micro cannot run the network with equal bytes; '' if it can."""
    if reason := tflm_unavailable_reason():
        return reason
    clips = _spread(features, _PARITY_CLIPS)
    if not np.array_equal(network.run(run_tflm, clips), network.run(run_reference, clips)):
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
