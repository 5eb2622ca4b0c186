# SPDX-License-Identifier: Apache-2.0
"""Reading an export folder, for builds, boards and reports; needs no TensorFlow."""

from __future__ import annotations

import dataclasses
import tempfile
from pathlib import Path
from typing import Literal, NotRequired, TypedDict

import numpy as np

from m3net_tf.audio.frontend import FrontendConfig, column_count, write_c_tables
from m3net_tf.compiler.engines import COMPILED, Engine
from m3net_tf.compiler.folder import NetworkFacts
from m3net_tf.compiler.goals import DEFAULT_GOAL, GoalName
from m3net_tf.export.c_files import (
    REPORT,
    CModel,
    compile_model,
    compiled_files,
    engine_arena,
    exported_files,
    kernels_sha256,
    network_files,
    remove_compiled,
    write_compiled,
)
from m3net_tf.export.manifest import Arena, Manifest, read_manifest
from m3net_tf.export.pushes import push_columns
from m3net_tf.runtime.detector_config import DetectorConfig, write_c_header
from m3net_tf.runtime.interpreter import Int8, activation_bits, run_reference
from m3net_tf.runtime.metadata import attach_metadata, network_of
from m3net_tf.runtime.network import Int8Network
from m3net_tf.runtime.prototypes import NormalSounds, Prototypes, read_background
from m3net_tf.system.artifacts import read_json, sha256_of, write_bytes, write_json
from m3net_tf.system.errors import ModelError
from m3net_tf.system.progress import Log, silent


class VectorFacts(TypedDict):
    """Form of a file of test vectors; exports of release 0.1.0 have no hash."""

    dtype: Literal["<i2", "int8"]
    shape: list[int]
    sha256: NotRequired[str]


VECTOR_FILES = ("pcm_int16.bin", "features_int8.bin", "outputs_int8.bin")
"""Sounds with the expected features and scores, in the folder ``vectors``."""
VectorIndex = TypedDict("VectorIndex", dict.fromkeys(VECTOR_FILES, VectorFacts))  # type: ignore[misc]
"""What is read of ``vectors.json``."""
_FILES = (
    "model.tflite",
    "model.h",
    "model.cc",
    "frontend_config.h",
    "frontend_tables.c",
    "detector_config.h",
    "labels.txt",
    "vectors/vectors.json",
    *(f"vectors/{name}" for name in VECTOR_FILES),
)
_WARP_FILES = ("importance.tflite", "warp_config.h", "warp_tables.c")  # where there is DiffRes


