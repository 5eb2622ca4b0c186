# SPDX-License-Identifier: Apache-2.0
"""Memory planned by Google OR-Tools' CP-SAT, which finds the smallest arena or proves a bound.

It starts from the planner's own placing and runs in one thread, with a fixed seed and a limit on
work instead of time: one version of the solver gives one placing on all machines.
"""

import dataclasses
from typing import Any

from m3net_tf.compiler.calls import Block
from m3net_tf.compiler.plan import ALIGNMENT, Placing, Problem

_MOST_WORK = 60.0  # CP-SAT's deterministic time, which is about seconds


def solve(problem: Problem, start: Placing) -> Placing:
    """The placing of the smallest arena that the solver finds, with the bound that it proved.

    ``start`` is a valid placing, which is the result if the solver finds none better.

    Raises:
        ModuleNotFoundError: OR-Tools is not installed.
    """
    import ortools
    from ortools.sat.python import cp_model

    if start.size <= problem.lower_bound:
        return start
    model = cp_model.CpModel()
    words = start.size // ALIGNMENT
    arena = model.new_int_var(-(-problem.lower_bound // ALIGNMENT), words, "arena")
    model.add_hint(arena, words)
    model.minimize(arena)
    places = _add_blocks(model, problem, start, arena)
    solver = cp_model.CpSolver()
    solver.parameters.num_workers = 1
    solver.parameters.random_seed = 0
    solver.parameters.max_deterministic_time = _MOST_WORK
    status = solver.solve(model)
    version = f"CP-SAT {ortools.__version__}"
    if status not in (cp_model.OPTIMAL, cp_model.FEASIBLE):
        return start
    size = int(solver.value(arena)) * ALIGNMENT
    bound = round(solver.best_objective_bound) * ALIGNMENT
    if size == start.size:
        return dataclasses.replace(start, lower_bound=bound, planner=version)
    solved = {block: int(solver.value(place)) * ALIGNMENT for block, place in places.items()}
    return Placing(solved, size, bound, version)


def _add_blocks(model: Any, problem: Problem, start: Placing, arena: Any) -> dict[Block, Any]:
    """Add an offset, in words, for each block, and the constraints of its conflicts."""
    places: dict[Block, Any] = {}
    conflicts = problem.conflicts()
    for life in problem.lives:
        last = (start.size - life.size) // ALIGNMENT
        place = model.new_int_var(0, last, f"place {len(places)}")
        model.add_hint(place, start.places[life.block] // ALIGNMENT)
        model.add(place + life.size // ALIGNMENT <= arena)
        for conflict in conflicts[life.block]:
            if conflict.other not in places:
                continue
            lower = model.new_bool_var("")
            distance = place - places[conflict.other]
            model.add(distance <= conflict.below // ALIGNMENT).only_enforce_if(lower)
            model.add(distance >= -(-conflict.above // ALIGNMENT)).only_enforce_if(~lower)
            begins = start.places[life.block] - start.places[conflict.other]
            model.add_hint(lower, begins <= conflict.below)
        places[life.block] = place
    return places
