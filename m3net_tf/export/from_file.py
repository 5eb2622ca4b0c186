# SPDX-License-Identifier: Apache-2.0
"""Exports a ``.tflite`` that has its metadata, without the run or the data set; no TensorFlow."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from m3net_tf.artifacts import provenance, sha256_of
from m3net_tf.datasets import AudioDataset, load_dataset
from m3net_tf.engines import DEFAULT_ENGINE
from m3net_tf.errors import ConfigError, ModelError
from m3net_tf.export.manifest import FORMAT, Manifest
from m3net_tf.export.operators import operators_of_parts
from m3net_tf.export.reading import Bundle
from m3net_tf.export.writing import (
    existing_export,
    saved_detector,
    update_export,
    vectors_of,
    write_export,
)
from m3net_tf.locks import writes_into
from m3net_tf.progress import Log, silent
from m3net_tf.runtime.metadata import Metadata, read_metadata
from m3net_tf.runtime.network import Int8Network
from m3net_tf.training.run import Run

_UNKNOWN = "not in the file"


@writes_into("folder", makes=True)
def export_file(
    path: Path, folder: Path, log: Log = silent, engine: str = DEFAULT_ENGINE
) -> Bundle:
    """Write everything that a device needs from an exported ``.tflite`` alone.

    The network's bytes stay as they are. Front end, labels and settings of live detection are
    those of the file's metadata; a ``detector.yaml`` in the folder comes before the latter. The
    test vectors are built-in sounds of the package. An existing export of the same network is kept,
    as in :func:`.bundle.export_run`.

    Args:
        path: the file.
        folder: folder in which ``export`` is written.
        log: receives lines of progress.
        engine: one of :data:`m3net_tf.engines.ENGINES`, which the firmware uses by default.

    Raises:
        InUseError: another process writes into the folder.
        ModelError: the file is missing, damaged or without metadata, or the engine does not support
            the network.
        ConfigError: the front end has a form that the device code lacks.
    """
    tflite, metadata = read_metadata(path)
    network = Int8Network(tflite, metadata.importance, metadata.warp)
    path_of_detector = Run(folder).detector_path
    detector = (
        saved_detector(path_of_detector, metadata.frontend, metadata.frames, metadata.labels)
        or metadata.detector
    )
    target = folder / "export"
    bundle = existing_export(target, log)
    if bundle and bundle.manifest.format == FORMAT and bundle.network == network:
        log(f"{target} is already exported")
        return update_export(bundle, detector, engine, log)
    try:
        unplanned = Manifest.from_dict(
            {
                **metadata.manifest,
                **provenance(),
                "arena": {"bytes": 0, "source": "nobody"},
                "calibration": {"clips": [], "features_sha256": _UNKNOWN},
                "detector": detector.to_dict(),
                "engine": engine,
                "operators": operators_of_parts(network.parts),
                "quantization": {"method": _UNKNOWN, "chosen": False},
                "trained_model_sha256": _UNKNOWN,
                **_importance(network),
            }
        )
    except (ConfigError, ModelError) as error:
        raise ModelError(f"{path} cannot be exported ({error}): export its run again") from None
    vectors = vectors_of(
        _built_in_sounds(metadata), metadata.frontend, "built-in sounds of the package"
    )
    return write_export(target, unplanned, network, vectors, log)


def _importance(network: Int8Network) -> dict[str, object]:
    if not network.warp:
        return {}
    facts = {"sha256": sha256_of(network.importance), "bytes": len(network.importance)}
    return {"importance": facts}


def _built_in_sounds(metadata: Metadata) -> AudioDataset:
    """Sounds of ``synth``, repeated or cut to the length of the network's window."""
    rate_hz = metadata.frontend.sample_rate_hz
    sounds = load_dataset("synth", None, sample_rate_hz=rate_hz, clips_per_class=12)
    clip_s = metadata.window_samples / rate_hz
    info = dataclasses.replace(sounds.info, clip_s=clip_s, fit="loop")
    return dataclasses.replace(sounds, info=info)
