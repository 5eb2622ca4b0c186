# SPDX-License-Identifier: Apache-2.0
"""The bilateral raw-audio network."""

from m3net_tf.networks.models.bilateral.network import Design, build

__all__ = ["Design", "build"]
