# SPDX-License-Identifier: Apache-2.0
"""What each network may cost on each board: one file, compared with and changed on purpose."""

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
"""Share by which a figure may exceed its budget: compilers differ in a few bytes."""

Change = tuple[str, str, str, int | None, int | None]


def compare(result: dict[str, Any], path: Path = BUDGETS) -> list[Change]:
    """Figures that differ from their budget.

    Args:
        result: what :func:`m3net_tf.deployment.matrix.run_matrix` returned.
        path: the budgets.

    Returns:
        Rows of board, network, cost, budget and figure; the budget is None where there is none,
        the figure None where a budget has nothing to be compared with on a board that was run.

    Raises:
        ConfigError: the file is missing or not one of budgets.
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
    """Those that must not pass: above the allowance, without a budget, or gone."""
    return [
        change
        for change in changes
        if change[3] is None or change[4] is None or change[4] > change[3] * (1 + ALLOWANCE)
    ]


def update(result: dict[str, Any], path: Path = BUDGETS, *, keep: bool = False) -> None:
    """Make the figures of a matrix the budgets of its boards; those of others stay.

    Args:
        result: what :func:`m3net_tf.deployment.matrix.run_matrix` returned.
        path: the budgets.
        keep: also keep those of networks that were not measured on these boards.

    Raises:
        ConfigError: the file is there and not one of budgets.
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
    """Changes for the terminal, the worst marked."""
    table = Table("board", "network", "cost", "budget", "now", "change")
    failing = set(exceeded(changes))
    for change in changes:
        *names, budget, now = change
        share = ""
        if budget and now is not None:
            share = f"{100 * (now - budget) / budget:+.2f} %"
        told = ["none" if figure is None else f"{figure:,}" for figure in (budget, now)]
        table.add_row(*names, *told, share, style="red" if change in failing else None)
    return table


def _read(path: Path) -> dict[str, dict[str, dict[str, int]]]:
    if not path.exists():
        raise ConfigError(f"{path} is missing: make it by m3net matrix --update-budgets")
    budgets = read_json(path)
    try:
        return {
            board: {network: dict(costs) for network, costs in networks.items()}
            for board, networks in budgets.items()
        }
    except (AttributeError, TypeError, ValueError):
        raise ConfigError(
            f"{path} is no file of budgets: restore it, or delete it and make it by "
            "m3net matrix --update-budgets"
        ) from None
