# SPDX-License-Identifier: Apache-2.0
"""Metadata of a ``.tflite``: a ZIP archive after the network, as TFLite's own tools write it.

The network's bytes do not change, and TFLite runtimes ignore the archive; the C array does not
contain it. ``unzip model.tflite`` extracts ``m3net.json`` (name, labels, front end, normalisation,
detector, licence), ``labels.txt`` and, with DiffRes, ``importance.tflite``.
"""

import dataclasses
import io
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from m3net_tf.audio.frontend import FrontendConfig
from m3net_tf.audio.frontend.level import NO_GAIN
from m3net_tf.audio.frontend.windows import TAIL_S
from m3net_tf.runtime.detector_config import DetectorConfig
from m3net_tf.runtime.warp import WarpConfig
from m3net_tf.system.artifacts import opened_archive, parse_json, sha256_of
from m3net_tf.system.conversion import convert, from_plain
from m3net_tf.system.errors import DAMAGED, ModelError
from m3net_tf.tflite.model_file import read_model_file

FORMAT = 1
_NAME = "m3net.json"
_IMPORTANCE = "importance.tflite"
_FROM_MANIFEST = ("dataset", "detector", "frontend", "labels", "licence", "model")
_OPTIONAL = ("enrolment_slots", "normal_prototypes", "tested_samples", "warp")
_DATE = (1980, 1, 1, 0, 0, 0)  # ZIP's earliest date, so that equal input gives equal bytes


@dataclasses.dataclass(frozen=True)
class Metadata:
    """Metadata of a ``.tflite``.

    Attributes:
        frames: columns of the network's input.
        tested_samples: samples of the windows by which the network was tested on longer clips;
            None if it was tested on one part of each.
        warp: DiffRes's warp between ``importance`` and the network.
        importance: DiffRes's frame-importance network; empty without DiffRes.
        enrolment_slots: places for words that are enrolled; None for a network whose outputs are
            scores.
        normal_prototypes: prototypes of normal sounds, from which the network's outputs are scored
            as unusual (:class:`.prototypes.NormalSounds`); empty for other networks.
        manifest: the entries of the export's manifest that the file has.
    """

    name: str
    licence: str
    labels: tuple[str, ...]
    frontend: FrontendConfig
    frames: int
    detector: DetectorConfig
    tested_samples: int | None = None
    warp: WarpConfig | None = None
    importance: bytes = b""
    enrolment_slots: int | None = None
    normal_prototypes: tuple[str, ...] = ()
    manifest: Mapping[str, Any] = dataclasses.field(default_factory=dict, repr=False)

    @property
    def window_samples(self) -> int:
        """Samples in one window of a longer sound."""
        return self.tested_samples or self.frontend.sample_count(self.frames)

    @property
    def tail_samples(self) -> int:
        """Least rest of a sound, in samples, for which a further window ends with it.

        Without ``tested_samples`` it is a hop, since a network's input covers almost a hop less
        than some clips of its training.
        """
        if self.tested_samples:
            return round(TAIL_S * self.frontend.sample_rate_hz)
        return self.frontend.hop_samples

    def without_gain(self) -> "Metadata":
        """The same without a gain of the microphone."""
        return dataclasses.replace(self, detector=self.detector.with_gain(NO_GAIN))


def stored_archive(files: Mapping[str, bytes], before: bytes = b"") -> bytes:
    """A ZIP archive without dates: equal files give equal bytes.

    Args:
        before: bytes before the archive.
    """
    # Compressed bytes would depend on the version of zlib.
    target = io.BytesIO(before)
    with zipfile.ZipFile(target, "a") as archive:
        for name in sorted(files):
            entry = zipfile.ZipInfo(name, _DATE)
            entry.create_system, entry.external_attr = 3, 0o644 << 16
            archive.writestr(entry, files[name])
    return target.getvalue()


