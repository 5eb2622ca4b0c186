# SPDX-License-Identifier: Apache-2.0
"""Build a firmware whose network is compiled C: no interpreter, no C++, few foreign sources.

The network's C is that of the export, copied into the build's folder; of an export for another
engine it is made there.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Unpack

from m3net_tf.boards.builds.boards import Board, board_sources, load_board
from m3net_tf.boards.builds.build import BuildOptions, check_settings, run_build, write_generated
from m3net_tf.boards.builds.cores import load_core
from m3net_tf.boards.builds.image import FirmwareImage
from m3net_tf.boards.builds.packages import fetch_package, read_package, why_package_unavailable
from m3net_tf.boards.builds.sources import (
    Source,
    UnreachableError,
    fetch_sources,
    read_lock,
    why_sources_unavailable,
)
from m3net_tf.boards.builds.toolchain import TOOLS, check_toolchain
from m3net_tf.compiler.engines import COMPILED
from m3net_tf.export.carray import CModel
from m3net_tf.export.compiled import compile_model, network_files, write_network
from m3net_tf.system.locks import writes_into
from m3net_tf.system.progress import Log

_DSP = "cmsisdsp"


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

    Args:
        bundle_dir: folder that the export wrote.
        model: its networks and their facts.
        board: a name of :func:`.boards.list_boards`.
        build_dir: folder for CMake's files and the network's C.
        code: the network's C, as of :meth:`m3net_tf.export.Bundle.code`; None: compile the model.
        options: see :class:`.build.BuildOptions`.

    Raises:
        ModelError: the compiler does not support an operator of the network.
        InUseError, ConfigError, FirmwareError: as :func:`.build.build_firmware`.
    """
    facts = load_board(board)
    check_settings(options)
    check_toolchain(needed_tools(facts))
    files = code or network_files(model, compile_model(model))
    cache, report = options.get("cache"), options.get("report")
    dsp, dsp_missing = _fetch_dsp(facts, cache, report)
    engine = [f"-DM3NET_ENGINE={COMPILED}", f"-DM3NET_SRC_CMSISDSP={dsp or ''}"]
    engine.append(f"-DM3NET_FIXED_FRONTEND={'ON' if dsp_missing else 'OFF'}")
    sources = _sources(facts)
    folders = fetch_sources(sources, cache=cache, report=report) if sources else {}
    write_network(files, write_generated(facts, build_dir))
    image = run_build(facts, bundle_dir, build_dir, engine, folders, options)
    return dataclasses.replace(image, dsp_missing=dsp_missing)


def _fetch_dsp(board: Board, cache: Path | None, report: Log | None) -> tuple[Path | None, str]:
    """Folder of CMSIS-DSP, or why the front end has to do without it.

    Raises:
        FirmwareError: it is damaged, or unreachable and the board's microphone needs it.
    """
    if not needs_dsp(board):
        return None, ""
    try:
        return fetch_package(read_package(_DSP), cache, report), ""
    except UnreachableError as error:
        if board.pdm:
            raise
        if report:
            report(f"{error}; the front end computes in whole numbers instead")
        return None, str(error)


def needs_dsp(board: Board) -> bool:
    """Whether front end or microphone of a board compute with CMSIS-DSP."""
    return board.pdm or not load_core(board.core).fixed_frontend


def needed_tools(board: Board) -> dict[str, str]:
    """Tools that a build for a board calls, with the package that brings each."""
    unneeded = {"arm-none-eabi-g++"} | (set() if _sources(board) else {"git"})
    return {tool: package for tool, package in TOOLS.items() if tool not in unneeded}


def why_not_compiled(board: str) -> str:
    """The reason why the sources of a board's firmware cannot be had; '' if they can."""
    facts = load_board(board)
    if facts.pdm and (reason := why_package_unavailable(read_package(_DSP))):
        return reason  # the front end of a board without can do without it
    sources = _sources(facts)
    return (why_sources_unavailable(sources) if sources else "") or ""


def _sources(board: Board) -> list[Source]:
    """Checkouts that a board needs: its vendor's headers, and CMSIS-Core, which they include."""
    names = {source.name for source in board_sources(board) if source.boards}
    return [source for source in read_lock() if names and source.name in {*names, "cmsis-6"}]
