# SPDX-License-Identifier: Apache-2.0
"""Chooses the calls to fuse into stripes, so that the arena becomes smaller.

Greedy: at the moment that needs the most memory, the stripe that needs the least is made, until
none helps. Then stripes without which the arena is no larger are undone.
"""

import math
from collections import Counter
from collections.abc import Iterator, Sequence

from m3net_tf.compiler.calls import Block, Call, View
from m3net_tf.compiler.goals import Goal
from m3net_tf.compiler.limits import may_search
from m3net_tf.compiler.pixels import pixel_counts
from m3net_tf.compiler.plan import need_of, needs, plan_memory
from m3net_tf.compiler.stripes import COLUMNS, ROWS, Stripe, line_pixels, make_stripe, products
from m3net_tf.compiler.structures import Convolution

#: Names of the savings that are always reported.
TOGETHER = "calls that run together, line by line"
SAVED = "bytes of the arena saved by lines instead of whole tensors"
_MOST_CALLS = 16  # of a stripe
_CALL_INSTRUCTIONS, _ITEM_INSTRUCTIONS, _BYTE_INSTRUCTIONS = 70.0, 15.0, 0.5
_ALONE_INSTRUCTIONS = 0.25  # more for each product, if one pixel has all weights for itself


class Striping:
    """Calls of a network, some of which become stripes.

    Attributes:
        calls: so far; a stripe stands for its members.
        saved: what it saved, by name.
        whole_bytes: arena without stripes; None if there are none.
    """

    def __init__(
        self,
        calls: Sequence[Call],
        inputs: Sequence[View],
        outputs: Sequence[View],
        goal: Goal,
    ) -> None:
        self.calls = list(calls)
        self.saved = {TOGETHER: 0}
        self.whole_bytes: int | None = None
        self._whole = list(calls)
        self._goal = goal
        self._ends = (inputs, outputs)
        self._private = private_blocks(calls, inputs, outputs)

    def run(self) -> None:
        """Make the stripes."""
        if not self._relieve():
            return
        before = plan_memory(self._whole, *self._ends).arena_bytes
        while self._relieve():
            pass
        if self._arena() > (1 - self._goal.least_saved) * before:
            self.calls = self._whole
            return
        self._take_back()
        stripes = [call for call in self.calls if isinstance(call, Stripe)]
        self.saved = {TOGETHER: sum(len(call.stages) for call in stripes)}
        self.whole_bytes = before

    def _arena(self) -> int:
        return plan_memory(self.calls, *self._ends).arena_bytes

    def _relieve(self) -> bool:
        """Make a stripe around the call that needs the most memory, if it helps."""
        demands = needs(self.calls, *self._ends)
        most = max(demands, default=0)
        moment = demands.index(most) if demands else 0
        best: tuple[int, float, list[Call]] | None = None
        for first, last, stripe in self._candidates(moment):
            if not may_search(len(self.calls)):
                return False
            calls = [*self.calls[:first], stripe, *self.calls[last + 1 :]]
            whole, added = work(stripe)
            if added > self._goal.most_added * whole:
                continue
            need = need_of(calls, *self._ends, first)
            if need < most and (best is None or (need, added) < best[:2]):
                best = (need, added, calls)
        if best is None:
            return False
        self.calls = best[2]
        return True

    def _candidates(self, moment: int) -> Iterator[tuple[int, int, Stripe]]:
        """Stripes that include a call, with their first and their last call."""
        for first in range(moment, max(moment - _MOST_CALLS, -1), -1):
            for last in range(moment, min(moment + _MOST_CALLS, len(self.calls))):
                if first == last:
                    continue
                parts = self.calls[first : last + 1]
                members = [member for call in parts for member in call.members]
                for axis in (ROWS, COLUMNS):
                    stripe = make_stripe(members, axis, self._private)
                    if stripe is not None:
                        yield first, last, stripe

    def _take_back(self) -> None:
        """Undo stripes without which the arena is no larger."""
        for stripe in [call for call in self.calls if isinstance(call, Stripe)]:
            if not may_search(len(self.calls)):
                return
            arena = self._arena()
            kept = self.calls
            place = kept.index(stripe)
            self.calls = [*kept[:place], *stripe.members, *kept[place + 1 :]]
            if self._arena() > arena:
                self.calls = kept


def work(stripe: Stripe) -> tuple[float, float]:
    """Estimated instructions of a stripe's calls on whole tensors, and of the stripe's overhead.

    The overhead is one call for each line, moving the lines that the next window needs again, and
    weights that a line of one pixel does not share.
    """
    whole = 0.0
    added = _CALL_INSTRUCTIONS * len(stripe.order)
    for index, stage in enumerate(stripe.stages):
        output = math.prod(stage.call.output.shape)
        whole += output * (_ITEM_INSTRUCTIONS + products(stage.call))
        for source, window in zip(stage.sources, stage.windows, strict=True):
            if source.producer is not None and window.kept > window.stride:
                line = source.view.block.size // window.kept
                moved = (window.kept - window.stride) * line
                added += moved * _BYTE_INSTRUCTIONS * stripe.order.count(index)
        layer = stage.call.arguments[0]
        if stage.call.kernel == "convolve" and isinstance(layer, Convolution):
            together = pixel_counts(layer, math.prod(stage.call.output.shape[1:3]))[0]
            if pixel_counts(layer, line_pixels(stripe, stage.call))[0] == 1 < together:
                added += output * products(stage.call) * _ALONE_INSTRUCTIONS
    return whole, added


def private_blocks(
    calls: Sequence[Call], inputs: Sequence[View], outputs: Sequence[View]
) -> set[Block]:
    """Blocks that one call writes and one call reads."""
    writes = Counter(call.output.block for call in calls)
    reads = Counter(view.block for call in calls for view in call.inputs)
    ends = {view.block for view in [*inputs, *outputs]}
    return {
        block
        for block, count in writes.items()
        if count == reads[block] == 1 and block not in ends and block.data is None
    }
