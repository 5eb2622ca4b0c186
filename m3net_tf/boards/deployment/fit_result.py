# SPDX-License-Identifier: Apache-2.0
"""The resources that an export needs on boards, with types; ``fit.json`` has the same values."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from m3net_tf.boards.deployment.cost import BoardCost
from m3net_tf.boards.deployment.real_time import Pace
from m3net_tf.export.manifest import Arena

if TYPE_CHECKING:
    from m3net_tf.boards.deployment.fit import BoardFacts


@dataclasses.dataclass(frozen=True)
class Room:
    """The largest sizes that a board has memory for.

    Attributes:
        arena_bytes: an arena, in place of the export's.
        network_bytes: a network, in place of the export's.
    """

    arena_bytes: int
    network_bytes: int


@dataclasses.dataclass(frozen=True)
class Figures:
    """Figures of a board on which the export was measured.

    Attributes:
        measured_on: emulated board with the same core.
        cost: sizes of the board's own firmware; the rest as on ``measured_on``.
        pace: time for a second of sound.
        fits: whether the firmware fits into the board's memories.
        room: the largest arena and network that would.
        preset: the largest preset that the board has room for; None if it has for none.
    """

    measured_on: str
    cost: BoardCost
    pace: Pace
    fits: bool
    room: Room
    preset: str | None


@dataclasses.dataclass(frozen=True)
class FitRow:
    """An export on one board.

    Attributes:
        facts: the board.
        network_bytes: all ``.tflite`` files of the export.
        arena_estimate_bytes: arena without a board: exact with the compiled engine, estimated on
            this computer with TFLite Micro; None if that is missing.
        figures: None if nothing can be built or emulated.
        missing: then, why.
    """

    facts: BoardFacts
    network_bytes: int
    arena_estimate_bytes: int | None
    figures: Figures | None
    missing: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON: all keys side by side, None for figures that are missing."""
        values = dataclasses.asdict(self)
        figures = values.pop("figures") or {
            field.name: None for field in dataclasses.fields(Figures)
        }
        pace = figures.pop("pace") or {field.name: None for field in dataclasses.fields(Pace)}
        missing = values.pop("missing")
        return {
            **values.pop("facts"),
            **values,
            **figures,
            **pace,
            **({"missing": missing} if missing else {}),
        }


@dataclasses.dataclass(frozen=True)
class FitResult:
    """An export on boards.

    Attributes:
        run: name of the run's folder.
        network: network and preset.
        model_sha256: of the network that classifies.
        engine: one of :data:`m3net_tf.compiler.engines.ENGINES`.
        arena: that of the export, or of this engine if it is not the export's.
        frames_per_s: frames of the front end for a second of sound.
        runs_per_s: runs of the network for a second of sound, with the gate open.
        boards: a row for each board.
        made_with: versions and commit.
    """

    run: str
    network: str
    model_sha256: str
    engine: str
    arena: Arena
    frames_per_s: float
    runs_per_s: float
    boards: tuple[FitRow, ...]
    made_with: Mapping[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "run": self.run,
            "network": self.network,
            "model_sha256": self.model_sha256,
            "engine": self.engine,
            "arena": dataclasses.asdict(self.arena),
            "sound": {"frames_per_s": self.frames_per_s, "runs_per_s": self.runs_per_s},
            "boards": [row.to_dict() for row in self.boards],
            **self.made_with,
        }
