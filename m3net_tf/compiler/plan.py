# SPDX-License-Identifier: Apache-2.0
"""The memory planner: an offset in one arena for each block.

A block is live from the call that first writes it to the call that last reads it. Blocks that are
live at the same time do not overlap, with one exception: the output of a call may overlap an input
that no later call reads, if it overwrites only items that the kernel has read (overlap.py).
"""

import dataclasses
import heapq
import itertools
import random
from collections.abc import Callable, Mapping, Sequence

from m3net_tf.compiler.calls import Block, Call, View
from m3net_tf.compiler.limits import MOST_TOGETHER, may_search
from m3net_tf.compiler.structures import round_up
from m3net_tf.system.errors import ModelError

ALIGNMENT = 4  # bytes; kernels read words
SLACK_BYTES = 4  # behind the last block: kernels read M3NET_READ_BEYOND bytes beyond an input
_PROMOTIONS = 100  # orders that are tried after each of the first ones
_MOVES = 400  # orders that are tried near the best one


@dataclasses.dataclass
class Life:
    """The live range of a block.

    Attributes:
        first: index of the call that first writes it; -1 for the network's inputs.
        last: index of the call that last uses it; the number of calls for the network's outputs.
    """

    block: Block
    first: int
    last: int

    @property
    def size(self) -> int:
        """Bytes, rounded up to the alignment."""
        return round_up(self.block.size, ALIGNMENT)


@dataclasses.dataclass(frozen=True)
class Plan:
    """The planned arena.

    Attributes:
        places: offset of each block in the arena.
        calls: each forward or backward, as the offsets demand.
        lower_bound: no plan is smaller: the largest need of a single moment, with overlaps, or a
            bound that a solver proved.
        planner: name of the planner; a solver with its version.
    """

    places: dict[Block, int]
    calls: list[Call]
    lives: list[Life]
    arena_bytes: int
    lower_bound: int
    planner: str

    @property
    def ratio(self) -> float:
        """Arena divided by the lower bound."""
        return self.arena_bytes / max(self.lower_bound, 1)


@dataclasses.dataclass(frozen=True)
class Distance:
    """How a call's output may overlap an input that no later call reads.

    Attributes:
        before: least bytes from the output's start to the input's.
        behind: least bytes from the input's start to the output's if the call runs backward; None
            if it cannot.
    """

    before: int
    behind: int | None


#: For pairs (output, input).
Distances = dict[tuple[Block, Block], Distance]


@dataclasses.dataclass(frozen=True)
class Conflict:
    """The starts that another block forbids a block.

    Attributes:
        below: bytes from its start to the highest place below it.
        above: bytes from its start to the lowest place above it.
    """

    other: Block
    below: int
    above: int


@dataclasses.dataclass(frozen=True)
class Problem:
    """The blocks to place, which of them may overlap, and a bound: no placing is smaller."""

    lives: list[Life]
    distances: Distances
    lower_bound: int

    def conflicts(self) -> dict[Block, list[Conflict]]:
        """The conflicts of each block with the blocks that are live at the same time."""
        conflicts: dict[Block, list[Conflict]] = {life.block: [] for life in self.lives}
        alive: list[Life] = []
        for life in sorted(self.lives, key=lambda life: life.first):
            alive = [other for other in alive if other.last >= life.first]
            for one, other in itertools.chain.from_iterable(
                ((life, other), (other, life)) for other in alive
            ):
                conflict = _conflict(one, other, self.distances)
                if conflict.below < conflict.above:
                    conflicts[one.block].append(conflict)
            alive.append(life)
        return conflicts


@dataclasses.dataclass(frozen=True)
class Placing:
    """Places of all blocks.

    Attributes:
        places: offset of each block.
        size: end of the last block in bytes.
        lower_bound: the best known bound; no placing is smaller.
        planner: name of the planner; a solver with its version.
    """

    places: dict[Block, int]
    size: int
    lower_bound: int
    planner: str = "heuristic"


#: Improves a placing.
Improve = Callable[[Problem, Placing], Placing]


