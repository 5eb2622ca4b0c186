# SPDX-License-Identifier: Apache-2.0
"""Exports a ``.tflite`` alone, without a run or a data set; needs no TensorFlow."""

from collections.abc import Sequence
from pathlib import Path

from m3net_tf.audio.frontend import FrontendConfig
from m3net_tf.compiler.engines import DEFAULT_ENGINE, Engine
from m3net_tf.export.bundle import Bundle
from m3net_tf.export.enrolment import (
    background_embeddings,
    embedding_network,
    enrolment_metadata,
)
from m3net_tf.export.manifest import FORMAT, Manifest
from m3net_tf.export.operators import operators_of_parts
from m3net_tf.export.pushes import streaming_detector
from m3net_tf.export.writing import (
    built_in_vectors,
    existing_export,
    saved_detector,
    write_export,
)
from m3net_tf.runtime.detector_config import DetectorConfig
from m3net_tf.runtime.foreign import read_network
from m3net_tf.runtime.metadata import Metadata
from m3net_tf.runtime.network import Int8Network
from m3net_tf.system.artifacts import provenance, sha256_of
from m3net_tf.system.errors import ConfigError, ModelError
from m3net_tf.system.locks import writes_into
from m3net_tf.system.progress import Log, silent
from m3net_tf.training.run import Run

_UNKNOWN = "not in the file"


@writes_into("folder", makes=True)
def export_file(
    path: Path,
    folder: Path,
    log: Log = silent,
    engine: Engine = DEFAULT_ENGINE,
    *,
    recipe: str | Path | FrontendConfig | None = None,
    labels: str | Path | Sequence[str] | None = None,
    detector_path: Path | None = None,
    enrolment_slots: int | None = None,
    background: Sequence[Path] = (),
    stream: bool | None = None,
) -> Bundle:
    """Write everything that a device needs from a ``.tflite`` alone.

    The network's bytes stay as they are, except that float and uint8 inputs and outputs of an int8
    network become int8. Front end and labels are read from the file's metadata; without metadata
    they are the given ones. Settings of live detection are read from ``detector_path`` if it
    exists, and otherwise from the metadata. The test vectors are built-in sounds of the package. An
    existing export of the same network is kept, as in :func:`.bundle.export_run`.

    Args:
        folder: folder in which ``export`` is written.
        recipe: front end of a file without metadata, as for :func:`.foreign.read_network`.
        detector_path: settings of live detection; default: ``detector.yaml`` in the folder.
        enrolment_slots: places for words that the board learns; the export then has the network
            without its softmax.
        background: folders of sounds without the words that will be enrolled, by which the outputs
            of that network are whitened (:func:`.enrolment.enrolment_network`) and words get their
            thresholds (:mod:`m3net_tf.runtime.prototypes`).
        stream: whether live detection streams; None: where it pays. If it is true, the detector of
            the metadata gets the columns between runs with which it can.

    Raises:
        InUseError: another process writes into the folder.
        ModelError: the file is missing or damaged, lacks metadata, or does not fit ``recipe`` and
            ``labels``; or the engine does not support the network.
        ConfigError: the front end has a form that the device code lacks.
    """
    tflite, metadata = read_network(path, recipe, labels, log)
    heard = None
    if enrolment_slots:
        metadata = metadata.without_gain()  # examples are learnt without one
        try:
            embedding = embedding_network(tflite, metadata, background, log)
            if background:
                heard = background_embeddings(embedding, metadata, background, log)
        except ModelError as error:
            raise ModelError(f"{path}: {error}") from None
        tflite = embedding
        metadata = enrolment_metadata(metadata, tflite, enrolment_slots)
    network = Int8Network(tflite, metadata.importance, metadata.warp)
    detector_path = detector_path or Run(folder).detector_path
    detector = saved_detector(
        detector_path, metadata.frontend, metadata.frames, metadata.detector.labels
    )
    if detector is None:
        detector = metadata.detector
        if stream:
            detector = streaming_detector(detector, network, metadata.frontend, stream)
    target = folder / "export"
    bundle = existing_export(target, log)
    if bundle and _is_current(bundle, network, metadata):
        log(f"{target} is already exported")
        bundle.set_detector(detector, log)
        bundle.set_engine(engine, log, stream)
        bundle.c_folder(log)
        return bundle
    unplanned = _manifest(path, network, metadata, detector, engine)
    vectors = built_in_vectors(metadata.frontend, metadata.frames)
    return write_export(target, unplanned, network, vectors, log, stream, heard)


def _is_current(bundle: Bundle, network: Int8Network, metadata: Metadata) -> bool:
    """Whether an export has this network, front end and class names."""
    same = (bundle.network, bundle.frontend, bundle.labels) == (
        network,
        metadata.frontend,
        metadata.labels,
    ) and (bundle.manifest.normal_prototypes or ()) == metadata.normal_prototypes
    return same and bundle.manifest.format == FORMAT


def _manifest(
    path: Path, network: Int8Network, metadata: Metadata, detector: DetectorConfig, engine: Engine
) -> Manifest:
    """The manifest, whose arena is not known yet."""
    try:
        return Manifest.from_dict(
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


def _importance(network: Int8Network) -> dict[str, object]:
    if not network.warp:
        return {}
    facts = {"sha256": sha256_of(network.importance), "bytes": len(network.importance)}
    return {"importance": facts}
