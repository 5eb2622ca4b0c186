# SPDX-License-Identifier: Apache-2.0
"""Threads that work ahead of the one that takes their results."""

import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

_T = TypeVar("_T")
_R = TypeVar("_R")
WORKERS = os.cpu_count() or 1
"""Threads that a computer can use at once."""


def map_ahead(function: Callable[[_T], _R], tasks: Iterator[_T], threads: int) -> Iterator[_R]:
    """``map`` in threads that work a few tasks ahead; keeps the order."""
    pool = ThreadPoolExecutor(threads)
    try:
        ahead: deque[Future[_R]] = deque()
        for task in tasks:
            ahead.append(pool.submit(function, task))
            if len(ahead) > 2 * WORKERS:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
