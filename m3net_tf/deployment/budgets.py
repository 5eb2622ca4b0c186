# SPDX-License-Identifier: Apache-2.0
"""Accepted costs of each network on each board, in a file that is only changed on request."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.table import Table

from m3net_tf.artifacts import read_json, write_json
from m3net_tf.checkout import find_sources
from m3net_tf.deployment.matrix import COSTS
from m3net_tf.errors import ConfigError

BUDGETS = find_sources("firmware") / "budgets.json"
ALLOWANCE = 0.01
"""Share by which a figure may exceed its accepted cost: compilers differ by a few bytes."""

Change = tuple[str, str, str, int | None, int | None]


def compare(result: dict[str, Any], path: Path = BUDGETS) -> list[Change]:
    """Figures that differ from the accepted costs.

    Args:
        result: result of :func:`m3net_tf.deployment.matrix.run_matrix`.
        path: file of the accepted costs.

    Returns:
        Rows of board, network, cost, accepted figure and present figure. The former is None if the
        file lacks it, the latter None if a network was not measured on a board that was run.

    Raises:
        ConfigError: the file is missing or invalid.
    """
    budgets = _read(path)
    changes: list[Change] = []
    measured = {(cell["board"], cell["network"]): cell for cell in result["cells"]}
    boards = {board for board, _ in measured}
    budgeted = {(b, n) for b, networks in budgets.items() if b in boards for n in networks}
    for board, network in sorted(budgeted | set(measured)):
        cell = measured.get((board, network), {})
        budget = budgets.get(board, {}).get(network, {})
        changes += [
            (board, network, cost, budget.get(cost), cell.get(cost))
            for cost in COSTS
            if budget.get(cost) != cell.get(cost)
        ]
    return changes


def exceeded(changes: list[Change]) -> list[Change]:
    """Changes that fail: above the allowance, without an accepted figure, or not measured."""
    return [
        change
        for change in changes
        if change[3] is None or change[4] is None or change[4] > change[3] * (1 + ALLOWANCE)
    ]


def update(result: dict[str, Any], path: Path = BUDGETS, *, keep: bool = False) -> None:
    """Accept the figures of a matrix as the costs of its boards; other boards are unchanged.

    Args:
        result: result of :func:`m3net_tf.deployment.matrix.run_matrix`.
        path: file of the accepted costs.
        keep: keep the figures of networks that were not measured on these boards.

    Raises:
        ConfigError: the file exists and is invalid.
    """
    budgets = _read(path) if path.exists() else {}
    for board in {cell["board"] for cell in result["cells"]}:
        budgets[board] = (budgets.get(board, {}) if keep else {}) | {
            cell["network"]: {cost: cell[cost] for cost in COSTS if cost in cell}
            for cell in result["cells"]
            if cell["board"] == board
        }
    write_json(path, budgets)


def changes_table(changes: list[Change]) -> Table:
    """Changes for the terminal, with the failing ones marked."""
    table = Table("board", "network", "cost", "budget", "now", "change")
    failing = set(exceeded(changes))
    for change in changes:
        *names, budget, now = change
        share = ""
        if budget and now is not None:
            share = f"{100 * (now - budget) / budget:+.2f} %"
        figures = ["none" if figure is None else f"{figure:,}" for figure in (budget, now)]
        table.add_row(*names, *figures, share, style="red" if change in failing else None)
    return table


def _read(path: Path) -> dict[str, dict[str, dict[str, int]]]:
    if not path.exists():
        raise ConfigError(f"{path} is missing: make it with m3net matrix --update-budgets")
    budgets = read_json(path)
    try:
        return {
            board: {network: dict(costs) for network, costs in networks.items()}
            for board, networks in budgets.items()
        }
    except (AttributeError, TypeError, ValueError):
        raise ConfigError(
            f"{path} is no file of budgets: restore it, or delete it and make it with "
            "m3net matrix --update-budgets"
        ) from None
