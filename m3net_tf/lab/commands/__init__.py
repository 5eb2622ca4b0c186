# SPDX-License-Identifier: Apache-2.0
"""The lab's commands; importing this package registers them with the command line."""

from m3net_tf.lab.commands import bench, papers, runs, search

__all__ = ["bench", "papers", "runs", "search"]
