# SPDX-License-Identifier: Apache-2.0
"""Exact rewrites of the graph, in the order in which they run.

A pass takes a graph, changes it in place and returns how often it applied. What it saves is counted
under its name in the report of :func:`m3net_tf.compiler.network.compile_network`.
"""

from collections.abc import Callable

from m3net_tf.compiler.passes import (
    channels,
    constants,
    delays,
    depthwise,
    dilation,
    functions,
    padding,
    splits,
    tables,
    unused,
)
from m3net_tf.tflite.graph import Graph

Pass = Callable[[Graph], int]

REMOVED = "channels that are constant or unread"

#: Passes that remove operators without a kernel, by the name of what they save.
FOLDS: dict[str, Pass] = {
    "splits taken out of float": splits.quantize_splits,
    "functions taken out of float": functions.quantize_functions,
    "operators of constants computed": constants.fold_constants,
    "operators that nothing reads": unused.drop_unused,
}

#: Passes on operators with kernels.
PASSES: dict[str, Pass] = {
    "variables that became lines that stay": delays.keep_lines,
    "dilated convolutions put together": dilation.fuse_dilation,
    "operators that became tables": tables.make_tables,
    "tables joined with tables": tables.join_tables,
    "paddings folded into their readers": padding.fold_padding,
    "depthwise layers split along a concatenation": depthwise.split_depthwise,
    REMOVED: channels.drop_channels,
}
