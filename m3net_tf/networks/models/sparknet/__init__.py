# SPDX-License-Identifier: Apache-2.0
"""SparkNet."""

from m3net_tf.networks.models.sparknet.network import PRESETS, Design, build

__all__ = ["PRESETS", "Design", "build"]
