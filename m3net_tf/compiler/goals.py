# SPDX-License-Identifier: Apache-2.0
"""What the compiler aims at: ``m3net compile --optimise`` and ``m3net export --optimise``."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Literal

GoalName = Literal["cycles", "flash", "ram"]
DEFAULT_GOAL: GoalName = "cycles"


@dataclasses.dataclass(frozen=True)
class Goal:
    """What decides between forms of layers.

    Attributes:
        least_saved: part of the arena that the stripes of a network must save.
        most_added: instructions that a stripe may add, as a share of its calls' on whole tensors.
        is_small: whether each layer has the form with the least flash, else the one with the
            fewest cycles for which the arena has room.
        ram_bytes: RAM that constants of convolutions may take, where flash makes the core wait.
        winograd_bytes: flash that the weights of :mod:`.winograd` may take more than others.
        most_grown: part of the arena by which it may grow, so that pixels share weights, and for
            :mod:`.winograd`.
        apart: whether constants are parts that can be exchanged (:mod:`.parts`), so that no layer
            may lose channels for its weights.
    """

    least_saved: float = 0.1
    most_added: float = 0.03
    is_small: bool = False
    ram_bytes: int = 0
    winograd_bytes: int = 256 << 10
    most_grown: float = 0.05
    apart: bool = False


GOALS: Mapping[GoalName, Goal] = {
    "cycles": Goal(),
    "flash": Goal(least_saved=1, is_small=True, winograd_bytes=0),
    "ram": Goal(least_saved=0, most_added=math.inf, most_grown=0),
}
"""By default stripes take hardly any cycles. With ``flash`` there are none, as each has code of its
own; with ``ram`` as many as make the arena smaller.
"""
CYCLES = GOALS[DEFAULT_GOAL]


def goal_of(name: GoalName, ram_bytes: int, *, apart: bool = False) -> Goal:
    """A goal by its name, with RAM for weights."""
    return dataclasses.replace(GOALS[name], ram_bytes=ram_bytes, apart=apart)
