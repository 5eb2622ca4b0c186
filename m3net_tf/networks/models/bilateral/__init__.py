# SPDX-License-Identifier: Apache-2.0
"""The bilateral raw-audio network."""

from m3net_tf.networks.models.bilateral.network import Design, build
from m3net_tf.networks.models.bilateral.presets import PRESETS

__all__ = ["PRESETS", "Design", "build"]