def plan_memory(
    calls: Sequence[Call],
    inputs: Sequence[View],
    outputs: Sequence[View],
    improve: Improve | None = None,
) -> Plan:
    """Give each block a place.

    Args:
        inputs: views that the caller writes before.
        outputs: views that the caller reads afterwards.
        improve: improves the planner's own result, such as :func:`.solver.solve`.
    """
    lives = _lives(calls, inputs, outputs)
    distances = _distances(calls, lives)
    everything = list(lives.values())
    _require_few_together(calls, everything)
    bound = max(_needs(everything, distances, len(calls)))
    problem = Problem(everything, distances, bound)
    placing = _search(problem)
    if improve is not None:
        placing = improve(problem, placing)
    chosen = [_directed(call, distances, placing.places) for call in calls]
    sizes = placing.size + SLACK_BYTES, placing.lower_bound + SLACK_BYTES
    return Plan(placing.places, chosen, everything, *sizes, placing.planner)


def _require_few_together(calls: Sequence[Call], lives: Sequence[Life]) -> None:
    """Refuse a network with so many tensors at a time that placing them would take too long.

    Raises:
        ModelError: the message names the first operator that needs one tensor too many.
    """
    pairs = 0
    ends: list[int] = []  # of the lives so far
    for life in sorted(lives, key=lambda life: life.first):
        while ends and ends[0] < life.first:
            heapq.heappop(ends)
        pairs += len(ends)
        heapq.heappush(ends, life.last)
        if pairs > MOST_TOGETHER:
            call = calls[min(max(life.first, 0), len(calls) - 1)]
            raise ModelError(
                f"operator {call.operator} {call.layer!r} needs its output while {len(ends) - 1} "
                "tensors stay in memory, which are too many: make the network smaller"
            )


def _directed(call: Call, distances: Distances, places: dict[Block, int]) -> Call:
    """The call; its backward form if its output does not begin far enough before its input."""
    if call.backward is None:
        return call
    output, source = call.output.block, call.inputs[0].block
    distance = distances.get((output, source))
    if distance is None or places[output] <= places[source] - distance.before:
        return call
    return call.backward


def _lives(
    calls: Sequence[Call], inputs: Sequence[View], outputs: Sequence[View]
) -> dict[Block, Life]:
    lives: dict[Block, Life] = {}

    def use(block: Block, moment: int) -> None:
        if not block.is_planned:
            return
        life = lives.setdefault(block, Life(block, moment, moment))
        life.last = max(life.last, moment)

    for view in inputs:
        use(view.block, -1)
    for moment, call in enumerate(calls):
        for view in [*call.inputs, call.output]:
            use(view.block, moment)
        for block in call.scratch:
            use(block, moment)
    for view in outputs:
        use(view.block, len(calls))
    return lives


def _distances(calls: Sequence[Call], lives: dict[Block, Life]) -> Distances:
    """Which outputs may overlap which inputs."""
    distances: Distances = {}
    for moment, call in enumerate(calls):
        output = call.output.block
        if not output.is_planned or lives[output].first != moment:
            continue
        for index, view in enumerate(call.inputs):
            block = view.block
            if block is output or not block.is_planned or lives[block].last != moment:
                continue
            if any(
                other.block is block and place not in call.slack
                for place, other in enumerate(call.inputs)
            ):
                continue
            if index in call.slack:
                # The slack counts from the starts of views, a distance from the starts of blocks.
                distance = call.slack[index] + call.output.offset - view.offset
                pair = (output, block)
                behind = None
                if call.backward is not None:
                    behind = call.backward_slack + view.offset - call.output.offset
                if pair in distances:
                    distance = max(distance, distances[pair].before)
                distances[pair] = Distance(distance, behind)
    return distances


def _needs(lives: Sequence[Life], distances: Distances, calls: int) -> list[int]:
    """Bytes that are needed before the first call, while each call runs, and after the last one."""
    starting: list[list[Life]] = [[] for _ in range(calls + 2)]
    for life in lives:
        starting[life.first + 1].append(life)
    overlaps: dict[Block, list[tuple[Block, Distance]]] = {}
    for (output, source), way in distances.items():
        overlaps.setdefault(output, []).append((source, way))
    alive: dict[Block, Life] = {}
    needs = []
    for moment, new in enumerate(starting, -1):
        alive = {block: life for block, life in alive.items() if life.last >= moment}
        alive |= {life.block: life for life in new}
        shared = {
            (life.block, source): way
            for life in new
            for source, way in overlaps.get(life.block, ())
        }
        needs.append(_need({block: life.size for block, life in alive.items()}, shared))
    return needs


