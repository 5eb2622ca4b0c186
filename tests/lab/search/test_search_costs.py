# SPDX-License-Identifier: Apache-2.0
"""The linear model of costs, the limits, the front, and the rungs."""

import numpy as np
import pytest

from m3net_tf.lab.search.costs import COSTS, SPARE, CostLimits, fit_costs
from m3net_tf.lab.search.front import Point, front_of, goes_on, rungs_of


def linear_costs(work):
    cost = 5 * work["macs"] + 300 * work["elements"] + 20_000
    return {
        "instructions": cost,
        "arena_bytes": work["elements"],
        "flash_bytes": 4e4 + work["macs"],
    }


@pytest.fixture(scope="module")
def works():
    rng = np.random.default_rng(0)
    return [
        {"macs": int(rng.integers(10**5, 10**6)), "elements": int(rng.integers(10**3, 10**4))}
        for _ in range(3 + SPARE)
    ]


def test_the_model_finds_linear_costs(works):
    model = fit_costs(works, [linear_costs(work) for work in works])
    work = {"macs": 555_555, "elements": 4444}
    assert model.predict(work) == pytest.approx(linear_costs(work), rel=1e-6)
    limit = linear_costs(work)["instructions"]
    assert not model.rejects(work, CostLimits(int(0.95 * limit)))  # within the margin
    assert model.rejects(work, CostLimits(int(0.8 * limit)))
    assert not model.rejects({**work, "LSTM": 1}, CostLimits(1))  # of a kind never measured


def test_few_measurements_give_no_model(works):
    assert fit_costs(works[:-1], [linear_costs(work) for work in works[:-1]]) is None


def test_errors_of_the_fit_widen_the_margin(works):
    costs = [linear_costs(work) for work in works]
    costs[0]["instructions"] *= 2
    assert fit_costs(works, costs).margin > 0.2


def test_only_given_limits_count():
    costs = dict(zip(COSTS, (3e6, 20e3, 1e5), strict=True))
    assert CostLimits().excess(costs) == {}
    assert CostLimits(2_000_000, 40_000).excess(costs) == {"instructions": 0.5, "arena_bytes": -0.5}


def test_the_front_has_no_dominated_point():
    points = [Point(0.9, (5, 5)), Point(0.9, (4, 5)), Point(0.8, (1, 9)), Point(0.7, (1, 9))]
    assert front_of(points) == [1, 2]
    assert front_of([points[0], points[0]]) == [0, 1]  # equal ones stay together
    assert front_of([]) == []


def test_rungs_are_thirds_of_the_epochs():
    assert rungs_of(60) == (20, 7)
    assert rungs_of(2) == (1,)
    assert rungs_of(1) == ()


def test_a_cheap_network_is_not_stopped_by_an_expensive_one():
    expensive = Point(0.9, (100.0,))
    cheap = Point(0.6, (10.0,))
    bad = Point(0.5, (95.0,))
    assert goes_on(cheap, [expensive, bad])
    assert not goes_on(bad, [expensive, cheap])
    assert goes_on(bad, [])


def test_costs_alike_count_as_equal_at_a_rung():
    better = Point(0.9, (105.0,))
    worse = Point(0.6, (100.0,))
    assert not better.dominates(worse) and better.dominates(worse, 0.1)
    assert not goes_on(worse, [better])
    assert goes_on(worse, [Point(0.9, (120.0,))])
