# SPDX-License-Identifier: Apache-2.0
"""Quantises a trained run by a method, or by the cheapest one that preserves its accuracy.

The results are stored in ``quantized/`` of the run's folder: ``model.tflite``, which exports then
use, and ``report.json`` and ``report.md`` with the method and its loss.
"""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from m3net_tf.audio.datasets import AudioDataset
from m3net_tf.networks.models.interface import takes_lengths
from m3net_tf.quantization.comparison import compare_split, compare_tensors, rank_layers
from m3net_tf.quantization.compression import compression
from m3net_tf.quantization.methods import FineTuning, Method, Quantized, Quantizer
from m3net_tf.quantization.ptq import choose_calibration, evenly_spaced
from m3net_tf.quantization.record import Attempt, LayerLoss, Report, SplitFigures
from m3net_tf.quantization.repair import Repair, why_not_on_device
from m3net_tf.quantization.report import markdown
from m3net_tf.runtime.interpreter import Int8, run_reference, tflm_unavailable_reason
from m3net_tf.runtime.network import Int8Network
from m3net_tf.runtime.warp import WarpConfig
from m3net_tf.system.artifacts import (
    provenance,
    read_json,
    sha256_of,
    write_bytes,
    write_json,
    write_text,
)
from m3net_tf.system.conversion import from_plain
from m3net_tf.system.errors import ConfigError, ModelError
from m3net_tf.system.keras import keras, use_threads
from m3net_tf.system.locks import complete_folder, writes_into
from m3net_tf.system.progress import Log, silent
from m3net_tf.training.clips.features import FeatureSet, compute_features
from m3net_tf.training.run import Run
from m3net_tf.training.scoring.evaluation import predict

if TYPE_CHECKING:  # tfmot takes seconds to import
    from m3net_tf.quantization.fine_tuning import FineTuned, FineTuner

_IMPORTANCE = "importance.tflite"
_DEFAULTS = FineTuning()
_TENSOR_CLIPS = 64


@dataclasses.dataclass(frozen=True)
class Choice:
    """The chosen quantised network of a run."""

    network: Int8Network
    report: Report


def chosen_network(run: Run) -> Choice | None:
    """The network from :func:`quantize_run`; None if the run was not quantised.

    Raises:
        ModelError: it belongs to an earlier network of the run, or is damaged.
    """
    folder = run.quantized_path.parent
    if not run.quantized_path.exists():
        return None
    report = read_json(folder / "report.json", Any)
    remedy = f"quantise {run.folder} again, or delete {folder}"
    try:
        trained, hashes = report["trained_model_sha256"], {"model.tflite": report["sha256"]}
        warp = None
        if "warp" in report:
            hashes[_IMPORTANCE] = report["importance_sha256"]
            warp = from_plain(WarpConfig, report["warp"], "warp")
    except (KeyError, TypeError, ConfigError):
        raise ModelError(f"{folder / 'report.json'} is not a valid report: {remedy}") from None
    parts = {}
    for name, sha256 in hashes.items():
        path = folder / name
        parts[name] = path.read_bytes() if path.exists() else b""
        if sha256_of(parts[name]) != sha256:
            raise ModelError(f"{path} is not the network of report.json: {remedy}")
    if trained != sha256_of(run.model_path.read_bytes()):
        raise ModelError(
            f"{folder / 'model.tflite'} was quantised before the run was trained again: {remedy}"
        )
    network = Int8Network(parts["model.tflite"], parts.get(_IMPORTANCE, b""), warp)
    return Choice(network, report)


@dataclasses.dataclass(frozen=True)
class _Material:
    """Inputs of the quantisation of a run.

    Attributes:
        splits: int8 features of ``train``, ``validation`` and ``test``.
        calibration_clips: indices of training clips.
        probabilities: the float network's probabilities on ``validation`` and ``test``.
    """

    run: Run
    dataset: AudioDataset
    splits: dict[str, FeatureSet]
    model: keras.Model
    calibration_clips: npt.NDArray[np.int64]
    probabilities: dict[str, npt.NDArray[np.float64]]

    @property
    def calibration(self) -> Int8:
        """Features of the calibration clips, shape (clips, bins, frames, channels)."""
        return self.splits["train"].clean[self.calibration_clips]


