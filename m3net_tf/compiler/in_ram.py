# SPDX-License-Identifier: Apache-2.0
"""Chooses the constants of convolutions that lie in RAM, where no read waits for the flash.

A constant saves as many waits for each of its bytes as a run reads it. So those that are read most
often come first, whatever the flash.
"""

import collections
import math
from collections.abc import Sequence

from m3net_tf.compiler.calls import Call
from m3net_tf.compiler.pixels import ALONG_COLUMNS
from m3net_tf.compiler.stripes import Stripe, line_pixels
from m3net_tf.compiler.structures import ArrayKey, Convolution

IN_RAM = "bytes of weights that lie in RAM"


def choose_for_ram(calls: Sequence[Call], granted: int) -> dict[ArrayKey, int]:
    """The constants of convolutions that take at most some bytes of RAM and save the most waits.

    Returns:
        The bytes of each, by its key.
    """
    if not granted:
        return {}
    sizes: dict[ArrayKey, int] = {}
    reads = collections.Counter[ArrayKey]()
    for call in calls:
        for member in call.members:
            layer = member.arguments[0]
            if isinstance(layer, Convolution):
                layer = layer.in_memory()
                for array in (layer.weights, layer.channels):
                    sizes[array.key] = array.size
                    reads[array.key] += _reads(call, member, layer)
    chosen: dict[ArrayKey, int] = {}
    for key, _ in reads.most_common():
        if sizes[key] <= granted:
            chosen[key] = sizes[key]
            granted -= sizes[key]
    return chosen


def _reads(call: Call, member: Call, layer: Convolution) -> int:
    """How often a run reads a convolution's constants: for each line, or for some pixels."""
    output = layer.output
    pixels = output.rows * output.columns
    line = line_pixels(call, member) if isinstance(call, Stripe) else pixels
    together = layer.pixels
    if layer.lines:
        along = output.columns if layer.lines == ALONG_COLUMNS else output.rows
        together = min(along, line)
    return layer.batches * pixels // line * math.ceil(line / together)
