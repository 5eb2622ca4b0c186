# SPDX-License-Identifier: Apache-2.0
"""Every emulated board with every network and engine: equality of the output bytes, and costs."""

import dataclasses
import itertools
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from rich.table import Table

from m3net_tf.audio.datasets.selection import spread_clips
from m3net_tf.boards.builds.boards import load_board, machines
from m3net_tf.boards.builds.build import ARENA_SLACK_BYTES, build_firmware
from m3net_tf.boards.emulation.starting import compiled_firmware, firmware_folder, why_no_emulation
from m3net_tf.boards.measure.baselines import Place
from m3net_tf.boards.measure.comparison import compare_features
from m3net_tf.boards.measure.cost import BoardCost, measure
from m3net_tf.compiler.engines import COMPILED, ENGINES, Engine
from m3net_tf.export import Bundle, export_run
from m3net_tf.export.c_files import tflm_arena
from m3net_tf.export.reference import Reference, reference_of
from m3net_tf.system.artifacts import provenance, write_json
from m3net_tf.system.checkout import require_sources
from m3net_tf.system.errors import ConfigError, FirmwareError
from m3net_tf.system.processes import ends_groups
from m3net_tf.system.progress import Log, silent, track, with_lines_to
from m3net_tf.training import load_recipe, train
from m3net_tf.training.run import Run

CLIPS = 4


@dataclasses.dataclass(frozen=True)
class MatrixCell:
    """One board with one network and one engine.

    Attributes:
        cost: what it costs on the board; TensorFlow Lite Micro's arena has room to spare.
        label: class of the first clip on the board.
        label_of_desktop: its class on the desktop.
        frontend_largest_lsb: largest difference of a feature from Python's.
        frontend_equal: share of features that are Python's.
    """

    network: str
    engine: Engine
    cost: BoardCost
    bytes_equal: bool
    label: str
    label_of_desktop: str
    frontend_largest_lsb: int
    frontend_equal: float

    @property
    def place(self) -> Place:
        """Key of the cell's accepted cost."""
        return Place(self.cost["board"], self.engine, self.network)

    def to_dict(self) -> dict[str, object]:
        """Plain values for JSON: the keys of the cost beside the cell's own."""
        values = dataclasses.asdict(self)
        return {**values.pop("cost"), **values}


def run_matrix(
    folder: Path,
    *,
    recipes: Path | None = None,
    boards: Sequence[str] = (),
    engines: Sequence[Engine] = ENGINES,
    if_possible: bool = False,
    data_dir: Path | None = None,
    jobs: int = 2,
    log: Log = silent,
) -> list[MatrixCell]:
    """Train, export, build and emulate; finished steps are skipped.

    Args:
        folder: folder for runs, builds and ``matrix.json``.
        recipes: folder of the networks' recipes, ``experiments/matrix`` by default; a recipe's
            file name is the network's name.
        engines: some of :data:`m3net_tf.compiler.engines.ENGINES`; all by default. A board runs
            the engines that its architecture has.
        if_possible: leave out what cannot be built or emulated here, and log why.
        jobs: number of boards that are built and emulated in parallel.

    Returns:
        The cells, by board, network and engine; ``matrix.json`` has them and the provenance. They
        are empty, and no network is trained, if nothing is possible.

    Raises:
        ConfigError: there is no recipe.
        FirmwareError: an unknown board, or a board cannot be built or emulated here.
        M3NetError: a stage failed.
    """
    boards = boards or [machine.board for machine in machines()]
    pairs = _pairs(boards, engines, if_possible, log)
    if not pairs:
        return []
    recipes = recipes or require_sources("experiments") / "matrix"
    plans = sorted(recipes.glob("*.yaml"))
    if not plans:
        raise ConfigError(f"{recipes} has no recipe: name a folder of recipes")
    references = {
        plan.stem: make_reference(plan, folder / plan.stem, data_dir, log) for plan in plans
    }

    def cell(board: str, network: str, engine: Engine) -> MatrixCell:
        build = firmware_folder(folder / network, board, engine)
        done = _cell(board, network, engine, references[network], build)
        same = "same bytes" if done.bytes_equal else "OTHER BYTES"
        log(f"{board}, {network}, {engine}: {same}")
        task.advance()
        return done

    every = itertools.product(dict(pairs), references, engines)
    places = [place for place in every if (place[0], place[2]) in pairs]
    with (
        track(log, "emulation", len(places), "builds") as task,
        ThreadPoolExecutor(jobs) as pool,
        ends_groups(),  # the pool waits for its threads, and they for the builds
    ):
        cells = list(pool.map(lambda place: cell(*place), places))
    values = [cell.to_dict() for cell in cells]
    write_json(folder / "matrix.json", {"cells": values, **provenance()})
    return cells


def _pairs(
    boards: Sequence[str], engines: Sequence[Engine], if_possible: bool, log: Log
) -> list[tuple[str, Engine]]:
    """Boards with the engines that they run here."""
    every = list(itertools.product(boards, engines))
    had = [pair for pair in every if pair[1] in load_board(pair[0]).architecture.engines]
    pairs = []
    for board, engine in had or every:
        reason = why_no_emulation(board, engine)
        line = f"{board} cannot be emulated with --engine {engine}: {reason}"
        if reason and not if_possible:
            raise FirmwareError(line)
        if reason:
            log(f"not emulated here: {line}")
        else:
            pairs.append((board, engine))
    return pairs


def make_reference(
    plan: Path, folder: Path, data_dir: Path | None, log: Log
) -> tuple[Bundle, Reference]:
    """Train and export the network of a recipe, and run its clips on this computer."""
    log(f"{plan.stem}: training and export")
    train(load_recipe(plan), folder, data_dir, with_lines_to(silent, log))
    run = Run(folder)
    bundle = export_run(run, data_dir)
    dataset = run.dataset(data_dir)
    return bundle, reference_of(bundle, dataset, spread_clips(dataset, CLIPS))


def _cell(
    board: str,
    network: str,
    engine: Engine,
    exported: tuple[Bundle, Reference],
    folder: Path,
) -> MatrixCell:
    bundle, reference = exported
    if engine == COMPILED:
        image = compiled_firmware(bundle, board, folder)
    else:
        arena = tflm_arena(bundle.network).bytes + ARENA_SLACK_BYTES
        image = build_firmware(bundle.folder, board, folder, arena)
    measured = measure(bundle, image, reference)
    on_board = measured.from_features
    features = compare_features(measured, reference)
    return MatrixCell(
        network=network,
        engine=engine,
        cost=measured.cost,
        bytes_equal=bool(np.array_equal(on_board.outputs, reference.scores)),
        label=bundle.labels[int(on_board.labels[0])],
        label_of_desktop=bundle.labels[int(reference.scores[0].argmax())],
        frontend_largest_lsb=features["largest_lsb"],
        frontend_equal=features["equal_share"],
    )


def matrix_table(cells: Sequence[MatrixCell]) -> Table:
    """The matrix for the terminal."""
    names = ("board", "network", "engine", "same bytes", "instructions", "arena", "stack", "flash")
    table = Table(*names, "front end, per frame", "equal features", "label")
    for cell in cells:
        cost = cell.cost
        sizes = (cost["arena_used_bytes"], cost["stack_bytes"], cost["flash_bytes"])
        table.add_row(
            cost["board"],
            cell.network,
            cell.engine,
            "yes" if cell.bytes_equal else "NO",
            *(f"{figure:,}" for figure in (cost["instructions"], *sizes)),
            f"{cost['frontend_instructions']:,}",
            f"{100 * cell.frontend_equal:.2f} %",
            cell.label,
        )
    return table