@dataclasses.dataclass
class Bundle:
    """An export folder that was read back.

    Attributes:
        manifest: contents of ``manifest.json``; a change is written there.
    """

    folder: Path
    manifest: Manifest

    @classmethod
    def load(cls, folder: Path) -> Bundle:
        """Read an export folder and check that it is complete.

        Raises:
            ModelError: it is not an export, its manifest lacks a key or has a value of the
                wrong kind, or its network is not the manifest's.
            DataError: its manifest is damaged.
        """
        path = folder / "manifest.json"
        if not path.exists():
            raise ModelError(
                f"{folder} is not an export (no manifest.json): run m3net export first"
            )
        manifest = read_manifest(path)
        files = _FILES + (_WARP_FILES if manifest.warp else ())
        if manifest.engine == COMPILED:
            streams = manifest.push_columns is not None
            files += compiled_files(warp=manifest.warp is not None, streams=streams)
        if missing := [name for name in files if not (folder / name).is_file()]:
            raise ModelError(f"{folder} lacks {', '.join(missing)}: export again")
        hashes = {"model.tflite": manifest.model.sha256}
        if manifest.importance:
            hashes["importance.tflite"] = manifest.importance.sha256
        for name, sha256 in hashes.items():
            if sha256_of(network_of((folder / name).read_bytes())) != sha256:
                raise ModelError(
                    f"{folder / name} is not the network of manifest.json: export again"
                )
        return cls(folder, manifest)

    @property
    def tflite(self) -> bytes:
        """The network without its metadata; with DiffRes, the classifying network."""
        return network_of((self.folder / "model.tflite").read_bytes())

    def prototypes(self) -> Prototypes:
        """Places for words that are enrolled, with thresholds by the export's background.

        Raises:
            ModelError: the export enrols no words, or its background is damaged.
        """
        if not self.manifest.enrolment_slots:
            raise ModelError(f"{self.folder} enrols no words: export it with m3net export --enrol")
        _, zero_point = self.manifest.model.output_quantization
        background = read_background(self.folder, len(self.labels))
        return Prototypes(self.manifest.enrolment_slots, zero_point, background)

    def detector_scores(self, outputs: Int8) -> Int8:
        """Scores of the detector's classes on a board that has just started.

        They are the network's outputs, unless those are compared with prototypes: no sound is
        enrolled yet.
        """
        if rows := self.manifest.normal_prototypes:
            _, zero_point = self.manifest.model.output_quantization
            return NormalSounds.from_rows(rows, zero_point).scores(outputs)
        if slots := self.manifest.enrolment_slots:
            return np.full((len(outputs), slots), -128, np.int8)
        return outputs

    @property
    def network(self) -> Int8Network:
        """Everything that the device runs after the front end."""
        if self.manifest.warp is None:
            return Int8Network(self.tflite)
        importance = (self.folder / "importance.tflite").read_bytes()
        return Int8Network(self.tflite, importance, self.manifest.warp)

    def run_reference(self, features: Int8) -> Int8:
        """Scores of int8 features by TFLite's reference kernels: the bytes that a device gives."""
        return self.network.run(run_reference, features)

    @property
    def labels(self) -> tuple[str, ...]:
        """Class names in the order of the outputs."""
        return self.manifest.labels

    @property
    def frontend(self) -> FrontendConfig:
        """Front-end settings."""
        return self.manifest.frontend

    @property
    def detector(self) -> DetectorConfig:
        """Settings of live detection."""
        return self.manifest.detector

    def set_detector(self, config: DetectorConfig, log: Log = silent) -> None:
        """Change the settings of live detection, in the manifest and in ``detector_config.h``.

        With other columns between runs, the C is written anew where it streams or now can.

        Raises:
            ConfigError: they do not fit the network.
        """
        window_columns = column_count(self.frontend, self.manifest.frames)
        config.check_fits(self.frontend, window_columns, self.manifest.detected)
        before = self.detector
        if config == before:
            return
        self.manifest = dataclasses.replace(self.manifest, detector=config)
        write_c_header(config, self.folder)
        write_tflite(self.network, self.manifest, self.folder)
        write_json(self.folder / "manifest.json", self.manifest.to_dict())
        if config.run_columns != before.run_columns:
            self.set_engine(self.manifest.engine, log)

    @property
    def compiled(self) -> dict[str, NetworkFacts]:
        """The compiler's report of each network, by its name in C; empty with another engine."""
        if self.manifest.engine != COMPILED:
            return {}
        facts: dict[str, NetworkFacts] = read_json(self.folder / REPORT, dict[str, NetworkFacts])
        return facts

    def c_folder(self, log: Log = silent) -> Path:
        """The export's folder, for a build.

        If the tables of front end and detector lack something, as an earlier release's may, they
        are written anew, and a line says so.
        """
        with tempfile.TemporaryDirectory() as scratch:
            headers = (
                write_c_tables(self.frontend, Path(scratch), frames=self.manifest.frames)[0],
                write_c_header(self.detector, Path(scratch)),
            )
            texts = {path.name: path.read_text(encoding="utf-8") for path in headers}
        exported = {name: (self.folder / name).read_text(encoding="utf-8") for name in texts}
        if texts != exported:
            log(f"{self.folder} is of another release: its tables are written anew")
            write_c_tables(self.frontend, self.folder, frames=self.manifest.frames)
            write_c_header(self.detector, self.folder)
        return self.folder

    @property
    def c_model(self) -> CModel:
        """The facts of the network for its C files."""
        return c_model(self.network, self.manifest)

    def code(self, log: Log = silent) -> dict[str, str]:
        """The files of a build with the export's compiled engine: its C as it is, and ``model.h``.

        If the kernels have another interface than at the export, the C is written anew, and a line
        says so.

        Raises:
            ModelError: a file has changed since the export.
        """
        code = self.manifest.code
        if code is not None:
            files = exported_files(self.c_model, code, self.folder)
            if code.kernels_sha256 == kernels_sha256():
                return files
        log(f"{self.folder} is of another release: its C is written anew; export again to keep it")
        return network_files(self.c_model, compile_model(self.c_model))

    def _has_current_code(self) -> bool:
        lines: list[str] = []
        try:
            self.code(lines.append)
        except ModelError:
            return False
        return not lines

    def set_arena(self, arena_bytes: int, source: str) -> None:
        """Record an arena that was measured on a target, in the manifest and in ``model.h``."""
        self._set(dataclasses.replace(self.manifest, arena=Arena(arena_bytes, source)))

    def set_engine(self, engine: Engine, log: Log = silent, stream: bool | None = None) -> None:
        """Change the engine: its arena, ``model.h``, and the files that the engine needs.

        Generated C that has changed since the export, or is of another release, is written again.

        Raises:
            ModelError: the compiler does not support an operator of the network, or live detection
                cannot stream.
        """
        engine_set = dataclasses.replace(self.manifest, engine=engine)
        self._plan(with_pushes(engine_set, self.network, stream), log)

    def set_goal(
        self,
        goal: GoalName,
        weights_in_ram: int = 0,
        log: Log = silent,
        *,
        updatable: bool = False,
    ) -> None:
        """Change what the compiled engine aims at, and write its C again.

        Args:
            weights_in_ram: in bytes.
            updatable: whether :mod:`.model_image` can exchange the network's constants.

        Raises:
            ModelError: the export has another engine, which has no goals; or it cannot be
                updatable.
        """
        changed = dataclasses.replace(
            self.manifest,
            optimise=None if goal == DEFAULT_GOAL else goal,
            weights_in_ram=weights_in_ram or None,
            updatable=updatable or None,
        )
        if updatable:
            require_updatable(changed)
        if (changed.optimise or weights_in_ram) and changed.engine != COMPILED:
            raise ModelError(
                f"the engine {changed.engine} has no goals: leave out --optimise and "
                "--weights-in-ram"
            )
        self._plan(changed, log)

    def _plan(self, changed: Manifest, log: Log) -> None:
        """Write what the engine of a changed manifest needs."""
        engine = changed.engine
        if changed == self.manifest and (engine != COMPILED or self._has_current_code()):
            return
        model = c_model(self.network, changed)
        arena, networks = engine_arena(model, self.network, engine, log)
        code = write_compiled(model, networks, self.folder) if networks else None
        self._set(dataclasses.replace(changed, arena=arena, code=code))
        if not networks:
            remove_compiled(self.folder, warp=self.manifest.warp is not None)

    def _set(self, changed: Manifest) -> None:
        if changed == self.manifest:
            return
        self.manifest = changed
        self.c_model.write(self.folder)
        write_json(self.folder / "manifest.json", self.manifest.to_dict())


