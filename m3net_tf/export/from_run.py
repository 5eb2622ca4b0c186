# SPDX-License-Identifier: Apache-2.0
"""The export folder: everything that a firmware project needs from a trained network."""

import dataclasses
import hashlib
from collections.abc import Sequence
from pathlib import Path

from m3net_tf.audio.datasets import DatasetInfo, dataset_info
from m3net_tf.audio.frontend import column_count
from m3net_tf.compiler.engines import DEFAULT_ENGINE, Engine
from m3net_tf.export.bundle import Bundle
from m3net_tf.export.default_detector import default_detector
from m3net_tf.export.manifest import (
    FORMAT,
    Arena,
    Calibration,
    DatasetFacts,
    ImportanceFacts,
    Manifest,
    NetworkFacts,
    Quantization,
)
from m3net_tf.export.operators import operators_of_parts
from m3net_tf.export.pushes import streaming_detector
from m3net_tf.export.writing import (
    Vectors,
    built_in_vectors,
    existing_export,
    saved_detector,
    vectors_of,
    write_export,
)
from m3net_tf.quantization.diffres import quantize_network
from m3net_tf.quantization.pipeline import Choice, chosen_network, deployable_dataset
from m3net_tf.quantization.ptq import choose_calibration
from m3net_tf.runtime.detector_config import DetectorConfig, at_threshold, save_detector
from m3net_tf.runtime.interpreter import tensor_quantization
from m3net_tf.runtime.network import Int8Network
from m3net_tf.system.artifacts import provenance, sha256_of
from m3net_tf.system.errors import DataError, ModelError
from m3net_tf.system.keras import keras
from m3net_tf.system.locks import writes_into
from m3net_tf.system.progress import Log, silent
from m3net_tf.training.clips.features import compute_features
from m3net_tf.training.recipe import Recipe
from m3net_tf.training.run import Run

_SIGMOID = (1 / 256, -128)  # scale and zero point of a sigmoid in TFLite


@dataclasses.dataclass(frozen=True)
class _Content:
    """What an export takes from a run."""

    network: Int8Network
    calibration: Calibration
    method: str
    info: DatasetInfo
    vectors: Vectors


@writes_into("run")
def export_run(
    run: Run,
    data_dir: Path | None,
    folder: Path | None = None,
    log: Log = silent,
    engine: Engine = DEFAULT_ENGINE,
    stream: bool | None = None,
) -> Bundle:
    """Quantise a trained run and write everything that a device needs.

    If the run's folder has a network of ``m3net quantize``, it is exported unchanged; then the test
    vectors are built-in sounds if the data set is not available.

    The folder holds ``model.tflite``, ``model.h`` and ``model.cc``, ``frontend_config.h`` and
    ``frontend_tables.c``, ``detector_config.h``, ``labels.txt``, ``vectors/`` and
    ``manifest.json``; with DiffRes ``importance.tflite``, ``warp_config.h`` and
    ``warp_tables.c``, too; with the compiled engine the files of
    :func:`.c_files.write_compiled`. It appears whole or not at all, and the same run gives the
    same bytes. An existing export of the same network is
    kept; only its engine is changed, and its settings of live detection are updated, from the run's
    ``detector.yaml`` or, without one, to the defaults. A network for several labels gets a
    ``detector.yaml`` with the threshold of each class.

    Args:
        data_dir: folder of its data set, which gives calibration clips and test vectors.
        folder: destination; default: ``export`` in the run's folder.

    Raises:
        InUseError: another process writes into the run.
        ModelError: the run is unfinished, the network has no int8 form for the device, or the
            engine does not support it; or it is for several labels and does not end in sigmoids.
        ConfigError: the front end has a form that the device code lacks.
        DataError: the data set is missing or broken, and the export needs it.
    """
    folder = folder or run.folder / "export"
    model = run.load_model()
    trained_sha256 = sha256_of(run.model_path.read_bytes())
    choice = chosen_network(run)
    bundle = existing_export(folder, log)
    if bundle and _is_current(bundle, trained_sha256, choice):
        log(f"{folder} is already exported")
        frames = bundle.manifest.frames
        detector = detector_of_run(run, bundle.network, frames, bundle.labels, stream)
        bundle.set_detector(detector, log)
        bundle.set_engine(engine, log, stream)
        bundle.c_folder(log)
        return bundle
    if choice:
        content = _chosen(run, model, data_dir, choice, log)
    else:
        content = _quantized(run, model, data_dir, log)
    detector = detector_of_run(
        run, content.network, model.input_shape[2], content.info.labels, stream
    )
    unplanned = unplanned_manifest(
        run.recipe(),
        model,
        content.info,
        content.network,
        calibration=content.calibration,
        detector=detector,
        quantization=Quantization(content.method, chosen=choice is not None),
        trained_model_sha256=trained_sha256,
        engine=engine,
    )
    bundle = write_export(folder, unplanned, content.network, content.vectors, log, stream)
    if run.metrics().thresholds and not run.detector_path.exists():
        save_detector(detector, run.detector_path)
        log(f"{run.detector_path}: each class has the threshold that validation chose")
    return bundle


