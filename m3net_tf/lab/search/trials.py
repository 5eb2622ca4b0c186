# SPDX-License-Identifier: Apache-2.0
"""The trials of a search: one JSON file and one run folder for each, written atomically."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

from m3net_tf.boards.measure.cost import BoardCost
from m3net_tf.lab.search.costs import costs_of
from m3net_tf.lab.search.front import Point
from m3net_tf.system.artifacts import read_json, write_json
from m3net_tf.system.conversion import from_plain
from m3net_tf.system.errors import ConfigError, DataError
from m3net_tf.training.recipe import Recipe
from m3net_tf.training.run.history import epoch_scores

SETTINGS = "search.json"
"""File of the settings, in the folder of a search."""
ENDED = ("finished", "stopped")
TRAINED = (*ENDED, "failed")
"""States of trials that were trained; failed ones are tried again by the next call."""
STATES = (*TRAINED, "training", "predicted", "over", "invalid")
"""``training``: its training has not ended; ``predicted`` and ``over``: by the linear model and as
measured it exceeds a limit, so it is not trained; ``invalid``: it cannot be built for the board."""


@dataclasses.dataclass(frozen=True)
class Trial:
    """A candidate and what is known of it.

    Attributes:
        number: number from 0; 0 is the recipe that the search started from.
        choices: option -> name of its chosen value; empty if the recipe is outside the space.
        network_sha256: hash of all that decides the costs.
        work: quantities of the network for the linear model.
        predicted: costs by the linear model; None before that is used.
        accuracy: accuracy of the kept epoch on the validation clips, as a share.
        error: why it is invalid or failed, in one line.
    """

    number: int
    choices: Mapping[str, str]
    state: str
    recipe: Mapping[str, object]
    recipe_sha256: str
    network_sha256: str = ""
    work: Mapping[str, int] | None = None
    predicted: Mapping[str, float] | None = None
    cost: BoardCost | None = None
    accuracy: float | None = None
    scores: Sequence[float] = ()
    seconds: float = 0.0
    error: str = ""
    made_with: Mapping[str, object] = dataclasses.field(default_factory=dict)

    @classmethod
    def new(
        cls,
        number: int,
        choices: Mapping[str, str],
        recipe: Recipe,
        made_with: Mapping[str, object],
    ) -> Trial:
        """A trial of a recipe, about to be measured."""
        values = recipe.to_dict()
        key = recipe.fingerprint()
        return cls(number, choices, "training", values, key, made_with=made_with)

    @property
    def point(self) -> Point | None:
        """Accuracy and costs; None without one of them."""
        if self.accuracy is None or self.cost is None:
            return None
        return Point(self.accuracy, tuple(costs_of(self.cost).values()))

    def trained_recipe(self) -> Recipe:
        """The recipe."""
        return Recipe.from_dict(self.recipe)


@dataclasses.dataclass(frozen=True)
class TrialFolder:
    """The folder of a search."""

    root: Path

    def write(self, trial: Trial) -> Trial:
        """Write a trial; returns it."""
        write_json(self.root / "trials" / f"{trial.number:04}.json", dataclasses.asdict(trial))
        return trial

    def read(self) -> list[Trial]:
        """All trials, by number.

        Raises:
            DataError: a file is damaged.
        """
        trials = []
        for path in sorted((self.root / "trials").glob("[!.]*.json")):
            values = read_json(path)
            try:
                trials.append(from_plain(Trial, values, "trial"))
            except ConfigError as error:
                raise DataError(
                    f"{path} is not a trial of this version ({error}): delete it; the search "
                    "makes it again"
                ) from None
        return trials

    def run(self, number: int) -> Path:
        """Run folder of a trial."""
        return self.root / "runs" / f"{number:04}"

    def scores(self, number: int) -> list[float]:
        """Validation accuracy of each epoch that a trial has trained."""
        return epoch_scores(self.run(number))
