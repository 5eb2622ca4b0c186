# SPDX-License-Identifier: Apache-2.0
"""The JSON of a grid's networks on a board, with types."""

from __future__ import annotations

from typing import NotRequired, TypedDict, final

from m3net_tf.boards.deployment.cost import CostFigures
from m3net_tf.lab.studies.machine import Computer
from m3net_tf.quantization.method_accuracy import MethodFigures
from m3net_tf.system.artifacts import Provenance
from m3net_tf.training.metrics import Spread


class DesktopAccuracy(TypedDict):
    """Accuracies of a run on the desktop, kept in its folder.

    Attributes:
        networks: SHA-256 of the exported network's ``.tflite`` files.
        int8: accuracy of the exported network on them, in percent.
        methods: figures by method.
    """

    format: int
    networks: list[str]
    clips: int
    int8: float
    methods: dict[str, MethodFigures]


class MethodFailure(TypedDict):
    """Why a network cannot be converted by a method."""

    error: str


Methods = dict[str, MethodFigures | MethodFailure]


class RunFigures(TypedDict, total=False):
    """Size and accuracies of a run; a run that failed has none of them.

    ``clips`` counts the test clips. ``float``, ``float_validation`` and ``int8`` are accuracies in
    percent, the accuracies of ``methods`` are shares. ``exported_by`` is the method of the exported
    network.
    """

    parameters: int
    macs: int
    model_bytes: int
    exported_by: str
    clips: int
    float_validation: float
    int8: float
    methods: Methods
    float: float


class RunRow(RunFigures):
    """A run of a cell: its place and hashes, its :class:`RunFigures`, or the reason in ``error``.

    ``run`` is its folder, relative to the folder of all runs. ``kept`` is True if the results come
    from the written table.
    """

    seed: int
    fold: int | None
    run: str
    recipe_sha256: str
    design_sha256: str
    error: NotRequired[str]
    kept: NotRequired[bool]


class BoardMissing(TypedDict):
    """Why the board cannot be emulated."""

    missing: str


@final
class BoardFigures(CostFigures):
    """Figures of a network on the board.

    Attributes:
        bytes_equal: whether the outputs have the same bytes as on the desktop.
    """

    bytes_equal: bool
    clips: int


class ModelName(TypedDict):
    """A network's name and preset."""

    name: str
    preset: str


class MeasuredCell(TypedDict):
    """A cell after the measurement of its runs.

    Attributes:
        board: figures of the first successful run on the board; None if all runs failed.
    """

    labels: dict[str, str]
    model: ModelName
    runs: list[RunRow]
    board: BoardFigures | BoardMissing | None


class Means(TypedDict):
    """Means over the finished runs of a cell.

    Accuracies and lost points are in percent. ``methods`` has the keys of :class:`.MethodFigures`
    by method. ``model_bytes`` is the largest.
    """

    int8: Spread
    lost_points: Spread
    float_validation: Spread
    model_bytes: int
    methods: dict[str, dict[str, Spread]]
    float: Spread


class SizeLimitFigures(TypedDict):
    """Limits of a preset in bytes; ``holds`` is None without figures of the board."""

    arena_bytes: int
    model_bytes: int
    holds: bool | None


class CellSummary(TypedDict):
    """Summary of a cell.

    Attributes:
        summary: means over its runs; None if all failed.
        chosen_method: the method with the best validation accuracy; absent if all runs failed.
        chosen_lost_points: percentage points that it loses on the test split.
        size_limit: limits of the preset; None if it has none.
    """

    summary: Means | None
    chosen_method: NotRequired[str | None]
    chosen_lost_points: NotRequired[float | None]
    size_limit: SizeLimitFigures | None


class AgainstReference(TypedDict):
    """A cell compared with the grid's reference: percentage points of int8, and ratios of costs."""

    int8_points: float
    instructions: float
    arena_bytes: float
    flash_bytes: float
    model_bytes: float


class DeployedCell(MeasuredCell, CellSummary):
    """A cell of the report.

    Attributes:
        against_reference: comparison with the reference; None if one of them was not measured.
        dominated_by: labels of the rivals that are better.
    """

    against_reference: AgainstReference | None
    dominated_by: list[str]


class LostPoints(TypedDict):
    """Percentage points that a network loses: the mean over its cells."""

    cells: int
    answers: int
    points: float


class DeploymentReport(Provenance):
    """Content of the JSON.

    Attributes:
        reference: labels of the reference.
        kept: number of runs whose results come from the written table.
        chosen_lost_points: losses of the chosen methods, by network.
    """

    table: str
    title: str
    scale: str
    board: str
    reference: dict[str, str]
    methods: list[str]
    command: str
    kept: int
    failed: int
    machine: Computer
    cells: list[DeployedCell]
    chosen_lost_points: dict[str, LostPoints]