def _chosen(
    run: Run, model: keras.Model, data_dir: Path | None, choice: Choice, log: Log
) -> _Content:
    """The network of ``m3net quantize``, with built-in sounds if its data set is not available."""
    report = choice.report
    frontend = run.recipe().frontend
    log(f"using the network in {run.quantized_path.parent}: {report['method']}")
    try:
        dataset = deployable_dataset(run, model, data_dir)
        info = dataset.info
        vectors = vectors_of(dataset, frontend)
    except DataError as error:
        if data_dir is not None:
            raise
        log(f"the test vectors are built-in sounds: {error}")
        info = dataclasses.replace(
            dataset_info(report["dataset"]["name"]),
            protocol=report["dataset"]["protocol"],
            fold=report["dataset"]["fold"],
            labels=tuple(report["labels"]),
        )
        vectors = built_in_vectors(frontend, model.input_shape[2])
    clips = report["calibration"]
    calibration = Calibration(tuple(clips["clips"]), clips["features_sha256"])
    return _Content(choice.network, calibration, report["method"], info, vectors)


def _quantized(run: Run, model: keras.Model, data_dir: Path | None, log: Log) -> _Content:
    """The network after post-training quantisation."""
    recipe = run.recipe()
    dataset = deployable_dataset(run, model, data_dir)
    train_set = compute_features(dataset, "train", recipe.frontend, log=log)
    chosen = choose_calibration(
        train_set.labels, recipe.quantization.calibration_clips, recipe.quantization.seed
    )
    log(f"quantising {model.name} with {len(chosen)} calibration clips")
    features = train_set.clean[chosen]
    calibration = Calibration(
        tuple(train_set.clips[i].clip_id for i in chosen),
        hashlib.sha256(features.tobytes()).hexdigest(),
    )
    network = quantize_network(model, features)
    if dataset.info.multi_label and tensor_quantization(network.tflite, "output") != _SIGMOID:
        raise ModelError(
            f"{run.folder}: {recipe.model.name} does not end in a sigmoid for each class, so that "
            "the detector cannot read its int8 scores: train another network"
        )
    vectors = vectors_of(dataset, recipe.frontend)
    return _Content(network, calibration, "ptq", dataset.info, vectors)


def unplanned_manifest(
    recipe: Recipe,
    model: keras.Model,
    info: DatasetInfo,
    network: Int8Network,
    *,
    calibration: Calibration,
    detector: DetectorConfig,
    quantization: Quantization,
    trained_model_sha256: str,
    engine: Engine = DEFAULT_ENGINE,
) -> Manifest:
    """The manifest of an export whose arena is not known yet.

    Args:
        calibration: as in the manifest, like the arguments after it.
    """
    tflite = network.tflite
    importance = None
    if network.warp:
        importance = ImportanceFacts(sha256_of(network.importance), len(network.importance))
    tested_samples = None
    if recipe.dataset.in_windows:
        clip_s = recipe.dataset.options.get("clip_s", info.clip_s)
        tested_samples = round(clip_s * recipe.frontend.sample_rate_hz)
    return Manifest(
        arena=Arena(0, "nobody"),
        calibration=calibration,
        dataset=DatasetFacts(info.name, info.protocol, info.fold),
        detector=detector,
        engine=engine,
        frontend=recipe.frontend,
        importance=importance,
        labels=tuple(info.labels),
        licence=f"Apache-2.0; trained on {info.name} ({info.licence})",
        model=NetworkFacts(
            name=f"{recipe.model.name}-{recipe.model.preset}",
            sha256=sha256_of(tflite),
            bytes=len(tflite),
            input_shape=tuple(model.input_shape[1:]),
            input_quantization=tensor_quantization(tflite, "input"),
            output_quantization=tensor_quantization(tflite, "output"),
        ),
        operators=operators_of_parts(network.parts),
        quantization=quantization,
        tested_samples=tested_samples,
        trained_model_sha256=trained_model_sha256,
        warp=network.warp,
        **provenance(),
    )


def _is_current(bundle: Bundle, trained_sha256: str, choice: Choice | None) -> bool:
    """Whether an export is of the run's current network in its current quantisation."""
    manifest = bundle.manifest
    if manifest.format != FORMAT or manifest.trained_model_sha256 != trained_sha256:
        return False
    if choice:
        return bundle.network.parts == choice.network.parts
    return not manifest.quantization.chosen


def detector_of_run(
    run: Run,
    network: Int8Network,
    frames: int,
    labels: Sequence[str],
    stream: bool | None = None,
) -> DetectorConfig:
    """Settings of live detection of a run: its ``detector.yaml``, else its network's defaults.

    Where clips have several labels, the defaults have the threshold of each class that validation
    chose.

    Raises:
        ConfigError: the file is damaged or was made for another network, or a device cannot cut
            its input of this many frames into columns.
    """
    recipe = run.recipe()
    frontend = recipe.frontend
    if saved := saved_detector(run.detector_path, frontend, frames, labels):
        return saved
    detector = default_detector(recipe, column_count(frontend, frames), labels)
    # A body is exported before its run is finished, and no clip has chosen thresholds.
    if run.finished and (thresholds := run.metrics().thresholds):
        classes = tuple(at_threshold(each, thresholds[each.label]) for each in detector.classes)
        detector = dataclasses.replace(detector, classes=classes, several_labels=True)
    return streaming_detector(detector, network, frontend, stream)
