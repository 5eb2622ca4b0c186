# SPDX-License-Identifier: Apache-2.0
"""``certificate.json`` of an export, with types."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NotRequired, TypedDict

from m3net_tf.system.artifacts import Provenance


class NetworkId(TypedDict):
    """Name of a network, and SHA-256 of its ``.tflite``."""

    name: str
    sha256: str


class ClipsFacts(TypedDict):
    """The compared clips: their number, a description of their origin, SHA-256 of their samples."""

    count: int
    source: str
    sha256: str


class ArenaFacts(TypedDict):
    """Size of the tensor arena, and how it was found."""

    bytes: int
    source: str


class OutputFigures(TypedDict):
    """Output bytes that differ from the desktop's.

    Attributes:
        bytes: number of compared bytes.
        different_in_tflm_on_the_host: different in TFLite Micro; None if it is missing.
        different_in_compiled_on_the_host: different in the compiled engine; None if this machine
            has no C compiler, or if the engine does not support the network.
        different_on_the_board: different on the emulated board; None without an emulator.
    """

    bytes: int
    different_in_tflm_on_the_host: int | None
    different_in_compiled_on_the_host: int | None
    different_on_the_board: int | None


class AllowedDifference(TypedDict):
    """Smallest share of features within 1 LSB of Python's, and largest difference in LSB."""

    within_1_lsb_share: float
    largest_lsb: int


class FeatureFigures(TypedDict):
    """The board's features compared with Python's.

    Attributes:
        values: number of compared values.
        equal_share: share of equal values.
        within_1_lsb_share: share of values that differ by at most 1 LSB.
        largest_lsb: largest difference in LSB.
        allowed: bounds of these figures.
        arithmetic: arithmetic of the board's front end, in words.
        different_from_python_in_whole_numbers: values that differ from Python's front end in
            integer arithmetic; only for a board that uses it.
    """

    values: int
    equal_share: float
    within_1_lsb_share: float
    largest_lsb: int
    allowed: AllowedDifference
    arithmetic: str
    different_from_python_in_whole_numbers: NotRequired[int]


class BoardFigures(TypedDict):
    """The emulated board: its name, emulator, firmware and cost by name."""

    name: str
    emulator: str
    firmware_sha256: str
    cost: Mapping[str, Any]


class Comparison(Provenance):
    """The keys of :class:`Certificate` without the verdict."""

    format: int
    scope: str
    network: NetworkId
    frontend: Mapping[str, Any]
    frontend_sha256: str
    clips: ClipsFacts
    engine: str
    arena: ArenaFacts
    outputs: OutputFigures
    features: FeatureFigures | None
    labels_equal_share: float | None
    missing: NotRequired[str]
    board: NotRequired[BoardFigures]


class Certificate(Comparison):
    """Content of ``certificate.json``.

    Attributes:
        format: version of the keys.
        scope: ``emulated board`` or ``host only``.
        network: the network.
        frontend: settings of the front end.
        frontend_sha256: their fingerprint.
        clips: the compared clips.
        engine: one of :data:`m3net_tf.compiler.engines.ENGINES`, which runs the network on the
            board.
        arena: the tensor arena.
        outputs: comparison of the network's outputs.
        features: comparison of the features; None if the board computed none.
        labels_equal_share: share of the clips whose label from sound is the desktop's; None
            as ``features``.
        missing: why the board cannot be emulated.
        board: the board; absent if it cannot be emulated.
        drift: figures out of bounds, in words.
        holds: whether there is no drift.
    """

    drift: list[str]
    holds: bool
