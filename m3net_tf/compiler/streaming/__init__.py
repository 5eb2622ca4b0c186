# SPDX-License-Identifier: Apache-2.0
"""Exact streaming: a window that moves on by a hop costs its new lines, with the same bytes.

- ``reading.py``: which lines of its inputs an operator reads for a line of its output;
- ``flow.py``: which lines of each tensor are reused from the previous window;
- ``push.py``: the calls that compute the other lines, and the memory of the kept ones;
- ``network.py``: the stages in order.

A line is the slice of a tensor at one index of the streamed axis, which is time.
docs/design/streaming.md explains it with a picture.
"""