def _need(alive: Mapping[Block, int], shared: Distances) -> int:
    """Bytes that are needed while a call runs.

    ``alive`` has the size of each block, ``shared`` the outputs and inputs that may overlap: they
    need at least the output's bytes, the inputs' bytes together, and for each input its distance
    plus its bytes.
    """
    blocks = {block for pair in shared for block in pair}
    outputs = {output for output, _ in shared}
    together = [sum(alive[block] for block in outputs)]
    together.append(sum(alive[block] for block in blocks - outputs))
    together += [
        min(way.before, alive[output]) + alive[source]
        for (output, source), way in shared.items()
        if way.behind is None
    ]
    apart = sum(size for block, size in alive.items() if block not in blocks)
    return round_up(apart + max(together), ALIGNMENT)


def needs(calls: Sequence[Call], inputs: Sequence[View], outputs: Sequence[View]) -> list[int]:
    """Bytes that are needed while each call runs; arguments as for :func:`plan_memory`."""
    lives = _lives(calls, inputs, outputs)
    return _needs(list(lives.values()), _distances(calls, lives), len(calls))[1:-1]


def need_of(
    calls: Sequence[Call], inputs: Sequence[View], outputs: Sequence[View], moment: int
) -> int:
    """Bytes that are needed while the call of an index runs."""
    lives = _lives(calls, inputs, outputs)
    alive = {life.block: life.size for life in lives.values() if life.first <= moment <= life.last}
    distances = _distances(calls, lives)
    return _need(alive, {pair: way for pair, way in distances.items() if {*pair} <= alive.keys()})


def _search(problem: Problem) -> Placing:
    """The smallest arena over many orders of placing; deterministic.

    From several first orders, blocks that end above the lower bound are placed earlier. If no order
    reaches the lower bound, random changes of the best order are tried, with a fixed seed.
    """
    lives, bound = problem.lives, problem.lower_bound
    orders = [
        sorted(lives, key=lambda life: (-life.size, life.first)),
        sorted(lives, key=lambda life: (-life.size * (life.last - life.first + 1), life.first)),
        sorted(lives, key=lambda life: (life.first, -life.size)),
        sorted(lives, key=lambda life: (-life.last, -life.size)),
    ]
    conflicts = problem.conflicts()
    steps = len(lives) + sum(map(len, conflicts.values()))  # of a placing
    generator = random.Random(0)
    best = _place(orders[0], conflicts, bound)
    best_order = list(orders[0])
    for order in orders:
        for _ in range(_PROMOTIONS):
            placing = _place(order, conflicts, bound)
            if placing.size < best.size:
                best = placing
                best_order = list(order)
            if best.size <= bound or not may_search(steps):
                return best
            _promote(order, placing, generator)
    if len(lives) < 3:
        return best
    for _ in range(_MOVES):
        order = list(best_order)
        for _ in range(generator.randint(1, 3)):
            moved = order.pop(generator.randrange(len(order)))
            order.insert(generator.randrange(len(order) + 1), moved)
        placing = _place(order, conflicts, bound)
        if placing.size <= best.size:
            best, best_order = placing, order
        if best.size <= bound or not may_search(steps):
            break
    return best


def _promote(order: list[Life], placing: Placing, generator: random.Random) -> None:
    """Move blocks that end above the lower bound forward in the order."""
    for turn, life in enumerate(list(order)):
        if placing.places[life.block] + life.size > placing.lower_bound:
            order.insert(generator.randrange(turn + 1), order.pop(turn))


def _place(order: Sequence[Life], conflicts: dict[Block, list[Conflict]], bound: int) -> Placing:
    """Greedy placing: each block in turn gets the lowest free offset."""
    places: dict[Block, int] = {}
    for life in order:
        place = 0
        for below, above in sorted(
            (places[conflict.other] + conflict.below, places[conflict.other] + conflict.above)
            for conflict in conflicts[life.block]
            if conflict.other in places
        ):
            if place <= below:
                break
            place = max(place, round_up(above, ALIGNMENT))
        places[life.block] = place
    size = max((places[life.block] + life.size for life in order), default=0)
    return Placing(places, size, bound)


def _conflict(life: Life, other: Life, distances: Distances) -> Conflict:
    below, above = -life.size, other.size
    if (way := distances.get((life.block, other.block))) is not None:
        below = max(below, -way.before)
        if way.behind is not None:
            above = min(above, way.behind)
    if (way := distances.get((other.block, life.block))) is not None:
        above = min(above, way.before)
        if way.behind is not None:
            below = max(below, -way.behind)
    return Conflict(other.block, below, above)
