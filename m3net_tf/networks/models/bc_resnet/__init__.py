# SPDX-License-Identifier: Apache-2.0
"""BC-ResNet."""

from m3net_tf.networks.models.bc_resnet.network import Design, build

__all__ = ["Design", "build"]
