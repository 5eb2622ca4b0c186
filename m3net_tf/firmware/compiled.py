# SPDX-License-Identifier: Apache-2.0
"""Build a firmware whose network is compiled C: no interpreter, no C++, few foreign sources.

The network's C is made from the export's ``.tflite`` files at each build, in the build's folder.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from m3net_tf.artifacts import update_text
from m3net_tf.compiler.emit import emit
from m3net_tf.compiler.network import CompiledNetwork, compile_network
from m3net_tf.errors import ModelError
from m3net_tf.export.carray import CModel
from m3net_tf.firmware.boards import Board, board_sources, load_board
from m3net_tf.firmware.build import check_settings, run_build, write_generated
from m3net_tf.firmware.cores import load_core
from m3net_tf.firmware.image import FirmwareImage
from m3net_tf.firmware.packages import fetch_package, read_package, why_package_unavailable
from m3net_tf.firmware.sources import fetch_sources, read_lock
from m3net_tf.firmware.toolchain import TOOLS, check_toolchain
from m3net_tf.locks import writes_into
from m3net_tf.progress import Log

#: The engine that runs the network: TensorFlow Lite Micro, or the network compiled to C.
ENGINES = ("tflm", "compiled")
#: Who measured the arena of a compiled network.
ARENA_SOURCE = "m3net compile"

_DSP = "cmsisdsp"
_HOOK = "m3net_operation_done"
_NAMES = ("m3net_network", "m3net_importance")
"""Start of the C names of the network that classifies, and of DiffRes's that scores frames."""


@writes_into("build_dir", makes=True)
def build_compiled(
    bundle_dir: Path,
    model: CModel,
    board: str,
    build_dir: Path,
    *,
    app_dir: Path | None = None,
    settings: Sequence[str] = (),
    cache: Path | None = None,
    report: Log | None = None,
) -> FirmwareImage:
    """Build the firmware of one exported model for one board with the compiled engine.

    Args:
        bundle_dir: folder that the export wrote.
        model: its networks and their facts.
        board: a name of :func:`.boards.list_boards`.
        build_dir: folder for CMake's files and the network's C.
        app_dir: folder of the application; default: ``firmware/app``.
        settings: ``NAME=VALUE``, as ``board.toml`` and ``cmake/eembc.cmake`` define them.
        cache: cache folder; :func:`m3net_tf.artifacts.cache_folder` by default.
        report: called with a line for each slow step.

    Raises:
        InUseError: another process builds in ``build_dir``.
        ConfigError: a key of the board's ``board.toml`` is unknown, missing or of a wrong type.
        ModelError: the compiler does not support an operator of the network.
        FirmwareError: unknown board or setting, missing tool, unreachable sources, or code that
            fails to compile or to fit.
    """
    facts = load_board(board)
    check_settings(settings)
    check_toolchain(_tools(facts))
    networks = compile_model(model)
    engine = ["-DM3NET_ENGINE=compiled"]
    if needs_dsp(facts):
        engine.append(f"-DM3NET_SRC_CMSISDSP={fetch_package(read_package(_DSP), cache, report)}")
    folders = {}
    if names := _source_names(facts):
        sources = [source for source in read_lock() if source.name in names]
        folders = fetch_sources(sources, cache=cache, report=report)
    write_network(model, networks, write_generated(facts, build_dir))
    return run_build(facts, bundle_dir, build_dir, app_dir, engine, folders, settings)


def compile_model(model: CModel) -> dict[str, CompiledNetwork]:
    """The networks of an export, by the start of their names in C.

    Raises:
        ModelError: the compiler does not support an operator of a network.
    """
    files = dict(zip(_NAMES, filter(None, (model.tflite, model.importance)), strict=False))
    try:
        return {name: compile_network(tflite) for name, tflite in files.items()}
    except ModelError as error:
        raise ModelError(f"{model.name} cannot be compiled ({error}): use --engine tflm") from None


def arena_bytes(networks: dict[str, CompiledNetwork]) -> int:
    """Arena of all networks, which run one after the other in the same memory."""
    return max(network.plan.arena_bytes for network in networks.values())


def write_network(model: CModel, networks: dict[str, CompiledNetwork], folder: Path) -> None:
    """Write the networks' C, the class names, and ``model.h`` with the arena of these networks.

    A file that has its text already stays untouched, so that nothing is compiled again.
    """
    texts: dict[str, str] = {}
    for name, network in networks.items():
        source = emit(network, name, _HOOK)
        texts |= {f"{name}.h": source.header, f"{name}.c": source.source}
    facts = dataclasses.replace(model, arena_bytes=arena_bytes(networks), arena_source=ARENA_SOURCE)
    texts |= {"model.h": facts.header(), "model_labels.c": facts.labels_source()}
    for name, text in texts.items():
        update_text(folder / name, text)


def needs_dsp(board: Board) -> bool:
    """Whether front end or microphone of a board compute with CMSIS-DSP."""
    return board.pdm or not load_core(board.core).fixed_frontend


def why_not_compiled(board: str) -> str:
    """The reason why the sources of a board's firmware cannot be had; '' if they can."""
    if needs_dsp(load_board(board)):
        return why_package_unavailable(read_package(_DSP)) or ""
    return ""


def _source_names(board: Board) -> set[str]:
    """Checkouts that a board needs: its vendor's headers, and CMSIS-Core, which they include."""
    names = {source.name for source in board_sources(board) if source.boards}
    return names | {"cmsis-6"} if names else names


def _tools(board: Board) -> dict[str, str]:
    unneeded = {"arm-none-eabi-g++"} | (set() if _source_names(board) else {"git"})
    return {tool: package for tool, package in TOOLS.items() if tool not in unneeded}