@writes_into("run")
def quantize_run(
    run: Run,
    data_dir: Path | None = None,
    method: Method | None = None,
    *,
    bound_points: float | None = None,
    calibration_clips: int | None = None,
    ranking_clips: int = 500,
    fine_tuning: FineTuning = _DEFAULTS,
    log: Log = silent,
) -> Report:
    """Quantise a run and report on it.

    Args:
        run: finished run.
        method: the method; None tries :data:`.repair.REPAIR_METHODS` in turn, then ``qat``.
        bound_points: without a method: percentage points of validation accuracy that int8 may
            lose. The first method within this bound is used, or else the one that loses least.
        calibration_clips: number of clips; default: the recipe's.
        ranking_clips: number of validation clips for the ranking of layers; 0 skips it.
        fine_tuning: settings of fine-tuning, for methods that need it.

    Returns:
        The report, as in ``quantized/report.json``.

    Raises:
        InUseError: another process writes into the run.
        ConfigError: not exactly one of method and bound is given, or the bound is out of range.
        ModelError: the run is unfinished, or its network has no int8 form.
        DataError: the data set is missing or broken.
    """
    if (method is None) == (bound_points is None):
        raise ConfigError("give either a method or the bound of a repair, not both")
    if bound_points is not None and not 0 <= bound_points <= 100:
        raise ConfigError(f"the bound is {bound_points} points: give 0 to 100")
    material = _material(run, data_dir, calibration_clips, log)
    method, trained, attempts = _settle(material, data_dir, method, bound_points, fine_tuning, log)
    quantizer = Quantizer(trained.model if trained else material.model, material.calibration)
    quantized = quantizer.quantize(method)
    if method.wide:
        _check_wide(run, quantized.network, material.splits["validation"].clean, log)
    log("comparing with the float network")
    report = _report(material, quantized, method, ranking_clips, log)
    report["fine_tuning"] = trained.done if trained else []
    report["bound_points"] = bound_points
    report["tried"] = attempts
    if bound_points is not None:
        report["within_bound"] = report["validation"]["drop_points"] <= bound_points
    _write(run.quantized_path.parent, quantized.network, report)
    return report


def deployable_dataset(run: Run, model: keras.Model, data_dir: Path | None) -> AudioDataset:
    """The run's data set, if a device can run the network.

    Raises:
        ModelError: the network takes the lengths of clips.
        DataError: the data set is missing or damaged.
    """
    if takes_lengths(model):
        raise ModelError(
            f"{run.folder} needs the lengths of clips, which devices do not support: train with "
            "model.arguments.lengths: false"
        )
    return run.dataset(data_dir)


def _material(
    run: Run, data_dir: Path | None, calibration_clips: int | None, log: Log
) -> _Material:
    """Load the inputs of a quantisation; refuse networks that the device cannot run."""
    recipe = run.recipe()
    use_threads(recipe.training.threads)
    model = run.load_model()
    dataset = deployable_dataset(run, model, data_dir)
    if dataset.info.multi_label:
        raise ModelError(
            f"{run.folder}: m3net quantize compares the best class of each clip, but clips of "
            f"{dataset.info.name} have several labels: m3net export quantises this network after "
            "training, and m3net evaluate compares its mAP"
        )
    splits = {
        name: compute_features(dataset, name, recipe.frontend, log=log)
        for name in ("train", "validation", "test")
    }
    count = calibration_clips or recipe.quantization.calibration_clips
    chosen = choose_calibration(splits["train"].labels, count, recipe.quantization.seed)
    log(f"calibrating {model.name} with {len(chosen)} training clips")
    probabilities = {
        name: predict(model, splits[name].clean).astype(float) for name in ("validation", "test")
    }
    return _Material(run, dataset, splits, model, chosen, probabilities)


