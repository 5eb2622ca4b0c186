# SPDX-License-Identifier: Apache-2.0
"""Convolutions of 3 x 3 windows by Winograd's F(4, 3), on cores with the DSP extension.

Four outputs of a row need six products with each row of three weights, instead of twelve. The
weights are transformed here, times 24, so that they are whole numbers
(``firmware/engine/winograd.c``). They take four bytes of flash each instead of one.
"""

import dataclasses
import math
from collections.abc import Iterable, Sequence
from typing import TypedDict

import numpy as np

from m3net_tf.compiler.calls import Call, View
from m3net_tf.compiler.goals import Goal
from m3net_tf.compiler.limits import may_search
from m3net_tf.compiler.plan import Improve, Plan, needs, plan_memory
from m3net_tf.compiler.stripes import ROWS, Stripe
from m3net_tf.compiler.structures import ArrayKey, Convolution, Window
from m3net_tf.compiler.weights import GROUP, LARGEST_INPUT, WINOGRAD_BLOCK

USED = "convolutions that multiply half as often, by Winograd's F(4, 3)"
OUTPUTS = 4
"""Pixels of a tile, side by side in a row."""
PIXELS = (2 * OUTPUTS, OUTPUTS)
"""Pixels that the kernel computes at a time: two tiles share each weight, or one has it alone."""
_ITEM_BYTES = 2
_MOST_SUM = 1 << 28  # eight times a sum below it is below 2^31
# Modelled cycles of a Cortex-M4 with an nRF52840's flash, on which this form saves the least.
_PRODUCT = {PIXELS[0]: 1.57, PIXELS[1]: 2.36}  # with a transformed weight
_TILE, _INPUT, _OUTPUT = 300, 85, 125  # of a tile, and of each channel of it
# Of other kernels: of a product, by the pixels that share a weight; of a pixel and its channels.
_DIRECT = {1: 1.38, 2: 1.38, 3: 1.15, 4: 1.15}
_PIXEL, _PIXEL_INPUT, _PIXEL_OUTPUT = 400, 20, 15


class WinogradLayer(TypedDict):
    """A layer in this form; ``added_bytes`` is what its weights take more of flash."""

    name: str
    added_bytes: int


def take_winograd(
    plan: Plan,
    most_bytes: int,
    calls: Sequence[Call],
    inputs: Sequence[View],
    outputs: Sequence[View],
    improve: Improve | None,
    goal: Goal,
) -> Plan:
    """The plan in which convolutions have this form that take fewer cycles with it.

    Layers and scratch memory among the calls change, those first that save the most cycles for a
    byte of flash, as long as the goal allows the flash and the arena has no more than
    ``most_bytes``. Other arguments as for :func:`.plan_memory`.
    """
    left = goal.winograd_bytes
    known: set[ArrayKey] = set()  # weights that layers share
    candidates = [_Candidate(call, member) for call in calls for member in call.members]
    candidates = [each for each in candidates if each.choices]
    for each in sorted(candidates, key=lambda each: -each.pixels):
        added = 0 if each.key in known else each.added_bytes
        for pixels in each.choices if added <= left else ():
            if not may_search(len(calls)):
                return plan
            each.take(pixels)
            fits = max(needs(calls, inputs, outputs)) <= most_bytes
            other = plan_memory(calls, inputs, outputs, improve) if fits else None
            if other is not None and other.arena_bytes <= most_bytes:
                plan = other
                left -= added
                known.add(each.key)
                break
            each.undo()
    return plan


def winograd_layers(calls: Iterable[Call]) -> list[WinogradLayer]:
    """The layers in this form; weights that layers share count for the first one."""
    layers: list[WinogradLayer] = []
    known: set[ArrayKey] = set()
    for member in (member for call in calls for member in call.members):
        layer = member.arguments[0]
        if isinstance(layer, Convolution) and layer.is_winograd:
            weights = layer.weights
            added = 0 if weights.key in known else weights.size - weights.values.size
            known.add(weights.key)
            layers.append({"name": f"{member.operator} {member.layer!r}", "added_bytes": added})
    return layers


