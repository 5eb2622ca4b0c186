# SPDX-License-Identifier: Apache-2.0
"""What a network may ask of the compiler; docs/reference/compile.md lists these limits.

They are far above what a microcontroller holds. They count what a file contains, so that a file is
refused on each machine or on none. Searches for a smaller arena count their steps, too: after the
last one they keep the best result so far. :mod:`m3net_tf.tflite` limits the size of a file.
"""

import contextlib
import contextvars
from collections.abc import Iterator

MOST_OPERATORS = 4096
MOST_OPERANDS = 4 * MOST_OPERATORS
"""Inputs and outputs of all operators."""
MOST_DIMENSIONS = 8
MOST_NAME = 200
"""Characters of a name; the rest is cut off."""
LARGEST_TENSOR = 1 << 24
"""Items."""
MOST_CONSTANT_BYTES = 1 << 24
"""Weights, tables and other constants of the C, and what the compiler computes of constants."""
MOST_CALLS = 4096
"""Of kernels. A call and its constants take at most some 3 KB of C, a byte of constants some seven
characters: the C stays below 128 MiB.
"""
MOST_TOGETHER = 1 << 21
"""Pairs of tensors that are needed at the same time."""
MOST_LINES = 1 << 16
"""Of a window that streams."""
MOST_STEPS = 200_000_000
"""Of all searches: seven times what the largest network of this project takes."""


_LEFT: contextvars.ContextVar[int | None] = contextvars.ContextVar("steps", default=None)


@contextlib.contextmanager
def counting_steps() -> Iterator[None]:
    """Give the searches inside :data:`MOST_STEPS`; without it they have no limit."""
    token = _LEFT.set(MOST_STEPS)
    try:
        yield
    finally:
        _LEFT.reset(token)


def may_search(steps: int) -> bool:
    """Count steps of a search; whether it may take them."""
    left = _LEFT.get()
    if left is None:
        return True
    _LEFT.set(left - steps)
    return left > steps
