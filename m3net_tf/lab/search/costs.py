# SPDX-License-Identifier: Apache-2.0
"""Costs of a network on a board, their limits, and a linear model that predicts them."""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from m3net_tf.boards.measure.cost import BoardCost

COSTS = ("instructions", "arena_bytes", "flash_bytes")
"""Figures of a :class:`~m3net_tf.boards.measure.cost.BoardCost` that a search minimises."""
Costs = Mapping[str, float]
"""A figure for each of :data:`COSTS`, in their order."""
SPARE = 4
"""Networks, in addition to one for each quantity, after which the linear model is used."""
LEAST_MARGIN = 0.1
"""Least share by which a prediction must exceed a limit to reject a network."""


def costs_of(figures: BoardCost) -> Costs:
    """The costs that a search minimises."""
    return {
        "instructions": float(figures["instructions"]),
        "arena_bytes": float(figures["arena_bytes"]),
        "flash_bytes": float(figures["flash_bytes"]),
    }


@dataclasses.dataclass(frozen=True)
class CostLimits:
    """Largest costs; None sets no limit."""

    instructions: int | None = None
    arena_bytes: int | None = None
    flash_bytes: int | None = None

    def excess(self, costs: Costs) -> dict[str, float]:
        """Share by which each limited cost exceeds its limit; negative below it."""
        limits = {name: getattr(self, name) for name in COSTS}
        return {name: costs[name] / limit - 1 for name, limit in limits.items() if limit}


@dataclasses.dataclass(frozen=True)
class CostModel:
    """Costs as linear functions of the quantities of a network, fitted to measured ones.

    Attributes:
        quantities: names of the quantities, as :func:`m3net_tf.networks.models.complexity.work_of`
            gives.
        weights: cost of each quantity and a constant, shape (quantities + 1, costs).
        margin: share by which a prediction may be wrong.
    """

    quantities: tuple[str, ...]
    weights: npt.NDArray[np.float64]
    margin: float

    def predict(self, work: Mapping[str, int]) -> dict[str, float]:
        """Costs of a network with these quantities, at least 0."""
        row = _row(self.quantities, work) @ self.weights
        return {name: max(0.0, float(value)) for name, value in zip(COSTS, row, strict=True)}

    def rejects(self, work: Mapping[str, int], limits: CostLimits) -> bool:
        """Whether a network exceeds a limit clearly, so that it need not be measured.

        One with more layers of a kind than any measured network is never rejected.
        """
        if any(value and name not in self.quantities for name, value in work.items()):
            return False
        excess = limits.excess(self.predict(work))
        return any(share > self.margin for share in excess.values())


def fit_costs(works: Sequence[Mapping[str, int]], costs: Sequence[Costs]) -> CostModel | None:
    """Fit the linear model by least squares of the relative errors.

    Returns:
        The model; None if too few networks have been measured.
    """
    names = tuple(sorted({name for work in works for name in work}))
    if len(works) < len(names) + 1 + SPARE:
        return None
    rows = np.stack([_row(names, work) for work in works])
    values = np.array([[cost[name] for name in COSTS] for cost in costs], float)
    scale = np.maximum(np.abs(rows).max(axis=0), 1)
    weights = np.stack(
        [
            np.linalg.lstsq(rows / scale / column[:, None], np.ones(len(rows)), rcond=1e-6)[0]
            / scale
            for column in values.T
        ],
        axis=1,
    )
    error = float(np.abs(rows @ weights / values - 1).max())
    return CostModel(names, weights, max(LEAST_MARGIN, 2 * error))


def _row(names: Sequence[str], work: Mapping[str, int]) -> npt.NDArray[np.float64]:
    return np.array([*(work.get(name, 0) for name in names), 1], float)
