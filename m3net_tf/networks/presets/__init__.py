# SPDX-License-Identifier: Apache-2.0
"""Presets of the networks, a module for each network, which has its name.

These modules import no Keras, so names and costs are known without TensorFlow, which takes seconds.
"""

import dataclasses
from collections.abc import Mapping


@dataclasses.dataclass(frozen=True)
class Preset:
    """A named configuration of a network with its cost.

    Attributes:
        input_shape: (bins, frames, channels) for which ``parameters`` and ``macs`` are given.
        parameters: all parameters, including normalisation statistics, as counted by Keras.
        macs: multiply-accumulates of one inference in convolutions and dense layers.
        arguments: arguments of the network's ``Design``.
        summary: one line for ``m3net model list``.
        classes: number of classes for which they are given; by default the twelve of the task of
            keywords, silence and unknown words.
        run_columns: columns from one run to the next in live detection, if nothing else is chosen.
    """

    input_shape: tuple[int, int, int]
    parameters: int
    macs: int
    summary: str
    classes: int = 12
    arguments: Mapping[str, object] = dataclasses.field(default_factory=dict)
    run_columns: int = 5
