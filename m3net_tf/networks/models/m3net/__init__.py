# SPDX-License-Identifier: Apache-2.0
"""M3Net."""

from m3net_tf.networks.models.m3net.network import Design, Stage, build

__all__ = ["Design", "Stage", "build"]
