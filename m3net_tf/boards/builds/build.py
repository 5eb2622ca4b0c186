# SPDX-License-Identifier: Apache-2.0
"""Build a firmware image from an export with CMake, Ninja and the GNU toolchain of the board.

With the compiled engine the network is C: no interpreter, no C++, few third-party sources.
"""

import dataclasses
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypedDict, Unpack

from m3net_tf.boards.builds.boards import Board, board_sources, load_board
from m3net_tf.boards.builds.cmake import make_firmware
from m3net_tf.boards.builds.generated import write_generated
from m3net_tf.boards.builds.image import FirmwareImage
from m3net_tf.boards.builds.library import build_library, schema_flags
from m3net_tf.boards.builds.sources import (
    MissingError,
    Source,
    UnreachableError,
    fetch_package,
    fetch_sources,
    read_package,
    why_package_unavailable,
    why_sources_unavailable,
)
from m3net_tf.boards.builds.toolchain import check_tools
from m3net_tf.compiler.engines import COMPILED, TFLM, Engine
from m3net_tf.export.c_files import CModel, compile_model, network_files
from m3net_tf.export.model_image import slot_bytes, structure_header, structure_of
from m3net_tf.system.artifacts import update_text
from m3net_tf.system.errors import FirmwareError
from m3net_tf.system.locks import writes_into
from m3net_tf.system.progress import Log

#: Added to the arena for a measurement: the host does not count the kernels' scratch memory.
ARENA_SLACK_BYTES = 64 * 1024
MLPERF_MODES = ("performance", "energy")

_DSP = "cmsisdsp"


class BuildOptions(TypedDict, total=False):
    """Options of a build.

    Attributes:
        app_dir: folder of the application; default: ``firmware/app``.
        settings: ``NAME=VALUE``, as ``board.toml`` and ``cmake/eembc.cmake`` define them.
        emulated: the emulator of the board must be installed, too.
        cache: cache folder; :func:`m3net_tf.system.artifacts.cache_folder` by default.
        report: called with a line for each slow step.
    """

    app_dir: Path | None
    settings: Sequence[str]
    emulated: bool
    cache: Path | None
    report: Log | None


@writes_into("build_dir", makes=True)
def build_firmware(
    bundle_dir: Path,
    board: str,
    build_dir: Path,
    arena_bytes: int | None = None,
    **options: Unpack[BuildOptions],
) -> FirmwareImage:
    """Build the firmware of one exported model for one board with TensorFlow Lite Micro.

    Args:
        build_dir: folder for CMake's files; reused if it has the same settings.
        arena_bytes: size of the tensor arena; by default the export's.

    Raises:
        InUseError: another process builds in ``build_dir``.
        ConfigError: a key of the board's ``board.toml`` is unknown, missing or of a wrong type.
        MissingError: a tool is not installed, or a source is unreachable.
        FirmwareError: unknown board or setting, or code that fails to compile or to fit.
    """
    settings = _checked_settings(options)
    facts = load_board(board)
    check_tools(facts, TFLM, emulated=options.get("emulated", False))
    cache = options.get("cache")
    report = options.get("report")
    try:
        library = build_library(facts.core, cache, report)
        folders = fetch_sources(board_sources(facts), cache=cache, report=report)
    except UnreachableError as error:
        raise MissingError(f"{error}{_other_engine_hint(facts)}") from None
    generated = write_generated(facts, build_dir)
    engine = [
        f"-DM3NET_ENGINE={TFLM}",
        f"-DM3NET_LIBRARY={library}",
        f"-DM3NET_ARENA_BYTES={'' if arena_bytes is None else arena_bytes}",
        f"-DCMAKE_CXX_FLAGS={schema_flags(folders['tflite-micro'], generated)}",
    ]
    app_dir = options.get("app_dir")
    return make_firmware(facts, bundle_dir, build_dir, app_dir, engine, folders, settings)


