# SPDX-License-Identifier: Apache-2.0
"""Average and maximum pooling."""

from __future__ import annotations

from m3net_tf.compiler.graph import Operation
from m3net_tf.compiler.lowering import Lowering
from m3net_tf.compiler.operators.common import (
    activation_range,
    has_pixels,
    image_of,
    is_wide,
    require,
    window_of,
)
from m3net_tf.compiler.overlap import window_slack
from m3net_tf.compiler.structures import Pooling

_MOST_ITEMS = 1 << 16  # whose sum fits 32 bits
_KERNELS = {"AVERAGE_POOL_2D": "pool_average", "MAX_POOL_2D": "pool_max"}


def pooling(lowering: Lowering, op: Operation) -> None:
    """AVERAGE_POOL_2D and MAX_POOL_2D."""
    source = op.input(0)
    window = window_of(op, op.options["filterHeight"], op.options["filterWidth"], source.shape)
    require(op, window.rows * window.columns < _MOST_ITEMS, "has a window that is too large")
    view = lowering.read(source)
    if not has_pixels(view):
        view = lowering.packed_input(op, view)
    target = lowering.write(op.output)
    minimum, maximum = activation_range(op, op.output)
    layer = Pooling(
        input=image_of(op, view),
        output=image_of(op, target),
        window=window,
        batches=view.shape[0],
        minimum=minimum,
        maximum=maximum,
    )
    kernel = _KERNELS[op.kind] + ("_16" if is_wide(op) else "")
    slack = window_slack(view, target, window, channels_at_once=False)
    lowering.call(op, kernel, [layer, view, target], [view], target, slack={0: slack})
