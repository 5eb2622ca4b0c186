# SPDX-License-Identifier: Apache-2.0
"""SparkNet."""

from m3net_tf.networks.models.sparknet.network import Design, build

__all__ = ["Design", "build"]
