# SPDX-License-Identifier: Apache-2.0
"""The next candidate, by Optuna's tree-structured Parzen estimator for several objectives.

Optuna keeps nothing: its study is made from the trials' files each time, with a seed of the search
and the trial's number. So a search that was killed proposes what it would have proposed.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from m3net_tf.lab.search.costs import COSTS, CostLimits, costs_of
from m3net_tf.lab.search.trials import TRAINED, Trial

FIRST_AT_RANDOM = 8
"""Trained trials before the model is used."""
_ATTEMPTS = 100


def propose(
    options: Mapping[str, Sequence[str]],
    trials: Sequence[Trial],
    tried: Sequence[Mapping[str, str]],
    limits: CostLimits,
    seed: int,
    number: int,
) -> dict[str, str] | None:
    """Choices of the next trial.

    Args:
        options: option -> names of its values.
        tried: choices that must not be proposed again.

    Returns:
        Option -> name of its value; None if none was found that has not been tried.
    """
    if sum(map(bool, tried)) >= math.prod(map(len, options.values())):
        return None
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    own_seed = int(np.random.SeedSequence([seed, number]).generate_state(1)[0])
    sampler = optuna.samplers.TPESampler(seed=own_seed, n_startup_trials=FIRST_AT_RANDOM)
    directions: list[Any] = ["maximize", *["minimize"] * len(COSTS)]
    study = optuna.create_study(directions=directions, sampler=sampler)
    values = {
        name: optuna.distributions.CategoricalDistribution(list(names))
        for name, names in options.items()
    }
    study.add_trials(list(_former(optuna, trials, limits, values)))
    for _ in range(_ATTEMPTS):
        parameters = study.ask({**values}).params
        choices = {name: str(parameters[name]) for name in options}
        if choices not in tried:
            return choices
    return None


def _former(
    optuna: Any, trials: Sequence[Trial], limits: CostLimits, values: Mapping[str, object]
) -> Iterator[Any]:
    """The trials in Optuna's terms; a stopped one counts with its accuracy so far."""
    states = optuna.trial.TrialState
    for trial in trials:
        if not trial.choices or trial.state == "invalid":
            continue
        costs = costs_of(trial.cost) if trial.cost else trial.predicted
        arguments: dict[str, object] = {
            "params": dict(trial.choices),
            "distributions": values,
            "constraints": limits.excess(costs) if costs else {},
        }
        point = trial.point
        if trial.state in TRAINED and point is not None:
            yield optuna.trial.create_trial(
                state=states.COMPLETE, values=[point.accuracy, *point.costs], **arguments
            )
        else:
            in_work = trial.state == "training"
            state = states.RUNNING if in_work else states.PRUNED
            yield optuna.trial.create_trial(state=state, **arguments)
