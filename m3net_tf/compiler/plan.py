# SPDX-License-Identifier: Apache-2.0
"""Memory: a place in one arena for each block, so that what is needed at once does not collide.

A block lives from the call that writes it first to the call that reads it last. Two blocks that
live at once lie apart, with one exception: an output may begin before an input that dies with the
same call, and run into it, if it stays behind what the kernel has read (overlap.py).
"""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Sequence

from m3net_tf.compiler.calls import Block, Call, View

ALIGNMENT = 4  # bytes; kernels read words
SLACK_BYTES = 4  # behind the last block: kernels read whole words
_ROUNDS = 400  # orders that are tried


@dataclasses.dataclass
class Life:
    """A block and the calls between which it is needed.

    Attributes:
        block: the memory.
        first: index of the call that writes it first; -1 for the network's inputs.
        last: index of the call that needs it last; the number of calls for the network's outputs.
    """

    block: Block
    first: int
    last: int

    @property
    def size(self) -> int:
        """Bytes, rounded up to the alignment."""
        return -(-self.block.size // ALIGNMENT) * ALIGNMENT


@dataclasses.dataclass(frozen=True)
class Plan:
    """Where everything lies.

    Attributes:
        places: offset of each block in the arena.
        calls: each forward or backward, as the places demand.
        lives: of all blocks.
        arena_bytes: size of the arena.
        lower_bound: largest sum of bytes that are needed at once; blocks that share memory count
            as they must.
    """

    places: dict[Block, int]
    calls: list[Call]
    lives: list[Life]
    arena_bytes: int
    lower_bound: int

    @property
    def ratio(self) -> float:
        """Arena divided by the lower bound."""
        return self.arena_bytes / max(self.lower_bound, 1)


@dataclasses.dataclass(frozen=True)
class Distance:
    """How a call's output and an input that dies with it may share memory.

    Attributes:
        before: bytes that the output must begin before the input.
        behind: bytes that it must begin behind the input instead, if the call can work backward.
    """

    before: int
    behind: int | None


#: For pairs (output, input).
Distances = dict[tuple[Block, Block], Distance]


def plan_memory(calls: Sequence[Call], inputs: Sequence[View], outputs: Sequence[View]) -> Plan:
    """Give each block a place.

    Args:
        calls: in the order in which they run.
        inputs: views that the caller writes before.
        outputs: views that the caller reads afterwards.
    """
    lives = _lives(calls, inputs, outputs)
    distances = _distances(calls, lives)
    everything = list(lives.values())
    bound = _lower_bound(everything, distances, len(calls))
    places, size = _search(everything, distances, bound)
    chosen = [_directed(call, distances, places) for call in calls]
    return Plan(places, chosen, everything, size + SLACK_BYTES, bound + SLACK_BYTES)


def _directed(call: Call, distances: Distances, places: dict[Block, int]) -> Call:
    """The call, backward if its output does not begin far enough before its input."""
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
        if block.data is not None:
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
    """Which blocks may share memory."""
    distances: Distances = {}
    for moment, call in enumerate(calls):
        output = call.output.block
        if output.data is not None or lives[output].first != moment:
            continue
        for index, view in enumerate(call.inputs):
            block = view.block
            if block is output or block.data is not None or lives[block].last != moment:
                continue
            if any(
                other.block is block and place not in call.slack
                for place, other in enumerate(call.inputs)
            ):
                continue
            if index in call.slack:
                # From the views' starts to the blocks' starts.
                distance = call.slack[index] + call.output.offset - view.offset
                pair = (output, block)
                behind = None
                if call.backward is not None:
                    behind = call.backward_slack + view.offset - call.output.offset
                if pair in distances:
                    distance = max(distance, distances[pair].before)
                distances[pair] = Distance(distance, behind)
    return distances


def _up(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT


def _lower_bound(lives: Sequence[Life], distances: Distances, calls: int) -> int:
    """Bytes that no placing can do without: the most that is needed at once.

    An output and the inputs that it may run into need at least as much as the output, as these
    inputs together, and as the distance and the input of each.
    """
    bound = 0
    for moment in range(-1, calls + 1):
        alive = {life.block: life.size for life in lives if life.first <= moment <= life.last}
        shared = {pair: way for pair, way in distances.items() if set(pair) <= set(alive)}
        blocks = {block for pair in shared for block in pair}
        outputs = {output for output, _ in shared}
        together = [sum(alive[block] for block in outputs)]
        together.append(sum(alive[block] for block in blocks - outputs))
        together += [
            way.before + alive[source] for (_, source), way in shared.items() if way.behind is None
        ]
        apart = sum(size for block, size in alive.items() if block not in blocks)
        bound = max(bound, _up(apart + max(together)))
    return bound


def _search(
    lives: Sequence[Life], distances: Distances, bound: int
) -> tuple[dict[Block, int], int]:
    """Places in the smallest arena that some order of placing gives; the same for equal input."""
    orders = [
        sorted(lives, key=lambda life: (-life.size, life.first)),
        sorted(lives, key=lambda life: (-life.size * (life.last - life.first + 1), life.first)),
        sorted(lives, key=lambda life: (life.first, -life.size)),
        sorted(lives, key=lambda life: (-life.last, -life.size)),
    ]
    plans = [(*_place(order, distances), order) for order in orders]
    places, size, order = min(plans, key=lambda item: item[1])
    generator = random.Random(0)
    for _ in range(_ROUNDS):
        if size <= bound or len(order) < 3:
            break
        other = list(order)
        for _ in range(generator.randint(1, 3)):
            moved = other.pop(generator.randrange(len(other)))
            other.insert(generator.randrange(len(other) + 1), moved)
        new_places, new_size = _place(other, distances, limit=size)
        if new_size <= size:
            places, size, order = new_places, new_size, other
    return places, size


def _place(
    order: Sequence[Life], distances: Distances, limit: int = 1 << 62
) -> tuple[dict[Block, int], int]:
    """Give each block in turn the lowest place that is free; gives up above a limit."""
    places: dict[Block, int] = {}
    placed: list[Life] = []
    size = 0
    for life in order:
        place = _lowest_place(life, placed, places, distances)
        places[life.block] = place
        placed.append(life)
        size = max(size, place + life.size)
        if size > limit:
            break
    return places, size


def _lowest_place(
    life: Life, placed: Sequence[Life], places: dict[Block, int], distances: Distances
) -> int:
    taken = []
    for other in placed:
        if other.first > life.last or life.first > other.last:
            continue
        start = places[other.block]
        taken.append(_taken(life, other, start, distances))
    place = 0
    for below, above in sorted(pair for pair in taken if pair[0] < pair[1]):
        if place <= below:
            break
        place = max(place, _up(above))
    return place


def _taken(life: Life, other: Life, start: int, distances: Distances) -> tuple[int, int]:
    """Places between two limits that a block cannot have because of another one at ``start``."""
    below, above = start - life.size, start + other.size
    if (way := distances.get((life.block, other.block))) is not None:
        below = max(below, start - way.before)
        if way.behind is not None:
            above = min(above, start + way.behind)
    if (way := distances.get((other.block, life.block))) is not None:
        above = min(above, start + way.before)
        if way.behind is not None:
            below = max(below, start - way.behind)
    return below, above