def attach_metadata(network: bytes, manifest: Mapping[str, Any], importance: bytes = b"") -> bytes:
    """Append metadata to a network.

    Args:
        network: the ``.tflite`` for the device.
        importance: DiffRes's frame-importance network.
    """
    frontend = FrontendConfig.from_dict(manifest["frontend"])
    scale, zero_point = manifest["model"]["input_quantization"]
    values = {key: manifest[key] for key in (*_FROM_MANIFEST, *_OPTIONAL) if key in manifest}
    values["format"] = FORMAT
    values["normalisation"] = {
        "formula": "q = floor((feature - minimum) / step + 0.5) - 128, limited to int8; the "
        "network's real input is (q - zero_point) * scale",
        "minimum": frontend.feature_min,
        "step": frontend.feature_step,
        "scale": scale,
        "zero_point": zero_point,
    }
    text = json.dumps(values, indent=1, sort_keys=True, allow_nan=False)
    labels = "".join(f"{label}\n" for label in manifest["labels"])
    files = {_NAME: text.encode(), "labels.txt": labels.encode()}
    if importance:
        files[_IMPORTANCE] = importance
    return stored_archive(files, network)


def _archive(data: bytes) -> zipfile.ZipFile | None:
    try:
        return opened_archive(data)
    except DAMAGED:
        return None


def _our_archive(data: bytes) -> zipfile.ZipFile | None:
    archive = _archive(data)
    return archive if archive and _NAME in archive.namelist() else None


def has_metadata(data: bytes) -> bool:
    """Whether a file has the metadata of :func:`attach_metadata`."""
    return _our_archive(data) is not None


def network_of(data: bytes) -> bytes:
    """The network without an archive after it, the inverse of :func:`attach_metadata`."""
    archive = _archive(data)
    offsets = [entry.header_offset for entry in archive.infolist()] if archive else []
    return data[: min(offsets, default=len(data))]


def _require_types(values: Any) -> None:
    """Refuse metadata of another form than :func:`attach_metadata` writes."""
    kinds = {"labels": list, "model": dict, "frontend": dict, "licence": str, "format": int}
    fits = isinstance(values, dict)
    fits = fits and all(isinstance(values.get(key), kind) for key, kind in kinds.items())
    fits = fits and isinstance(values["model"].get("input_shape"), list)
    fits = fits and isinstance(values.get("tested_samples", 1), int)
    fits = fits and isinstance(values.get("enrolment_slots", 1), int)
    if not fits or not all(isinstance(label, str) for label in values["labels"]):
        raise ValueError("another form")


def read_metadata(path: Path) -> tuple[bytes, Metadata]:
    """Read a file's network and metadata.

    The SHA-256 in the metadata verifies the network, the archive's checksums the rest.

    Raises:
        ModelError: the file is missing, damaged or has no metadata.
        ConfigError: it has settings that this release does not support.
    """
    data = read_model_file(path)
    archive = _our_archive(data)
    if archive is None:
        raise ModelError(
            f"{path} has no metadata of inputs and outputs (no {_NAME} in it): name the "
            "model.tflite of an export, and export again if it is an old one; for a network from "
            "elsewhere give recipe and labels"
        )
    network = network_of(data)
    try:
        values = parse_json(archive.read(_NAME))
        _require_types(values)
        if values["format"] != FORMAT:
            raise ModelError(
                f"{path} has metadata of format {values['format']!r}, this release reads "
                f"{FORMAT}: install the release that exported it, or export again"
            )
        if values["model"]["sha256"] != sha256_of(network):
            raise ModelError(
                f"{path} is damaged: its network has another SHA-256 than its metadata; copy the "
                "file again, or export again"
            )
        metadata = Metadata(
            name=values["model"]["name"],
            licence=values["licence"],
            labels=tuple(values["labels"]),
            frontend=from_plain(FrontendConfig, values["frontend"], "frontend"),
            frames=values["model"]["input_shape"][1],
            detector=DetectorConfig.from_dict(values["detector"]),
            tested_samples=values.get("tested_samples"),
            warp=from_plain(WarpConfig, values["warp"], "warp") if "warp" in values else None,
            importance=archive.read(_IMPORTANCE) if "warp" in values else b"",
            enrolment_slots=values.get("enrolment_slots"),
            normal_prototypes=convert(
                tuple[str, ...], values.get("normal_prototypes", []), "normal_prototypes"
            ),
            manifest={key: values[key] for key in (*_FROM_MANIFEST, *_OPTIONAL) if key in values},
        )
        if metadata.frontend.frame_count(metadata.window_samples) != metadata.frames:
            raise ValueError("windows of another length")
    except DAMAGED:
        raise ModelError(f"{path} has damaged metadata: export again") from None
    return network, metadata
