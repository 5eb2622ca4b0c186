# SPDX-License-Identifier: Apache-2.0
"""A search: proposes candidates, measures their costs, trains those within the limits.

Each step writes the trial's file, so a search that was killed continues with the same trials.
"""

import dataclasses
import itertools
import math
import time
from collections import Counter
from pathlib import Path

from m3net_tf.audio.datasets import DatasetInfo, protocol_statement
from m3net_tf.lab.search.costs import CostLimits, costs_of, fit_costs
from m3net_tf.lab.search.front import rungs_of
from m3net_tf.lab.search.halving import Halving
from m3net_tf.lab.search.proposals import propose
from m3net_tf.lab.search.space import Space, choices_text
from m3net_tf.lab.search.trials import ENDED, SETTINGS, TRAINED, Trial, TrialFolder
from m3net_tf.system.artifacts import Provenance, provenance, read_json, write_json
from m3net_tf.system.conversion import to_plain
from m3net_tf.system.errors import ConfigError, M3NetError, ModelError, one_line
from m3net_tf.system.locks import writes_into
from m3net_tf.system.progress import Log, silent
from m3net_tf.training.clips.checks import check_training
from m3net_tf.training.clips.source import load_section
from m3net_tf.training.cluster.pools import IN_PROCESS, Lost, Pool, PoolOptions, open_pool
from m3net_tf.training.cluster.worker import Order, Report
from m3net_tf.training.recipe import Recipe

_MOST_REJECTED = 100
"""Candidates in a row that are not trained, after which a search ends."""
_POLL_S = 2.0
_HOUR_S = 3600


@dataclasses.dataclass(frozen=True)
class Settings:
    """All that determines a search with one job."""

    recipe: Recipe
    space: Space
    board: str
    limits: CostLimits
    seed: int = 0

    def to_dict(self) -> dict[str, object]:
        """Plain values."""
        return {
            "recipe": self.recipe.hashed_values(),
            "space": self.space.facts(),
            "board": self.board,
            "limits": dataclasses.asdict(self.limits),
            "seed": self.seed,
        }


@dataclasses.dataclass(frozen=True)
class Budget:
    """When a search ends.

    Attributes:
        trials: candidates that are trained, the first recipe included.
        hours: time after which no trial is started; None sets no limit.
    """

    trials: int
    hours: float | None = None


@writes_into("folder", makes=True)
def run_search(
    settings: Settings,
    folder: Path,
    budget: Budget,
    data_dir: Path | None = None,
    options: PoolOptions = IN_PROCESS,
    log: Log = silent,
) -> list[Trial]:
    """Search, or continue a search; trials that have ended are not repeated.

    Args:
        folder: folder of the search; workers on other computers must see it.

    Raises:
        InUseError: another process searches in the folder.
        ConfigError: the folder has another search, or the recipe does not match its data.
        DataError: the data set is missing or damaged, or Ray or a trial's file cannot be used.
        ModelError: devices do not support the data set, or the first recipe cannot be measured.
    """
    dataset = load_section(settings.recipe.dataset, data_dir)
    check_training(settings.recipe, dataset)
    if dataset.info.multi_label:
        raise ModelError(
            f"{dataset.info.name} has clips with several labels, but devices give only one: "
            "search on a data set with one label per clip"
        )
    if dataset.info.group_guess:
        log(f"{dataset.info.name}: {protocol_statement(dataset)}")
    _keep_settings(settings, folder)
    trials = TrialFolder(folder.resolve())
    end_s = math.inf
    if budget.hours is not None:
        end_s = time.monotonic() + budget.hours * _HOUR_S
    with open_pool(options) as pool:
        _Search(
            settings=settings,
            info=dataset.info,
            folder=trials,
            budget=budget,
            data_dir=data_dir.expanduser().absolute() if data_dir else None,
            options=options,
            pool=pool,
            log=log,
            trials={trial.number: trial for trial in trials.read()},
            made_with=provenance(),
            end_s=end_s,
        ).run()
    return trials.read()


