# SPDX-License-Identifier: Apache-2.0
"""The engines that can run a network on a device."""

from typing import Literal

Engine = Literal["compiled", "tflm"]

#: The network as generated C, and the network as a file that TensorFlow Lite Micro interprets.
COMPILED: Engine = "compiled"
TFLM: Engine = "tflm"
ENGINES: tuple[Engine, ...] = (COMPILED, TFLM)
DEFAULT_ENGINE = COMPILED
