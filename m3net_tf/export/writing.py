# SPDX-License-Identifier: Apache-2.0
"""Writes an export folder; needs no TensorFlow."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from m3net_tf.audio.datasets import AudioDataset, load_dataset
from m3net_tf.audio.datasets.selection import spread_clips
from m3net_tf.audio.frontend import FrontendConfig, column_count, write_c_tables
from m3net_tf.export.bundle import (
    VECTOR_FILES,
    Bundle,
    VectorIndex,
    c_model,
    with_pushes,
    write_tflite,
)
from m3net_tf.export.c_files import engine_arena, write_compiled
from m3net_tf.export.manifest import Manifest
from m3net_tf.export.reference import pcm_and_features
from m3net_tf.export.warp_tables import write_warp_tables
from m3net_tf.runtime.detector_config import DetectorConfig, load_detector, write_c_header
from m3net_tf.runtime.interpreter import run_reference
from m3net_tf.runtime.network import Int8Network
from m3net_tf.runtime.prototypes import BACKGROUND
from m3net_tf.system.artifacts import read_json, sha256_of, write_bytes, write_json, write_text
from m3net_tf.system.errors import ConfigError, M3NetError, ModelError
from m3net_tf.system.locks import complete_folder
from m3net_tf.system.progress import Log

_VECTOR_CLIPS = 16


@dataclasses.dataclass(frozen=True)
class Vectors:
    """Sounds for test vectors.

    Attributes:
        pcm: int16 samples, shape (clips, samples).
        features: Python's int8 features of these, shape (clips, bins, frames, 1).
        origin: entries of ``vectors.json`` about the sounds: ``clips``, their names, and the
            ``true_labels`` of held-out clips, or the ``source`` of other sounds.
    """

    pcm: npt.NDArray[np.int16]
    features: npt.NDArray[np.int8]
    origin: Mapping[str, str | Sequence[str]]


def vectors_of(dataset: AudioDataset, config: FrontendConfig, source: str = "") -> Vectors:
    """Test clips of a data set as test vectors.

    Args:
        source: what the sounds are, if they are not of the network's classes.
    """
    clips = spread_clips(dataset, _VECTOR_CLIPS)
    pcm, features = pcm_and_features(dataset, clips, config)
    truth = (
        {"source": source}
        if source
        else {"true_labels": [", ".join(clip.all_labels) for clip in clips]}
    )
    return Vectors(pcm, features, {"clips": [clip.clip_id for clip in clips], **truth})


def built_in_vectors(config: FrontendConfig, frames: int) -> Vectors:
    """Sounds of ``synth`` as test vectors, repeated or cut to the network's window."""
    sounds = load_dataset("synth", None, sample_rate_hz=config.sample_rate_hz, clips_per_class=12)
    clip_s = config.sample_count(frames) / config.sample_rate_hz
    info = dataclasses.replace(sounds.info, clip_s=clip_s, fit="loop")
    sounds = dataclasses.replace(sounds, info=info)
    return vectors_of(sounds, config, "built-in sounds of the package")


def existing_export(folder: Path, log: Log) -> Bundle | None:
    """The export in a folder; None if there is none, or one that this release cannot read.

    Raises:
        ModelError: the folder holds other files.
    """
    if (folder / "manifest.json").exists():
        try:
            bundle = Bundle.load(folder)
            _check_vectors(folder / "vectors")
            return bundle
        except M3NetError as error:
            log(f"{error}; exporting now")
            return None
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ModelError(f"{folder} is not an export, and not empty: name another folder")
    return None


def saved_detector(
    path: Path, frontend: FrontendConfig, frames: int, labels: Sequence[str]
) -> DetectorConfig | None:
    """Settings of live detection in a run's ``detector.yaml``; None without this file.

    Raises:
        ConfigError: the file is damaged or was made for another network, or a device cannot cut
            its input of this many frames into columns.
    """
    if not path.exists():
        return None
    config = load_detector(path)
    try:
        config.check_fits(frontend, column_count(frontend, frames), labels)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None
    return config


def write_export(
    folder: Path,
    unplanned: Manifest,
    network: Int8Network,
    vectors: Vectors,
    log: Log,
    stream: bool | None = None,
    background: npt.NDArray[np.int8] | None = None,
) -> Bundle:
    """Write the export atomically; it replaces an earlier one.

    Args:
        unplanned: the manifest, whose arena is not known yet.
        background: the network's outputs by which enrolled words get their thresholds.

    Raises:
        ModelError: the engine does not support an operator of the network, or live detection
            cannot stream.
        ConfigError: the front end has a form that the device code lacks.
    """
    unplanned = with_pushes(unplanned, network, stream)
    arena, compiled = engine_arena(c_model(network, unplanned), network, unplanned.engine, log)
    manifest = dataclasses.replace(unplanned, arena=arena)
    with complete_folder(folder) as scratch:
        write_tflite(network, manifest, scratch)
        model = c_model(network, manifest)
        model.write(scratch)
        if compiled:
            code = write_compiled(model, compiled, scratch)
            manifest = dataclasses.replace(manifest, code=code)
        if network.warp:
            write_bytes(scratch / "importance.tflite", network.importance)
            write_warp_tables(network.warp, scratch)
        write_c_tables(manifest.frontend, scratch, frames=manifest.frames)
        write_c_header(manifest.detector, scratch)
        write_text(scratch / "labels.txt", "".join(f"{label}\n" for label in manifest.labels))
        _write_vectors(vectors, manifest, network, scratch / "vectors")
        if background is not None:
            write_bytes(scratch / BACKGROUND, background.tobytes())
        write_json(scratch / "manifest.json", manifest.to_dict())
    return Bundle.load(folder)


def _write_vectors(
    vectors: Vectors, manifest: Manifest, network: Int8Network, folder: Path
) -> None:
    """Write test vectors: sounds with the expected result of each stage."""
    outputs = network.run(run_reference, vectors.features)
    arrays = dict(
        zip(VECTOR_FILES, (vectors.pcm.astype("<i2"), vectors.features, outputs), strict=True)
    )
    facts = {}
    for name, values in arrays.items():
        content = values.tobytes()
        write_bytes(folder / name, content)
        facts[name] = {
            "dtype": "<i2" if values.itemsize == 2 else "int8",
            "shape": list(values.shape),
            "sha256": sha256_of(content),
        }
    predicted = [manifest.labels[i] for i in outputs.argmax(1)]
    index = {**vectors.origin, "predicted_labels": predicted, **facts}
    write_json(folder / "vectors.json", index)


def _check_vectors(folder: Path) -> None:
    """Compare the test vectors with their hashes, which exports of release 0.1.0 lack."""
    index = read_json(folder / "vectors.json", VectorIndex)
    for name in VECTOR_FILES:
        sha256 = index[name].get("sha256")
        if sha256 and sha256_of((folder / name).read_bytes()) != sha256:
            raise ModelError(f"{folder / name} is damaged")