def _keep_settings(settings: Settings, folder: Path) -> None:
    """Write the settings of a new search; refuse the settings of another search."""
    path = folder / SETTINGS
    values = settings.to_dict()
    if not path.exists():
        write_json(path, values)
        return
    former = read_json(path)
    values = to_plain(values)
    differing = [key for key in values if values[key] != former.get(key)]
    if differing:
        raise ConfigError(
            f"{folder} has a search with another {' and '.join(differing)}: name another folder by "
            "--out, or delete it"
        )


@dataclasses.dataclass
class _Search:
    """The trials of one call."""

    settings: Settings
    info: DatasetInfo
    folder: TrialFolder
    budget: Budget
    data_dir: Path | None
    options: PoolOptions
    pool: Pool
    log: Log
    trials: dict[int, Trial]
    made_with: Provenance
    end_s: float = math.inf
    _running: dict[object, Trial] = dataclasses.field(default_factory=dict)
    _losses: Counter[int] = dataclasses.field(default_factory=Counter)
    _failed: set[int] = dataclasses.field(default_factory=set)

    def run(self) -> None:
        """Train until the budget is used up or there are no more candidates."""
        waiting = [
            trial
            for _, trial in sorted(self.trials.items())
            if trial.state in ("training", "failed")
        ]
        while True:
            while self._may_start():
                trial = waiting.pop(0) if waiting else self._next()
                if trial is None:
                    break
                self._start(trial)
            if not self._running:
                return
            for handle, report in self.pool.wait(_POLL_S):
                self._take(self._running.pop(handle), report)

    def _may_start(self) -> bool:
        if time.monotonic() >= self.end_s:
            return False
        counted = {trial.number for trial in self._running.values()} | self._failed
        counted |= {trial.number for trial in self.trials.values() if trial.state in ENDED}
        slots = self.pool.slots()
        return len(counted) < self.budget.trials and len(self._running) < slots

    def _next(self) -> Trial | None:
        """The next candidate that is to be trained; None if none was found."""
        for _ in range(_MOST_REJECTED):
            number = next(n for n in itertools.count() if n not in self.trials)
            choices = self._choices(number)
            if choices is None:
                self.log("no more candidates: the search space is tried out")
                return None
            trial = self._examined(number, choices)
            self.trials[number] = self.folder.write(trial)
            if number == 0 and trial.error:
                raise ModelError(f"the recipe of the search cannot be measured: {trial.error}")
            if trial.state == "training":
                return trial
        self.log(f"the last {_MOST_REJECTED} candidates exceed the limits: raise them")
        return None

    def _choices(self, number: int) -> dict[str, str] | None:
        """Choices of the next trial, {} for a recipe outside the space; None if there is none."""
        space = self.settings.space
        base = self.settings.recipe
        trials = self.trials.values()
        if number == 0:
            return next((dict(c) for c in space.start if self._is_base(space.recipe(base, c))), {})
        tried = [dict(trial.choices) for trial in trials]
        for choices in space.start:
            if dict(choices) not in tried:
                return dict(choices)
        former = [trial for trial in trials if trial.number < number]
        settings = self.settings
        return propose(space.options, former, tried, settings.limits, settings.seed, number)

    def _is_base(self, recipe: Recipe) -> bool:
        """Whether a recipe gives the same network by the same training as the first recipe."""
        from m3net_tf.lab.search.candidates import network_key

        base = self.settings.recipe
        if dataclasses.replace(recipe, model=base.model) != base:
            return False
        return network_key(recipe, self.info) == network_key(base, self.info)

    def _examined(self, number: int, choices: dict[str, str]) -> Trial:
        """A candidate with its costs, which decide whether it is trained."""
        from m3net_tf.lab.search.candidates import candidate, network_key

        base, space, limits = self.settings.recipe, self.settings.space, self.settings.limits
        recipe = base if number == 0 else space.recipe(base, choices)
        trial = Trial.new(number, choices, recipe, self.made_with)
        title = f"trial {number}"
        try:
            key = network_key(recipe, self.info)
            trial = dataclasses.replace(trial, network_sha256=key)
            same = [t for t in self.trials.values() if t.network_sha256 == key and t.cost]
            if same:
                trial = dataclasses.replace(trial, work=same[0].work, cost=same[0].cost)
            else:
                with candidate(recipe, self.info) as network:
                    trial = self._predicted(dataclasses.replace(trial, work=network.work))
                    if trial.state == "predicted":
                        self.log(f"{title}: exceeds the limits by prediction")
                        return trial
                    self.log(f"{title}: measuring {choices_text(choices) or 'the recipe'}")
                    cost = network.measure(self.settings.board)
                    trial = dataclasses.replace(trial, cost=cost)
        except M3NetError as error:
            self.log(f"{title}: {one_line(error)}")
            return dataclasses.replace(trial, state="invalid", error=one_line(error))
        excess = limits.excess(costs_of(trial.cost)) if trial.cost else {}
        if number and any(share > 0 for share in excess.values()):
            names = [name for name, share in excess.items() if share > 0]
            self.log(f"{title}: exceeds the limit of {' and '.join(names)}")
            return dataclasses.replace(trial, state="over")
        return trial

    def _predicted(self, trial: Trial) -> Trial:
        """The trial with costs by the linear model, and rejected if they clearly exceed a limit."""
        measured = {t.network_sha256: t for t in self.trials.values() if t.cost and t.work}
        works = [t.work for t in measured.values() if t.work]
        model = fit_costs(works, [costs_of(t.cost) for t in measured.values() if t.cost])
        if model is None or trial.work is None:
            return trial
        rejected = trial.number > 0 and model.rejects(trial.work, self.settings.limits)
        state = "predicted" if rejected else trial.state
        return dataclasses.replace(trial, predicted=model.predict(trial.work), state=state)

    def _start(self, trial: Trial) -> None:
        recipe = trial.trained_recipe()
        folder = self.folder
        order = Order(
            recipe=recipe,
            folder=folder.run(trial.number),
            data=self.data_dir,
            features=self.options.features,
            witness=None if self.options.in_process else folder.root / SETTINGS,
            after_epoch=Halving(folder.root, trial.number, recipe.training.epochs),
        )
        self._running[self.pool.start(order)] = trial

    def _take(self, trial: Trial, report: Report | Lost) -> None:
        """Take the result of an attempt; a lost one is tried again."""
        if isinstance(report, Lost):
            self._losses[trial.number] += 1
            losses = self._losses[trial.number]
            self.log(f"trial {trial.number}: lost ({report.reason})")
            if losses <= self.options.retries:
                self._start(trial)
                return
            report = Report(f"lost {losses} times, at last by {report.reason}", 0.0)
        trial = self._ended(trial, report)
        self.trials[trial.number] = self.folder.write(trial)
        if trial.state == "failed":
            self._failed.add(trial.number)
        ended = sum(known.state in TRAINED for known in self.trials.values())
        self.log(f"[{ended}/{self.budget.trials}] {_line(trial)}")

    def _ended(self, trial: Trial, report: Report) -> Trial:
        """The trial with the result of its training."""
        scores = self.folder.scores(trial.number)
        training = trial.trained_recipe().training
        seconds = round(report.seconds, 1)
        if report.error or not scores:
            error = report.error or "its history is missing"
            return dataclasses.replace(trial, state="failed", error=error, seconds=seconds)
        early = len(scores) < training.epochs and len(scores) in rungs_of(training.epochs)
        return dataclasses.replace(
            trial,
            state="stopped" if early else "finished",
            accuracy=scores[-1] if training.keep == "last" else max(scores),
            scores=scores,
            seconds=seconds,
            error="",
        )


def _line(trial: Trial) -> str:
    """A trained trial in a line."""
    title = f"trial {trial.number}"
    if trial.state == "failed" or trial.cost is None or trial.accuracy is None:
        return f"{title}: failed: {trial.error}"
    after = f" after epoch {len(trial.scores)}" if trial.state == "stopped" else ""
    return (
        f"{title}: {trial.state}{after}, validation {100 * trial.accuracy:.2f} %, "
        f"{trial.cost['instructions']:,} instructions, arena {trial.cost['arena_bytes']:,}, flash "
        f"{trial.cost['flash_bytes']:,} bytes ({trial.seconds:.0f} s)"
    )
