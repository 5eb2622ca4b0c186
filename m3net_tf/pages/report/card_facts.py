# SPDX-License-Identifier: Apache-2.0
"""The facts of a model card, with types: ``card.json``."""

from __future__ import annotations

from typing import NotRequired, TypedDict

from m3net_tf.system.artifacts import Provenance


class About(TypedDict):
    """What only the author of a network can say: the keys of ``about.yaml``.

    Attributes:
        intended_use: sentences on its use.
        limits: sentences on what it cannot do, and on what is not known.
        licence: sentences on the licences of network and sounds.
    """

    summary: str
    intended_use: list[str]
    limits: list[str]
    licence: list[str]


class ClassFigures(TypedDict):
    """A class: test clips, and shares of them and of the answers, with 95 % intervals.

    A share is None if it has no clips or no answers.
    """

    label: str
    clips: int
    recall: float | None
    recall_95: tuple[float, float]
    precision: float | None
    precision_95: tuple[float, float]


class DataFacts(TypedDict):
    """The sounds that a network was trained and tested on."""

    name: str
    licence: str
    citation: str
    url: str
    protocol: str
    statement: str
    notes: list[str]
    subset: str | None
    subset_sha256: str | None


class Accuracy(TypedDict):
    """Share of the test clips that are recognised, with 95 % intervals.

    ``int8`` is the exported network, with the bytes that a device computes.
    """

    clips: int
    float: float
    float_95: tuple[float, float]
    int8: float
    int8_95: tuple[float, float]


class FoldedAccuracy(TypedDict):
    """Share of all clips that float networks recognise which were trained without the clip's fold.

    The 95 % interval counts the clips of a group as dependent.
    """

    clips: int
    groups: int
    folds: int
    accuracy: float
    accuracy_95: tuple[float, float]


class BoardCosts(TypedDict):
    """Costs of a network on a board.

    Attributes:
        measured_on: emulated board with the same core.
        instructions: executed in one run of the network.
        arena_bytes: working memory of the network.
        ram_bytes: whole firmware, the stack included.
        cpu_share: share of the clock that live detection takes.
        fits: whether the firmware fits into the board's memories.
    """

    board: str
    measured_on: str
    instructions: int
    arena_bytes: int
    flash_bytes: int
    ram_bytes: int
    cpu_share: float
    fits: bool


class Network(TypedDict):
    """A network: its name and preset, and the shape (bins, frames, channels) of its input."""

    name: str
    preset: str
    input_shape: tuple[int, int, int]


class Training(TypedDict):
    """How a network was trained."""

    seed: int
    epochs: int
    best_epoch: int
    seconds: float


class Card(Provenance):
    """Content of ``card.json``.

    Attributes:
        macs: multiplications of one run.
        engine: engine that the costs on boards were measured with.
        cross_validation: of the run, if it has one.
        classes: by class, of the float network.
        files: SHA-256 of each file, by name.
    """

    format: int
    name: str
    network: Network
    parameters: int
    macs: int
    engine: str
    about: About
    data: DataFacts
    training: Training
    accuracy: Accuracy
    cross_validation: NotRequired[FoldedAccuracy]
    classes: list[ClassFigures]
    boards: list[BoardCosts]
    files: dict[str, str]
