# SPDX-License-Identifier: Apache-2.0
"""Every emulated board with every network: equality of the output bytes, and costs."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from rich.table import Table

from m3net_tf.artifacts import provenance, write_json
from m3net_tf.checkout import require_sources
from m3net_tf.datasets.selection import spread_clips
from m3net_tf.deployment.chain import feature_parity
from m3net_tf.emulation import find_machine, machines, run_job
from m3net_tf.emulation.starting import why_no_emulation
from m3net_tf.errors import ConfigError, FirmwareError
from m3net_tf.export import Bundle, export_run
from m3net_tf.export.reading import pcm_and_features
from m3net_tf.firmware.build import ARENA_SLACK_BYTES, build_firmware
from m3net_tf.progress import Log, silent
from m3net_tf.training import load_recipe, train
from m3net_tf.training.run import Run

CLIPS = 4
COSTS = (
    *("instructions", "frontend_instructions"),
    *("arena_bytes", "stack_bytes", "flash_bytes", "model_bytes"),
)
"""Figures of a cell that are the same on every computer, and are compared with accepted costs."""


@dataclasses.dataclass(frozen=True)
class Reference:
    """The clips that are run on all boards, and the expected outputs.

    Attributes:
        bundle: the network.
        pcm: int16 samples, shape (clips, samples).
        features: Python's int8 features, shape (clips, bins, frames).
        scores: int8 scores on the desktop, shape (clips, classes).
    """

    bundle: Bundle
    pcm: npt.NDArray[np.int16]
    features: npt.NDArray[np.int8]
    scores: npt.NDArray[np.int8]


def run_matrix(
    folder: Path,
    *,
    recipes: Path | None = None,
    boards: Sequence[str] = (),
    data_dir: Path | None = None,
    jobs: int = 2,
    log: Log = silent,
) -> dict[str, Any]:
    """Train, export, build and emulate; finished steps are skipped.

    Args:
        folder: folder for runs, builds and ``matrix.json``.
        recipes: folder of the networks' recipes, ``experiments/matrix`` by default; a recipe's
            file name is the network's name.
        boards: some of the emulated boards; all by default.
        data_dir: folder of the recipes' data set, if it needs one.
        jobs: number of boards that are built and emulated in parallel.
        log: receives lines of progress.

    Returns:
        ``cells``, a dict of figures for each board and network, and the provenance.

    Raises:
        ConfigError: there is no recipe.
        FirmwareError: an unknown board, or a board cannot be built or emulated here.
        M3NetError: a stage failed.
    """
    boards = boards or emulated_boards()
    if reason := why_no_matrix(boards):
        raise FirmwareError(reason)
    recipes = recipes or require_sources("experiments") / "matrix"
    plans = sorted(recipes.glob("*.yaml"))
    if not plans:
        raise ConfigError(f"{recipes} has no recipe: name a folder of recipes")
    references = {plan.stem: _prepare(plan, folder / plan.stem, data_dir, log) for plan in plans}

    def cell(board: str, network: str) -> dict[str, Any]:
        figures = _cell(board, references[network], folder / network / "firmware" / board)
        log(f"{board}, {network}: {'same bytes' if figures['bytes_equal'] else 'OTHER BYTES'}")
        return {"board": board, "network": network, **figures}

    with ThreadPoolExecutor(jobs) as pool:
        pairs = [(board, network) for board in boards for network in references]
        cells = list(pool.map(lambda pair: cell(*pair), pairs))
    result = {"cells": cells, **provenance()}
    write_json(folder / "matrix.json", result)
    return result


def emulated_boards() -> tuple[str, ...]:
    """Names of the boards that an emulator runs."""
    return tuple(machine.board for machine in machines())


def why_no_matrix(boards: Sequence[str] = ()) -> str:
    """Why the first of these boards that cannot be emulated here cannot; '' if all can.

    Raises:
        FirmwareError: there is no such emulated board.
    """
    for board in boards or emulated_boards():
        if reason := why_no_emulation(board):
            return f"{board} cannot be emulated: {reason}"
    return ""


def _prepare(plan: Path, folder: Path, data_dir: Path | None, log: Log) -> Reference:
    log(f"{plan.stem}: training and export")
    train(load_recipe(plan), folder, data_dir)
    run = Run(folder)
    bundle = export_run(run, data_dir)
    dataset = run.dataset(data_dir)
    clips = spread_clips(dataset, CLIPS)
    pcm, features = pcm_and_features(dataset, clips, bundle.frontend)
    return Reference(bundle, pcm, features[..., 0], bundle.run_reference(features))


def _cell(board: str, reference: Reference, folder: Path) -> dict[str, Any]:
    """Figures of one board with one network."""
    machine, bundle = find_machine(board), reference.bundle
    arena = bundle.manifest["arena"]["bytes"] + ARENA_SLACK_BYTES
    image = build_firmware(bundle.folder, board, folder, arena)
    from_features = run_job(image.elf, machine, reference.features)
    from_pcm = run_job(image.elf, machine, reference.pcm, report_features=True)
    parity = feature_parity(from_pcm, reference.features)
    return {
        "bytes_equal": bool(np.array_equal(from_features.outputs, reference.scores)),
        "label": bundle.labels[int(from_features.labels[0])],
        "label_of_desktop": bundle.labels[int(reference.scores[0].argmax())],
        "instructions": from_features.model_instructions,
        "arena_bytes": from_features.arena_used_bytes,
        "stack_bytes": max(from_features.stack_used_bytes, from_pcm.stack_used_bytes),
        "flash_bytes": image.flash_bytes,
        "model_bytes": bundle.network.size_bytes,
        "frontend_instructions": from_pcm.frontend_instructions_per_frame,
        "frontend_largest_lsb": parity["features_largest_lsb"],
        "frontend_equal": parity["features_equal"],
    }


def matrix_table(result: dict[str, Any]) -> Table:
    """The matrix for the terminal."""
    names = ("board", "network", "same bytes", "instructions", "arena", "stack", "flash")
    table = Table(*names, "front end, per frame", "equal features", "label")
    for cell in result["cells"]:
        table.add_row(
            cell["board"],
            cell["network"],
            "yes" if cell["bytes_equal"] else "NO",
            *(f"{cell[name]:,}" for name in ("instructions", "arena_bytes", "stack_bytes")),
            f"{cell['flash_bytes']:,}",
            f"{cell['frontend_instructions']:,}",
            f"{100 * cell['frontend_equal']:.2f} %",
            cell["label"],
        )
    return table