@writes_into("build_dir", makes=True)
def build_compiled(
    bundle_dir: Path,
    model: CModel,
    board: str,
    build_dir: Path,
    code: Mapping[str, str] | None = None,
    **options: Unpack[BuildOptions],
) -> FirmwareImage:
    """Build the firmware of one exported model for one board with the compiled engine.

    Without CMSIS-DSP the front end computes in whole numbers.

    Args:
        code: the network's C, as of :meth:`m3net_tf.export.Bundle.code`; None: compile the model.

    Raises:
        ModelError: the compiler does not support an operator of the network.
        InUseError, ConfigError, MissingError, FirmwareError: as :func:`build_firmware`. CMSIS-DSP
            is missing only if the board's microphone needs it.
    """
    settings = _checked_settings(options)
    facts = load_board(board)
    check_tools(facts, COMPILED, emulated=options.get("emulated", False))
    files = dict(code or network_files(model, compile_model(model)))
    if model.updatable:
        files["model_structure.h"] = structure_header(structure_of(bundle_dir, files))
        facts = facts.with_slots(slot_bytes(files, model.labels, facts.weights))
    cache = options.get("cache")
    report = options.get("report")
    dsp = None
    dsp_missing = ""
    if facts.needs_dsp:
        try:
            dsp = fetch_package(read_package(_DSP), cache, report)
        except UnreachableError as error:
            if facts.pdm:
                raise
            dsp_missing = str(error)
            if report:
                report(f"{error}; the front end computes in whole numbers instead")
    engine = [
        f"-DM3NET_ENGINE={COMPILED}",
        f"-DM3NET_SRC_CMSISDSP={dsp or ''}",
        f"-DM3NET_FIXED_FRONTEND={'ON' if dsp_missing else 'OFF'}",
    ]
    sources = _vendor_sources(facts) if facts.third_party else []
    folders = fetch_sources(sources, cache=cache, report=report) if sources else {}
    generated = write_generated(facts, build_dir)
    for name, text in files.items():
        update_text(generated / name, text)
    app_dir = options.get("app_dir")
    try:
        image = make_firmware(facts, bundle_dir, build_dir, app_dir, engine, folders, settings)
    except FirmwareError as error:
        if remedy := _remedy(error, model, board, files):
            raise FirmwareError(f"{remedy} ({error})") from None
        raise
    return dataclasses.replace(image, dsp_missing=dsp_missing)


def _remedy(error: FirmwareError, model: CModel, board: str, files: Mapping[str, str]) -> str:
    """What makes a network fit that the compiler made too large for a board; '' if nothing."""
    if "`RAM' overflowed" in str(error) and model.weights_in_ram:
        return (
            f"{model.weights_in_ram} bytes of weights do not fit into the RAM of {board}: export "
            "again with a smaller --weights-in-ram"
        )
    if "`FLASH' overflowed" in str(error) and any("_winograd(" in text for text in files.values()):
        return (
            f"the weights for Winograd's convolutions do not fit into the flash of {board}: export "
            "again with --optimise flash"
        )
    if "`FLASH' overflowed" in str(error) and model.updatable:
        return (
            f"the firmware and two slots for its models do not fit into the flash of {board}: "
            "export again without --updatable"
        )
    return ""


def _checked_settings(options: BuildOptions) -> Sequence[str]:
    settings = options.get("settings", ())
    for setting in settings:
        if not re.fullmatch(r"\w+=.*", setting):
            raise FirmwareError(f"{setting!r} is not a setting: give NAME=VALUE")
    return settings


def why_unreachable(board: Board, engine: Engine) -> str:
    """The reason why the sources of a board's firmware cannot be had; '' if they can."""
    if engine != COMPILED:
        reason = why_sources_unavailable(board_sources(board))
        return f"{reason}{_other_engine_hint(board)}" if reason else ""
    # The front end of a board without a PDM microphone can do without CMSIS-DSP.
    if board.pdm and (reason := why_package_unavailable(read_package(_DSP))):
        return reason
    if not board.third_party:
        return ""
    return why_sources_unavailable(_vendor_sources(board))


def mlperf_settings(mode: str, model_id: str | None) -> list[str]:
    """Settings of a build for the MLPerf Tiny benchmark; empty for the defaults.

    Args:
        model_id: the benchmark's id of the model; its runner selects a data set by it.

    Raises:
        FirmwareError: there is no such mode.
    """
    if mode not in MLPERF_MODES:
        raise FirmwareError(
            f"MLPerf Tiny has no mode {mode!r}: choose one of {', '.join(MLPERF_MODES)}"
        )
    settings = [] if mode == MLPERF_MODES[0] else [f"M3NET_EEMBC_MODE={mode}"]
    return settings + ([f"M3NET_EEMBC_MODEL_ID={model_id}"] if model_id is not None else [])


def _vendor_sources(board: Board) -> list[Source]:
    """Checkouts that a board needs: its vendor's headers, and CMSIS-Core, which they include."""
    names = {*board.third_party, "cmsis-6"}
    return [source for source in board_sources(board) if source.name in names]


def _other_engine_hint(board: Board) -> str:
    """What to do without the sources of TensorFlow Lite Micro, as the end of an error.

    It is empty for boards whose vendor's headers are such sources, too.
    """
    if board.third_party:
        return ""
    return "; or use --engine compiled, which needs none of these sources"
