# SPDX-License-Identifier: Apache-2.0
"""A run: the folder with a training's network and results."""

from m3net_tf.training.run.folder import (
    Run,
    built_otherwise,
    design_of,
    linked_run,
    load,
    require_same_held_out,
)

__all__ = [
    "Run",
    "built_otherwise",
    "design_of",
    "linked_run",
    "load",
    "require_same_held_out",
]
