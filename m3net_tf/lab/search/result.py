# SPDX-License-Identifier: Apache-2.0
"""The result of a search: the front as a table, JSON, CSV and plot, and one recipe of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

import yaml

from m3net_tf.audio.datasets.tables import Table
from m3net_tf.lab.search.costs import COSTS, CostLimits, costs_of
from m3net_tf.lab.search.front import front_of
from m3net_tf.lab.search.space import choices_text
from m3net_tf.lab.search.trials import SETTINGS, STATES, Trial, TrialFolder
from m3net_tf.pages.plotting import Drawing, new_figure
from m3net_tf.system.artifacts import read_json, write_text
from m3net_tf.system.conversion import from_plain
from m3net_tf.system.errors import ConfigError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_SCALES = {"instructions": (1e6, "instructions (millions)")}
_BYTES = 1e3
_COLUMNS = ("trial", "state", "front", "accuracy", *COSTS, "epochs", "choices", "recipe_sha256")


def front_trials(trials: Sequence[Trial], limits: CostLimits) -> list[Trial]:
    """The finished trials within the limits that no other one dominates, the cheapest first."""
    finished = [
        trial
        for trial in trials
        if trial.state == "finished"
        and trial.cost
        and all(share <= 0 for share in limits.excess(costs_of(trial.cost)).values())
    ]
    points = [trial.point for trial in finished]
    chosen = [finished[i] for i in front_of([point for point in points if point is not None])]
    return sorted(chosen, key=lambda trial: [_costs(trial), trial.number])


class _Settings(TypedDict):
    """What is read of the settings of a search."""

    limits: dict[str, Any]
    board: str


def write_result(folder: Path, trials: Sequence[Trial]) -> dict[str, object]:
    """Write ``front.json``, ``front.csv`` and ``front.png``.

    Returns:
        The content of ``front.json``.

    Raises:
        DataError: the settings of the search are missing.
    """
    settings = read_json(folder / SETTINGS, _Settings)
    limits = from_plain(CostLimits, settings["limits"], "limits")
    front = front_trials(trials, limits)
    numbers = [trial.number for trial in front]
    listed = [_facts(trial, trial.number in numbers) for trial in trials]
    facts = {
        "settings": settings,
        "front": numbers,
        "states": {state: sum(trial.state == state for trial in trials) for state in STATES},
        "seconds": round(sum(trial.seconds for trial in trials), 1),
        "trials": listed,
    }
    measured = [trial for trial in trials if trial.point is not None]
    shown = {trial.number for trial in measured}
    rows = [[row[name] for name in _COLUMNS] for row in listed if row["trial"] in shown]
    figure = _draw(measured, front, limits, settings["board"])
    Drawing(figure, _COLUMNS, rows, facts).save(folder / "front")
    result: dict[str, object] = read_json(folder / "front.json")
    return result


def front_table(result: Mapping[str, Any]) -> Table:
    """The front, and the recipe that the search started from, of ``front.json``."""
    shown = [row for row in result["trials"] if row["trial"] in result["front"]]
    base = [row for row in result["trials"] if row["trial"] == 0 and row["accuracy"] is not None]
    if base and base[0] not in shown:
        shown.append(base[0])
    shown.sort(key=lambda row: row["instructions"])
    rows = tuple(
        (
            str(row["trial"]),
            f"{100 * row['accuracy']:.2f}",
            f"{row['instructions']:,}",
            f"{row['arena_bytes']:,}",
            f"{row['flash_bytes']:,}",
            ", ".join(filter(None, (_title(row), row["choices"]))),
        )
        for row in shown
    )
    return Table(("trial", "valid. %", "instructions", "arena", "flash", "choices"), rows)


def _title(row: Mapping[str, object]) -> str:
    if row["trial"]:
        return ""
    return "first recipe" if row["front"] else "first recipe (not on the front)"


def write_pick(folder: Path, number: int, path: Path | None = None) -> Path:
    """Write the recipe of a finished trial as a file for ``m3net train``.

    Args:
        path: the file; default: ``pick_<number>.yaml`` in the folder.

    Raises:
        ConfigError: there is no such trial, or it is not finished.
        DataError: a trial's file is damaged.
    """
    trials = {trial.number: trial for trial in TrialFolder(folder).read()}
    finished = [str(key) for key, trial in trials.items() if trial.state == "finished"]
    if str(number) not in finished:
        raise ConfigError(
            f"{folder} has no finished trial {number}: choose from {', '.join(finished) or 'none'}"
        )
    trial = trials[number]
    assert trial.accuracy is not None and trial.cost is not None  # as it is finished
    lines = [
        f"# Trial {number} of m3net lab search: "
        f"{choices_text(trial.choices) or 'its first recipe'}.",
        f"# Validation {100 * trial.accuracy:.2f} %; on {trial.cost['board']} "
        f"{trial.cost['instructions']:,} instructions, arena {trial.cost['arena_bytes']:,} bytes, "
        f"flash {trial.cost['flash_bytes']:,} bytes.",
        f"# recipe {trial.recipe_sha256}",
        yaml.safe_dump(trial.trained_recipe().to_dict(), sort_keys=False),
    ]
    path = path or folder / f"pick_{number}.yaml"
    write_text(path, "\n".join(lines))
    return path


def _facts(trial: Trial, on_front: bool) -> dict[str, object]:
    """A trial as plain values."""
    cost: dict[str, object] = {**trial.cost} if trial.cost else {}
    return {
        "trial": trial.number,
        "state": trial.state,
        "front": on_front,
        "accuracy": trial.accuracy,
        **{name: cost.get(name) for name in COSTS},
        "predicted": trial.predicted,
        "epochs": len(trial.scores),
        "seconds": trial.seconds,
        "choices": choices_text(trial.choices),
        "recipe": trial.recipe,
        "recipe_sha256": trial.recipe_sha256,
        "error": trial.error,
        **trial.made_with,
    }


def _costs(trial: Trial) -> tuple[float, ...]:
    point = trial.point
    return point.costs if point else ()


def _draw(
    trials: Sequence[Trial], front: Sequence[Trial], limits: CostLimits, board: str
) -> Figure:
    """Accuracy against each cost: the front, other finished trials, stopped ones, the limit."""
    figure = new_figure(11, 3.6)
    kinds = {
        "stopped": ([t for t in trials if t.state == "stopped"], "x", "0.6"),
        "finished": ([t for t in trials if t.state == "finished" and t not in front], "o", "0.6"),
        "front": (front, "o", "tab:blue"),
        "first recipe": ([t for t in trials if t.number == 0], "*", "tab:orange"),
    }
    for axes, name in zip(figure.subplots(1, len(COSTS), sharey=True), COSTS, strict=True):
        unit, label = _SCALES.get(name, (_BYTES, f"{name.removesuffix('_bytes')} (kB)"))
        for kind, (shown, marker, colour) in kinds.items():
            across = [costs_of(t.cost)[name] / unit for t in shown if t.cost]
            up = [100 * (t.accuracy or 0) for t in shown]
            axes.scatter(across, up, marker=marker, color=colour, label=kind)
        for trial in front:
            if trial.cost:
                place = costs_of(trial.cost)[name] / unit, 100 * (trial.accuracy or 0)
                axes.annotate(
                    str(trial.number), place, (3, 3), textcoords="offset points", fontsize=8
                )
        if limit := getattr(limits, name):
            axes.axvline(limit / unit, color="tab:red", linewidth=0.8)
        axes.set(xlabel=label)
        axes.grid(alpha=0.3)
    figure.axes[0].set(ylabel="validation accuracy (%)")
    figure.axes[0].legend(fontsize=8)
    figure.suptitle(board)
    return figure
