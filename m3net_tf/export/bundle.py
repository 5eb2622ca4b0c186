# SPDX-License-Identifier: Apache-2.0
"""The export folder: everything that a firmware project needs from a trained network."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from m3net_tf.artifacts import provenance, sha256_of, write_bytes, write_json, write_text
from m3net_tf.datasets import AudioDataset, DatasetInfo
from m3net_tf.engines import DEFAULT_ENGINE
from m3net_tf.errors import ConfigError, M3NetError, ModelError
from m3net_tf.export.arena import engine_arena
from m3net_tf.export.compiled import write_compiled
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
from m3net_tf.export.operators import operators_of
from m3net_tf.export.reading import Bundle, c_model, pcm_and_features, write_tflite
from m3net_tf.export.warp_tables import write_warp_tables
from m3net_tf.frontend import FrontendConfig, column_count, write_c_tables
from m3net_tf.keras import keras
from m3net_tf.locks import scratch_folder, writes_into
from m3net_tf.progress import Log, silent
from m3net_tf.quantization.diffres import quantize_network
from m3net_tf.quantization.pipeline import Choice, chosen_network, deployable_dataset
from m3net_tf.quantization.ptq import choose_calibration
from m3net_tf.runtime.detector_config import DetectorConfig, load_detector, write_c_header
from m3net_tf.runtime.interpreter import Int8, run_reference, tensor_quantization
from m3net_tf.runtime.network import Int8Network
from m3net_tf.training.features import compute_features
from m3net_tf.training.recipe import Recipe
from m3net_tf.training.run import Run
from m3net_tf.unfinished import replace_folder, unfinished_prefix

VECTOR_CLIPS = 16


@writes_into("run")
def export_run(
    run: Run,
    data_dir: Path | None,
    folder: Path | None = None,
    log: Log = silent,
    engine: str = DEFAULT_ENGINE,
) -> Bundle:
    """Quantise a trained run and write everything that a device needs.

    If the run's folder has a network of ``m3net quantize``, it is exported unchanged.

    The folder holds ``model.tflite``, ``model.h`` and ``model.cc``, ``frontend_config.h`` and
    ``frontend_tables.c``, ``detector_config.h``, ``labels.txt``, ``vectors/`` and
    ``manifest.json``; with DiffRes ``importance.tflite``, ``warp_config.h`` and
    ``warp_tables.c``, too; with the compiled engine the files of :mod:`.compiled`. It appears whole
    or not at all, and the same run gives the same bytes. An existing export of the same network is
    kept; only its engine is changed, and its settings of live detection are updated, from the run's
    ``detector.yaml`` or, without one, to the defaults.

    Args:
        run: finished run.
        data_dir: folder of its data set, which gives calibration clips and test vectors.
        folder: destination; default: ``export`` in the run's folder.
        log: takes lines of progress.
        engine: one of :data:`m3net_tf.engines.ENGINES`, which the firmware uses by default.

    Raises:
        InUseError: another process writes into the run.
        ModelError: the run is unfinished, the network has no int8 form for the device, or the
            engine does not support it.
        ConfigError: the front end has a form that the device code lacks.
        DataError: the data set is missing or broken.
    """
    folder = folder or run.folder / "export"
    model = run.load_model()
    trained_sha256, choice = sha256_of(run.model_path.read_bytes()), chosen_network(run)
    if bundle := _current_export(folder, trained_sha256, choice, log):
        log(f"{folder} is already exported")
        return _updated(bundle, run, engine, log)
    dataset = deployable_dataset(run, model, data_dir)
    detector = detector_of_run(run, model.input_shape[2], dataset.info.labels)
    method = choice.report["method"] if choice else "ptq"
    if choice:
        log(f"using the network in {run.folder / 'quantized'}: {method}")
        network, calibration = choice.network, _calibration(choice)
    else:
        network, calibration = _quantized(run, model, dataset, log)
    unplanned = Manifest(
        arena=Arena(0, "nobody"),
        engine=engine,
        calibration=calibration,
        detector=detector,
        quantization=Quantization(method, chosen=choice is not None),
        trained_model_sha256=trained_sha256,
        **describe(run.recipe(), model, dataset.info, network),
        **provenance(),
    )
    clips = _held_out_clips(dataset, run.recipe().frontend)
    return write_export(folder, unplanned, network, clips, log)


def _updated(bundle: Bundle, run: Run, engine: str, log: Log) -> Bundle:
    """An existing export, with the engine and the present settings of live detection."""
    bundle.set_engine(engine, log)
    bundle.set_detector(detector_of_run(run, bundle.manifest.frames, bundle.labels))
    bundle.describe()  # exports of earlier releases have no metadata
    return bundle


def _current_export(
    folder: Path, trained_sha256: str, choice: Choice | None, log: Log
) -> Bundle | None:
    """The export in a folder, if it is of this network; None if there is none or it is stale.

    Raises:
        ModelError: the folder holds other files.
    """
    if (folder / "manifest.json").exists():
        try:
            bundle = Bundle.load(folder)
        except M3NetError as error:
            log(f"{error}; exporting now")
            return None
        return bundle if _is_current(bundle, trained_sha256, choice) else None
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ModelError(f"{folder} is not an export, and not empty: name another folder")
    return None


def _quantized(
    run: Run, model: keras.Model, dataset: AudioDataset, log: Log
) -> tuple[Int8Network, Calibration]:
    """The network after post-training quantisation, and the manifest's entry of its calibration."""
    recipe = run.recipe()
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
    return quantize_network(model, features), calibration


def _calibration(choice: Choice) -> Calibration:
    values = choice.report["calibration"]
    return Calibration(tuple(values["clips"]), values["features_sha256"])


