# SPDX-License-Identifier: Apache-2.0
"""Average and maximum pooling."""

from m3net_tf.compiler.calls import View
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
from m3net_tf.tflite.graph import REPLACE, Operation

_MOST_ITEMS = 1 << 16  # whose sum fits 32 bits
_KERNELS = {"AVERAGE_POOL_2D": "pool_average", "MAX_POOL_2D": "pool_max"}


def pooling(lowering: Lowering, op: Operation) -> None:
    """AVERAGE_POOL_2D and MAX_POOL_2D."""
    view = lowering.read(op.input(0))
    if not has_pixels(view):
        view = lowering.packed_input(op, view)
    target = lowering.write(op.output)
    layer = pooling_layer(op, view, target)
    kernel = _KERNELS[op.kind] + ("_16" if is_wide(op) else "")
    slack = window_slack(view, target, layer.window, channels_at_once=False)
    lowering.call(op, kernel, [layer, view, target], [view], target, slack={0: slack})


def pooling_layer(op: Operation, view: View, target: View) -> Pooling:
    """Constants of a pooling.

    Raises:
        ModelError: its window is too large.
    """
    size = op.options["filterHeight"], op.options["filterWidth"]
    window = window_of(op, *size, op.input(0).shape)
    require(
        op, window.rows * window.columns < _MOST_ITEMS, "has a window that is too large", REPLACE
    )
    minimum, maximum = activation_range(op, op.output)
    return Pooling(
        input=image_of(op, view),
        output=image_of(op, target),
        window=window,
        batches=view.shape[0],
        minimum=minimum,
        maximum=maximum,
    )