def _settle(
    material: _Material,
    data_dir: Path | None,
    method: Method | None,
    bound_points: float | None,
    fine_tuning: FineTuning,
    log: Log,
) -> tuple[Method, FineTuned | None, list[Attempt]]:
    """The given method or a repair's, its fine-tuned network, and the repair's attempts."""
    validation = material.splits["validation"]

    @functools.cache
    def tuner() -> FineTuner:
        from m3net_tf.quantization.fine_tuning import FineTuner

        return FineTuner(
            material.run,
            material.dataset,
            data_dir,
            material.calibration,
            validation,
            fine_tuning,
            log,
        )

    def train(method: Method, first_layer: str | None) -> FineTuned:
        return tuner().fine_tune(method, first_layer)

    if method is not None:
        log(f"quantising by {method}")
        trained = train(method, fine_tuning.first_layer) if method.fine_tunes else None
        return method, trained, []
    assert bound_points is not None
    quantizer = Quantizer(material.model, material.calibration)
    repair = Repair(quantizer, validation, material.probabilities["validation"], bound_points, log)
    method = repair.without_training()
    trained = None
    if not repair.holds:
        method, trained = repair.by_training(method, train)
    return method, trained, repair.attempts


def _check_wide(run: Run, network: Int8Network, features: Int8, log: Log) -> None:
    reason = why_not_on_device(network, features)
    if reason and reason != tflm_unavailable_reason():
        raise ModelError(f"{run.folder} cannot have 16-bit activations: {reason}")
    if reason:
        log(f"not checked on TFLite Micro: {reason}")


def _report(
    material: _Material, quantized: Quantized, method: Method, ranking_clips: int, log: Log
) -> Report:
    """The report of a network that is neither trained for int8 nor repaired."""
    run, info, network = material.run, material.dataset.info, quantized.network
    train_set, validation = material.splits["train"], material.splits["validation"]
    made_with = provenance()
    ranked = 0 if method.wide else min(ranking_clips, len(validation.labels))
    return {
        "format": 1,
        "run": run.folder.name,
        "method": str(method),
        "fine_tuning": [],
        "bound_points": None,
        "tried": [],
        "changed_layers": list(quantized.changed_layers),
        "sha256": sha256_of(network.tflite),
        "bytes": network.size_bytes,
        "compression": compression(network.parts),
        "trained_model_sha256": sha256_of(run.model_path.read_bytes()),
        "calibration": {
            "clips": [train_set.clips[i].clip_id for i in material.calibration_clips],
            "features_sha256": sha256_of(material.calibration.tobytes()),
        },
        "dataset": {
            "name": info.name,
            "protocol": info.protocol,
            "statement": run.protocol_statement(material.dataset),
            "fold": info.fold,
        },
        "labels": list(info.labels),
        "validation": _compared(material, network, "validation"),
        "test": _compared(material, network, "test"),
        "tensors": compare_tensors(quantized, evenly_spaced(validation.clean, _TENSOR_CLIPS)),
        "ranking": _ranking(material, quantized, ranked, log) if ranked else [],
        "ranking_clips": ranked,
        "versions": made_with["versions"],
        "git_commit": made_with["git_commit"],
    }


def _compared(material: _Material, network: Int8Network, name: str) -> SplitFigures:
    split = material.splits[name]
    scores = network.run(run_reference, split.clean)
    labels = material.dataset.info.labels
    return compare_split(material.probabilities[name], scores, split.labels, labels)


def _write(folder: Path, network: Int8Network, report: Report) -> None:
    """Write network and report; both replace an earlier quantisation in one step."""
    with complete_folder(folder) as scratch:
        if network.warp:
            report["importance_sha256"] = sha256_of(network.importance)
            report["warp"] = dataclasses.asdict(network.warp)
            write_bytes(scratch / _IMPORTANCE, network.importance)
        write_bytes(scratch / "model.tflite", network.tflite)
        write_text(scratch / "report.md", markdown(report))
        write_json(scratch / "report.json", report)


def _ranking(material: _Material, quantized: Quantized, count: int, log: Log) -> list[LayerLoss]:
    validation = material.splits["validation"]
    log(f"quantising one layer at a time on {count} validation clips")
    features, labels = (
        evenly_spaced(values, count) for values in (validation.clean, validation.labels)
    )
    return rank_layers(quantized, features, labels, material.model.name, log)
