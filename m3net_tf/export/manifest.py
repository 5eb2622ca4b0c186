# SPDX-License-Identifier: Apache-2.0
"""``manifest.json`` of an export, with types."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from m3net_tf import __version__
from m3net_tf.audio.frontend import FrontendConfig
from m3net_tf.compiler.engines import Engine
from m3net_tf.compiler.goals import GoalName
from m3net_tf.runtime.detector_config import DetectorConfig, slot_labels
from m3net_tf.runtime.prototypes import UNUSUAL
from m3net_tf.runtime.warp import WarpConfig
from m3net_tf.system.artifacts import read_json
from m3net_tf.system.conversion import from_plain, to_plain
from m3net_tf.system.errors import M3NetError, ModelError

FORMAT = 2
"""Format of exports, raised when the firmware needs something that older exports lack."""


@dataclasses.dataclass(frozen=True)
class Arena:
    """The tensor arena of an export."""

    bytes: int
    source: str


@dataclasses.dataclass(frozen=True)
class NetworkFacts:
    """The network that classifies.

    Attributes:
        sha256: hash of the ``.tflite`` without metadata.
        bytes: size of the ``.tflite`` without metadata.
        input_shape: bins, frames, channels.
        input_quantization: scale and zero point.
        output_quantization: scale and zero point.
    """

    name: str
    sha256: str
    bytes: int
    input_shape: tuple[int, int, int]
    input_quantization: tuple[float, int]
    output_quantization: tuple[float, int]


@dataclasses.dataclass(frozen=True)
class ImportanceFacts:
    """DiffRes's network that scores frames."""

    sha256: str
    bytes: int


@dataclasses.dataclass(frozen=True)
class DatasetFacts:
    """The data set that the network was trained on.

    Attributes:
        fold: the test fold, where the protocol has folds.
    """

    name: str
    protocol: str
    fold: int | None


@dataclasses.dataclass(frozen=True)
class Calibration:
    """The clips that the quantisation was calibrated with."""

    clips: tuple[str, ...]
    features_sha256: str


@dataclasses.dataclass(frozen=True)
class Quantization:
    """How the network was quantised.

    Attributes:
        method: such as ``ptq``.
        chosen: whether ``m3net quantize`` did it, and not the export.
    """

    method: str
    chosen: bool


@dataclasses.dataclass(frozen=True)
class GeneratedCode:
    """The generated C of an export with the compiled engine.

    Attributes:
        files: SHA-256 of each file, by its name in the folder ``compiled``.
        kernels_sha256: SHA-256 of the interface of the kernels that it calls.
    """

    files: dict[str, str]
    kernels_sha256: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Manifest:
    """All that ``manifest.json`` says of an export.

    Attributes:
        operators: TFLite operators of all networks, sorted.
        versions: versions of the packages that made the export.
        code: the generated C, with the compiled engine; None elsewhere and in old exports.
        push_columns: columns that a run of live detection pushes through the streamed network;
            None if it runs whole windows.
        engine: one of :data:`m3net_tf.compiler.engines.ENGINES`, which runs the network by default.
        tested_samples: samples of the windows by which the network was tested on longer clips;
            None if it was tested on one part of each.
        enrolment_slots: places for words that the board learns; None for a network with classes
            of its own.
        normal_prototypes: prototypes of normal sounds (:class:`.prototypes.NormalSounds`); None
            for a network with classes of its own.
        optimise: what the generated C aims at; None for the default.
        weights_in_ram: bytes of RAM that it may take for weights; None for none.
        updatable: whether its constants are parts that an update exchanges; None: they are not.
    """

    arena: Arena
    calibration: Calibration
    dataset: DatasetFacts
    labels: tuple[str, ...]
    licence: str
    model: NetworkFacts
    operators: tuple[str, ...]
    quantization: Quantization
    trained_model_sha256: str
    versions: dict[str, str]
    git_commit: str
    code: GeneratedCode | None = None
    push_columns: int | None = None
    importance: ImportanceFacts | None = None
    engine: Engine
    format: int = FORMAT
    frontend: FrontendConfig
    detector: DetectorConfig
    tested_samples: int | None = None
    warp: WarpConfig | None = None
    enrolment_slots: int | None = None
    normal_prototypes: tuple[str, ...] | None = None
    optimise: GoalName | None = None
    weights_in_ram: int | None = None
    updatable: bool | None = None

    @property
    def detected(self) -> tuple[str, ...]:
        """Classes of the detector: the network's, or its prototypes'."""
        if self.normal_prototypes:
            return (UNUSUAL,)
        return slot_labels(self.enrolment_slots) if self.enrolment_slots else self.labels

    @property
    def frames(self) -> int:
        """Frames that the network sees at once."""
        return self.model.input_shape[1]

    def to_dict(self) -> dict[str, object]:
        """Plain values, as ``manifest.json`` has them."""
        values = {
            **dataclasses.asdict(self),
            "detector": self.detector.to_dict(),
            "frontend": self.frontend.to_dict(),
        }
        return {key: to_plain(value) for key, value in values.items() if value is not None}

    @classmethod
    def from_dict(cls, values: Any) -> Manifest:
        """From what :meth:`to_dict` gave.

        Raises:
            ConfigError, ModelError: a key is unknown, missing or of the wrong kind; the message
                names it.
        """
        return from_plain(cls, values, "manifest")


def read_manifest(path: Path) -> Manifest:
    """Read ``manifest.json``.

    Raises:
        DataError: it is missing or half-written.
        ModelError: it is not a manifest, or one of a format that this release does not read; the
            message names the file and the key or format.
    """
    values = read_json(path)
    number = values.get("format", 1) if isinstance(values, dict) else FORMAT
    if isinstance(number, int) and number != FORMAT:  # its unknown keys are not reported
        advice = "install a newer m3net_tf, or export again with this one"
        raise ModelError(
            f"{path}: the export has format {number}, and m3net_tf {__version__} reads format "
            f"{FORMAT}: {advice if number > FORMAT else 'export again'}"
        )
    try:
        return Manifest.from_dict(values)
    except (M3NetError, TypeError) as error:
        raise ModelError(
            f"{path} is not the manifest of an export ({error}): export again"
        ) from None