def describe(
    recipe: Recipe, model: keras.Model, info: DatasetInfo, network: Int8Network
) -> dict[str, Any]:
    """Entries of the manifest about network, front end and data."""
    tflite = network.tflite
    importance = None
    if network.warp:
        importance = ImportanceFacts(sha256_of(network.importance), len(network.importance))
    return {
        "dataset": DatasetFacts(info.name, info.protocol, info.fold),
        "frontend": recipe.frontend,
        "labels": tuple(info.labels),
        "licence": f"Apache-2.0; trained on {info.name} ({info.licence})",
        "model": NetworkFacts(
            name=f"{recipe.model.name}-{recipe.model.preset}",
            sha256=sha256_of(tflite),
            bytes=len(tflite),
            input_shape=tuple(model.input_shape[1:]),
            input_quantization=tensor_quantization(tflite, "input"),
            output_quantization=tensor_quantization(tflite, "output"),
        ),
        "operators": tuple(sorted({name for part in network.parts for name in operators_of(part)})),
        "importance": importance,
        "warp": network.warp,
    }


@dataclasses.dataclass(frozen=True)
class VectorClips:
    """Clips of the test vectors.

    Attributes:
        names: their ids.
        labels: their true labels.
        pcm: int16 samples, shape (clips, samples).
        features: int8 features of these samples, shape (clips, bins, frames, 1).
    """

    names: Sequence[str]
    labels: Sequence[str]
    pcm: npt.NDArray[np.int16]
    features: Int8


def write_export(
    folder: Path, manifest: Manifest, network: Int8Network, clips: VectorClips, log: Log = silent
) -> Bundle:
    """Write an export atomically; it replaces an earlier one.

    Args:
        folder: the export's folder.
        manifest: the manifest, whose arena is replaced by that of its engine.
        network: the network.
        clips: clips of the test vectors.
        log: receives lines of progress.

    Raises:
        ModelError: the engine does not support the network.
    """
    model, engine = c_model(network, manifest), manifest.engine
    arena, compiled = engine_arena(model, network, engine, log)
    manifest = dataclasses.replace(manifest, arena=arena)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with scratch_folder(unfinished_prefix(folder.name), folder.parent) as scratch:
        scratch.chmod(0o755)
        write_tflite(network, manifest, scratch)
        model = c_model(network, manifest)
        model.write(scratch)
        if compiled:
            write_compiled(model, compiled, scratch)
        if network.warp:
            write_bytes(scratch / "importance.tflite", network.importance)
            write_warp_tables(network.warp, scratch)
        write_c_tables(manifest.frontend, scratch, frames=manifest.frames)
        write_c_header(manifest.detector, scratch)
        write_text(scratch / "labels.txt", "".join(f"{label}\n" for label in manifest.labels))
        _write_vectors(clips, manifest.labels, network, scratch / "vectors")
        write_json(scratch / "manifest.json", manifest.to_dict())
        replace_folder(scratch, folder)
    return Bundle.load(folder)


def _is_current(bundle: Bundle, trained_sha256: str, choice: Choice | None) -> bool:
    """Whether an export is of the run's current network in its current quantisation."""
    manifest = bundle.manifest
    if manifest.format != FORMAT or manifest.trained_model_sha256 != trained_sha256:
        return False
    if choice:
        return bundle.network.parts == choice.network.parts
    return not manifest.quantization.chosen


def detector_of_run(run: Run, frames: int, labels: Sequence[str]) -> DetectorConfig:
    """Settings of live detection of a run: its ``detector.yaml``, else the defaults.

    Raises:
        ConfigError: the file is damaged or was made for another network, or a device cannot cut
            its input of this many frames into columns.
    """
    frontend = run.recipe().frontend
    window_columns = column_count(frontend, frames)
    if not run.detector_path.exists():
        return DetectorConfig.default(frontend, window_columns, labels)
    config = load_detector(run.detector_path)
    try:
        config.check_fits(frontend, window_columns, labels)
    except ConfigError as error:
        raise ConfigError(f"{run.detector_path}: {error}") from None
    return config


def _held_out_clips(dataset: AudioDataset, config: FrontendConfig) -> VectorClips:
    held_out = dataset.split("test")
    spread = np.linspace(0, len(held_out) - 1, min(VECTOR_CLIPS, len(held_out))).astype(int)
    clips = tuple(held_out[i] for i in spread)
    pcm, features = pcm_and_features(dataset, clips, config)
    names, labels = [clip.clip_id for clip in clips], [clip.label for clip in clips]
    return VectorClips(names, labels, pcm, features)


def _write_vectors(
    clips: VectorClips, labels: Sequence[str], network: Int8Network, folder: Path
) -> None:
    """Write test vectors: clips with the expected result of each stage."""
    outputs = network.run(run_reference, clips.features)
    write_bytes(folder / "pcm_int16.bin", clips.pcm.astype("<i2").tobytes())
    write_bytes(folder / "features_int8.bin", clips.features.tobytes())
    write_bytes(folder / "outputs_int8.bin", outputs.tobytes())
    write_json(
        folder / "vectors.json",
        {
            "clips": list(clips.names),
            "true_labels": list(clips.labels),
            "predicted_labels": [labels[i] for i in outputs.argmax(1)],
            "pcm_int16.bin": {"dtype": "<i2", "shape": list(clips.pcm.shape)},
            "features_int8.bin": {"dtype": "int8", "shape": list(clips.features.shape)},
            "outputs_int8.bin": {"dtype": "int8", "shape": list(outputs.shape)},
        },
    )
