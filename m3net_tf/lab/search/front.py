# SPDX-License-Identifier: Apache-2.0
"""The front of accuracy against costs, and the trainings that are stopped early for it."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

REDUCTION = 3
"""At each rung about one of so many networks goes on; a rung has so many times the epochs of the
one before."""
ALIKE = 0.1
"""Costs count as equal at a rung up to this share."""


@dataclasses.dataclass(frozen=True)
class Point:
    """A network.

    Attributes:
        accuracy: on validation, as a share.
        costs: its costs, always in the same order.
    """

    accuracy: float
    costs: tuple[float, ...]

    def dominates(self, other: Point, alike: float = 0.0) -> bool:
        """Whether it is as good and as cheap as another one, and better in something.

        Args:
            alike: share by which its costs may be higher; then it must be more accurate.
        """
        pairs = list(zip(self.costs, other.costs, strict=True))
        if self.accuracy < other.accuracy or any(a > b * (1 + alike) for a, b in pairs):
            return False
        return self.accuracy > other.accuracy or (not alike and any(a < b for a, b in pairs))


def front_of(points: Sequence[Point]) -> list[int]:
    """Indices of the points that no other one dominates."""
    return [
        index
        for index, point in enumerate(points)
        if not any(other.dominates(point) for other in points)
    ]


def rungs_of(epochs: int) -> tuple[int, ...]:
    """Epochs after which a training may be stopped, the first one last."""
    rungs = {math.ceil(epochs / REDUCTION), math.ceil(epochs / REDUCTION**2)}
    return tuple(sorted((rung for rung in rungs if rung < epochs), reverse=True))


def goes_on(point: Point, others: Sequence[Point]) -> bool:
    """Whether a training goes on after a rung: asynchronous successive halving of a front.

    Trainings are ranked by how many trainings dominate them at about the same costs. The best third
    goes on, and all that have the same number as one of it.
    """
    reached = [point, *others]
    ranks = [sum(rival.dominates(member, ALIKE) for rival in reached) for member in reached]
    better = sum(rank < ranks[0] for rank in ranks)
    return better < math.ceil(len(reached) / REDUCTION)
