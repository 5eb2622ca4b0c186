# SPDX-License-Identifier: Apache-2.0
"""A bench without compilers, sources and emulators, on which tests build and run firmware."""

import re
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from m3net_tf.boards.builds import build as builds
from m3net_tf.boards.builds import toolchain
from m3net_tf.boards.builds.boards import Board, Machine
from m3net_tf.boards.builds.image import FirmwareImage
from m3net_tf.boards.builds.sources import Source
from m3net_tf.boards.emulation import starting
from m3net_tf.boards.emulation.qemu import EmulationResult
from m3net_tf.boards.measure import cost
from m3net_tf.compiler.engines import COMPILED
from m3net_tf.system.progress import Log

LIBRARY = Path("a_cache/core-key/library.a")
ANSWER = EmulationResult(
    labels=np.zeros(1, np.int64),
    outputs=np.zeros((1, 2), np.int8),
    features=None,
    frontend_instructions=np.zeros(1, np.int64),
    clip_model_instructions=np.zeros(1, np.int64),
    frontend_instructions_per_frame=40_000,
    model_instructions=2_000_000,
    arena_used_bytes=19_990,
    arena_size_bytes=20_000,
    stack_used_bytes=1_300,
    frontend_bytes=7_900,
)
"""What an emulator answers to one clip, of which tests replace what they read."""


class Build(NamedTuple):
    """A firmware that a compiler was to build.

    Attributes:
        arena_bytes: the compiled engine's own arena; with TensorFlow Lite Micro the one that was
            asked for, or None for the export's.
    """

    board: str
    folder: Path
    arena_bytes: int | None
    engine: str
    settings: list[str]


class Bench:
    """Stand-ins for the last steps of building and running; all steps before them are real.

    Args:
        build: makes the image of a build, or raises as a compiler.
        run: the emulator's answer of a build to clips: int8 features or int16 samples.

    Attributes:
        built: what was built, in this order.
        unreachable: name of a source that cannot be fetched.
    """

    def __init__(
        self,
        build: Callable[[Build], FirmwareImage],
        run: Callable[[Build, np.ndarray], EmulationResult],
        patch: pytest.MonkeyPatch,
    ) -> None:
        self.built: list[Build] = []
        self.unreachable = ""
        self._build = build
        self._run = run
        which = shutil.which
        patch.setattr(shutil, "which", lambda tool: tool if "qemu" in tool else which(tool))
        patch.setattr(toolchain, "missing_packages", lambda *_: [])
        patch.setattr(builds, "build_library", self._library)
        patch.setattr(builds, "fetch_sources", lambda *_, **__: {"tflite-micro": Path()})
        patch.setattr(builds, "schema_flags", lambda *_: "")
        patch.setattr(builds, "fetch_package", self._package)
        patch.setattr(builds, "why_sources_unavailable", self._why_unavailable)
        patch.setattr(builds, "why_package_unavailable", lambda *_: "")
        patch.setattr(builds, "make_firmware", self._made)
        patch.setattr(starting, "library_path", lambda _: LIBRARY)
        patch.setattr(cost, "emulator_version", lambda machine: machine.emulator)
        for caller in (starting, cost):
            patch.setattr(caller, "run_job", self._answer)

    def _library(self, core: str, _cache: Path | None, report: Log | None) -> Path:
        if report:
            report(f"compiling the library for {core}")
        return LIBRARY

    def _package(self, _package: object, _cache: Path | None, report: Log | None) -> Path:
        if report:
            report("fetching CMSIS-DSP")
        return Path("cmsis-dsp")

    def _why_unavailable(self, sources: Sequence[Source]) -> str:
        missing = [source.name for source in sources if source.name == self.unreachable]
        return f"{missing[0]} is unreachable" if missing else ""

    def _made(
        self,
        board: Board,
        _bundle_dir: Path,
        folder: Path,
        _app_dir: Path | None,
        engine: Sequence[str],
        _folders: dict[str, Path],
        settings: Sequence[str],
    ) -> FirmwareImage:
        options = dict(option.removeprefix("-D").split("=", 1) for option in engine)
        chosen = options["M3NET_ENGINE"]
        arena = options.get("M3NET_ARENA_BYTES", "")
        if chosen == COMPILED:
            header = (folder / "generated" / "model.h").read_text()
            arena = re.findall(r"#define M3NET_MODEL_ARENA_BYTES (\d+)", header)[0]
        size = int(arena) if arena else None
        self.built.append(Build(board.name, folder, size, chosen, list(settings)))
        return self._build(self.built[-1])

    def _answer(
        self, elf: Path, _machine: Machine, clips: np.ndarray, **_: object
    ) -> EmulationResult:
        del elf  # always the last one that was built
        return self._run(self.built[-1], clips)