def c_model(network: Int8Network, manifest: Manifest) -> CModel:
    """The facts of the network for its C files."""
    model = manifest.model
    bins, frames, channels = model.input_shape
    return CModel(
        name=model.name,
        tflite=network.tflite,
        labels=manifest.labels,
        operators=manifest.operators,
        input_bytes=bins * frames * channels,
        input_quantization=model.input_quantization,
        output_quantization=model.output_quantization,
        arena_bytes=manifest.arena.bytes,
        arena_source=manifest.arena.source,
        activation_bits=activation_bits(network.tflite),
        licence=manifest.licence,
        importance=network.importance,
        push_columns=manifest.push_columns,
        enrolment_slots=manifest.enrolment_slots,
        normal_prototypes=manifest.normal_prototypes or (),
        optimise=manifest.optimise or DEFAULT_GOAL,
        weights_in_ram=manifest.weights_in_ram or 0,
        updatable=manifest.updatable or False,
    )


def require_updatable(manifest: Manifest) -> None:
    """Refuse an export whose network cannot be exchanged without a new firmware.

    Raises:
        ModelError: it is such an export.
    """
    if manifest.engine != COMPILED:
        reason = f"the engine {manifest.engine} reads its network from the firmware"
    elif manifest.enrolment_slots or manifest.normal_prototypes:
        reason = "sounds with prototypes belong to the firmware's network"
    elif manifest.weights_in_ram:
        reason = "--weights-in-ram copies the firmware's weights"
    else:
        return
    raise ModelError(f"the export cannot be updatable, because {reason}: leave out --updatable")


def with_pushes(manifest: Manifest, network: Int8Network, stream: bool | None) -> Manifest:
    """The manifest with the columns that each run pushes, which depend on engine and detector.

    Raises:
        ModelError: live detection cannot stream, but ``stream`` is true.
    """
    columns = None
    if manifest.engine == COMPILED:
        run_columns = manifest.detector.run_columns
        columns = push_columns(network, manifest.frontend, run_columns, stream)
    elif stream:
        raise ModelError(f"the engine {manifest.engine} cannot stream: leave out --stream")
    return dataclasses.replace(manifest, push_columns=columns)


def write_tflite(network: Int8Network, manifest: Manifest, folder: Path) -> None:
    """Write ``model.tflite`` with its metadata, unless the file is up to date."""
    path = folder / "model.tflite"
    data = attach_metadata(network.tflite, manifest.to_dict(), network.importance)
    if not path.exists() or path.read_bytes() != data:
        write_bytes(path, data)