def can_be_winograd(layer: Convolution) -> bool:
    """Whether the kernel can compute a convolution, and gives the same bytes.

    Its sums are modulo 2^32. They end at eight times the true sum, which must be below 2^31; then
    it does not matter that they wrap around in between.
    """
    window = dataclasses.replace(layer.window, top=0, left=0)
    if window != Window(3, 3) or layer.input.channels % GROUP or layer.output.channels % GROUP:
        return False
    if not (layer.narrow and layer.full) or layer.plain:
        return False
    spread = LARGEST_INPUT * np.abs(layer.weights.values).sum(axis=2).reshape(-1)
    sums = np.abs(layer.channels.values[:, 0]) + spread
    return bool((sums < _MOST_SUM).all())


def winograd_layer(layer: Convolution, pixels: int) -> Convolution:
    """A convolution in this form, which computes some of :data:`PIXELS` at a time."""
    weights = dataclasses.replace(layer.weights, ctype=WINOGRAD_BLOCK)
    return dataclasses.replace(layer, weights=weights, pixels=pixels)


def winograd_scratch(layer: Convolution, pixels: int) -> int:
    """Bytes of scratch memory: so many as the items of half as many windows take."""
    items = 9 * layer.input.channels
    return pixels // 2 * items * _ITEM_BYTES


def _choices(layer: Convolution, rows: int, columns: int) -> list[int]:
    """The numbers of :data:`PIXELS` that take fewer cycles than other kernels, the fewest first.

    A call computes so many rows and columns of the output.
    """
    depth, channels = layer.input.channels, layer.output.channels
    tiles = rows * -(-columns // OUTPUTS)
    pairs = tiles // 2
    several, alone = (18 * depth * channels * _PRODUCT[pixels] for pixels in PIXELS)
    ends = tiles * (_TILE + depth * _INPUT + channels * _OUTPUT)
    each = _PIXEL + depth * _PIXEL_INPUT + channels * _PIXEL_OUTPUT
    most = rows * columns * (9 * depth * channels * _DIRECT[layer.pixels] + each)
    cycles = {PIXELS[0]: ends + 2 * pairs * several + tiles % 2 * alone} if pairs else {}
    cycles[PIXELS[1]] = ends + tiles * alone
    return [pixels for pixels, count in cycles.items() if count < most]


class _Candidate:
    """A convolution that may have this form.

    Attributes:
        choices: see :func:`_choices`; empty if it cannot have this form.
        pixels: of its output: the more, the more cycles for a byte of its weights.
        added_bytes: of flash that its weights would take more.
        key: of its weights in this form.
    """

    def __init__(self, call: Call, member: Call) -> None:
        self._call, self._member = call, member
        self.choices: list[int] = []
        layer = member.arguments[0]
        if not isinstance(layer, Convolution) or member.kernel != "convolve":
            return
        rows, columns = member.output.shape[1:3]
        if isinstance(call, Stripe):
            if call.axis != ROWS:
                return
            rows = 1
        if not can_be_winograd(layer):
            return
        self.choices = _choices(layer, rows, columns)
        self._layer = layer
        self._patch_bytes = member.scratch[0].size
        self.pixels = math.prod(member.output.shape[:3])
        weights = winograd_layer(layer, PIXELS[0]).weights
        self.added_bytes = weights.size - layer.weights.size
        self.key = weights.key

    def take(self, pixels: int) -> None:
        """Compute some pixels at a time."""
        self._set(winograd_layer(self._layer, pixels), winograd_scratch(self._layer, pixels))

    def undo(self) -> None:
        """Take the other form again."""
        self._set(self._layer, self._patch_bytes)

    def _set(self, layer: Convolution, size: int) -> None:
        self._member.arguments[0] = layer
        (patch,) = self._member.scratch
        patch.size = size
        if isinstance(self._call, Stripe):
            self._call.share_scratch()
