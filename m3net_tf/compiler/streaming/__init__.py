# SPDX-License-Identifier: Apache-2.0
"""Exact streaming: a window that moves on by a hop costs its new lines, with the same bytes.

- ``reading.py``: which lines of its inputs an operator reads for a line of its output;
- ``flow.py``: which lines of each tensor are those of the window before, further on;
- ``push.py``: the calls that compute the others, and the memory of the lines that stay;
- ``network.py``: all stages in a row;
- ``report.py``: what became of each layer, for the terminal.

A line is all items of a tensor at one place of the streamed axis, which is time. docs/streaming.md
explains it with a picture.
"""
